//! Colours of stages, by name, so that a stage looks the same on every page.
//!
//! The hues are those of Okabe and Ito, which are told apart without red and green; stages of one hue
//! differ in their stripes, and everywhere in the name beside them.

use std::fmt::Write as _;

use xscope_trace::stage::{Stage, StageName};

/// How a stage is painted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Paint {
    colour: &'static str,
    stripes: Stripes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stripes {
    None,
    Rising,
    Falling,
    Upright,
}

impl Stripes {
    /// As a background image; the colour of stripes is the page's.
    fn css(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Rising => {
                "repeating-linear-gradient(45deg, transparent 0 4px, var(--stripe) 4px 7px)"
            }
            Self::Falling => {
                "repeating-linear-gradient(-45deg, transparent 0 3px, var(--stripe) 3px 5px)"
            }
            Self::Upright => {
                "repeating-linear-gradient(90deg, transparent 0 5px, var(--stripe) 5px 7px)"
            }
        }
    }
}

const GREY: &str = "#8c96a3";
const PALE: &str = "#d0d5db";
const ORANGE: &str = "#e69f00";
const SKY: &str = "#56b4e9";
const GREEN: &str = "#009e73";
const YELLOW: &str = "#d9c200";
const BLUE: &str = "#0072b2";
const VERMILION: &str = "#d55e00";
const PURPLE: &str = "#cc79a7";

fn paint(stage: Stage) -> Paint {
    let (colour, stripes) = match stage {
        Stage::ClientWait => (GREY, Stripes::Rising),
        Stage::ClientSend => (GREY, Stripes::Upright),
        Stage::HttpParse => (SKY, Stripes::None),
        Stage::Tokenize => (BLUE, Stripes::None),
        Stage::BatchBuild => (SKY, Stripes::Falling),
        Stage::IpcSend => (PURPLE, Stripes::Upright),
        Stage::QueueWait => (ORANGE, Stripes::Rising),
        Stage::Schedule => (PURPLE, Stripes::None),
        Stage::Forward => (GREEN, Stripes::None),
        Stage::Decode => (GREEN, Stripes::Rising),
        Stage::LogprobExtract => (VERMILION, Stripes::None),
        Stage::Detokenize => (BLUE, Stripes::Falling),
        Stage::Softmax => (YELLOW, Stripes::None),
        Stage::HttpRespond => (SKY, Stripes::Upright),
        Stage::ClientReceive => (GREY, Stripes::Falling),
        Stage::Unaccounted => (PALE, Stripes::Upright),
    };
    Paint { colour, stripes }
}

/// The classes of what is filled with a stage's colour; a stage that only its server knows looks like
/// what no span covers.
pub(crate) fn stage_class(stage: &StageName) -> String {
    let known = match stage {
        StageName::Known(stage) => *stage,
        StageName::Other(_) => Stage::Unaccounted,
    };
    format!("fill {}", class(known))
}

fn class(stage: Stage) -> String {
    format!("stage-{}", stage.name().replace('.', "-"))
}

/// Rules for the classes of all stages.
pub(crate) fn stage_rules() -> String {
    Stage::ALL.into_iter().fold(String::new(), |mut rules, stage| {
        let Paint { colour, stripes } = paint(stage);
        // Writing to a String cannot fail.
        let _infallible = writeln!(
            rules,
            ".{} {{ background-color: {colour}; background-image: {}; }}",
            class(stage),
            stripes.css()
        );
        rules
    })
}

/// The colour of each stage by its name, for what is not drawn with style sheets.
pub(crate) fn stage_colours() -> [(&'static str, &'static str); Stage::ALL.len()] {
    Stage::ALL.map(|stage| (stage.name(), paint(stage).colour))
}

#[cfg(test)]
mod tests {
    use xscope_trace::stage::Stage;

    use super::{paint, stage_rules};

    #[test]
    fn no_two_stages_look_alike_and_neighbours_differ_in_hue() {
        for (index, stage) in Stage::ALL.into_iter().enumerate() {
            let alike = Stage::ALL.into_iter().filter(|other| paint(*other) == paint(stage));
            assert_eq!(alike.count(), 1, "{stage}");
            let next = Stage::ALL.get(index + 1).filter(|next| next.name() != "client.send");
            // A decode is the forward pass of a later token.
            let next = next.filter(|next| **next != Stage::Decode);
            assert!(next.is_none_or(|next| paint(*next).colour != paint(stage).colour), "{stage}");
        }
        assert_eq!(stage_rules().lines().count(), Stage::ALL.len());
    }
}
