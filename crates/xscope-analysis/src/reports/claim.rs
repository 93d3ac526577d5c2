//! A sentence as a value: what is claimed, how much of what, from which rows, and what to do about it
//! under which condition. Its words are made here and nowhere else.

use serde::Serialize;
use xscope_trace::quality::Code;

use crate::framework::Framework;
use crate::section::Section;
use crate::words::{counted, duration, percent};

/// How many letters of a name a sentence can take; those of C++ templates have hundreds.
const LONGEST_NAME: usize = 80;

/// What a share is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// From the first operation of each device to its last, over all devices.
    Window,
    /// From the first event of the trace to the last.
    Capture,
    /// The self time of all operations.
    Operations,
    /// The idle time of all devices.
    Idle,
    /// The idle time of all devices with one cause.
    Cause,
    /// The time in all collectives.
    Communication,
    /// What the device can do at most.
    Peak,
    /// The time of one kernel.
    Kernel,
    /// Nothing: a count or a time.
    Absolute,
}

/// A part of a whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    pub part_us: f64,
    pub whole_us: f64,
    pub of: Basis,
}

impl Share {
    /// 0 of nothing.
    pub fn value(self) -> f64 {
        if self.whole_us > 0.0 { self.part_us / self.whole_us } else { 0.0 }
    }

    /// `most` only above half.
    pub(crate) fn most(self) -> String {
        match self.value() > 0.5 {
            true => format!("most of it, {},", percent(self.value())),
            false => format!("the largest part, {},", percent(self.value())),
        }
    }
}

/// What is claimed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    /// No request was answered right.
    AllFailed {
        failed: u64,
    },
    /// Something is wrong with the data; the words are the finding's.
    Wrong {
        message: String,
    },
    /// Devices idled, for the most part for one cause.
    Idle {
        idle: Share,
        cause: &'static str,
        part: Share,
        code: Option<(String, Share)>,
    },
    /// Communication that nothing hides.
    Communication {
        exposed: Share,
        waiting: Option<Share>,
        all_known: bool,
        late: Option<Late>,
    },
    /// Copies that nothing hides.
    Copies {
        exposed: Share,
        largest: Option<String>,
    },
    Compiles {
        count: u64,
        took: Share,
        longest_us: f64,
        program: String,
    },
    /// The operation with the most time.
    Kernel {
        name: String,
        category: String,
        scope: String,
        time: Share,
        reached: Option<Reached>,
        /// Its own time in which it waited for copies, if that is most of it.
        waits: Option<Share>,
    },
    /// The part of the model with the most time.
    Component {
        name: String,
        time: Share,
    },
    /// Most time belongs to no known part of the model.
    Unknown {
        unknown: Share,
        largest: Option<(String, Share)>,
    },
}

/// The device for which others waited longer than for all others together.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Late {
    pub device: String,
    pub collective: String,
    /// How long the others waited for it, added up.
    pub caused_us: f64,
    pub times: u64,
    /// How often the collective ran.
    pub of: u64,
}

/// How near an operation comes to a peak.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reached {
    pub share: f64,
    pub peak: &'static str,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Advice {
    pub text: String,
    /// What `xscope analyze PATH` shows more of, if anything.
    pub command: Vec<String>,
    /// When it holds; empty if always.
    pub holds_if: &'static str,
    /// Whose users it is for; `None` if anybody's.
    pub framework: Option<Framework>,
}

/// A sentence before its words.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Claim {
    pub said: Said,
    pub section: Section,
    /// What it is worth among others: its time as a share of the windows; above 1 where operations of one
    /// device ran at the same time.
    pub share: f64,
    pub advice: Advice,
    /// Findings that make it doubtful.
    pub doubts: Vec<Code>,
}

/// One of the findings that matter most.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Headline {
    /// What it is about, and the section that has the details.
    pub section: Section,
    /// Share of the devices' windows that it is about; of compilations, of the capture.
    pub share: f64,
    /// The finding, as a sentence.
    pub text: String,
    /// What to do about it.
    pub next: String,
    /// The numbers in `text`, and the rows of the section that they are told from.
    #[serde(rename = "numbers")]
    pub figures: Vec<ClaimFigure>,
    /// When what is to be done helps; empty if always.
    pub holds_if: &'static str,
    /// Whose users it is for; absent if anybody's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub framework: Option<Framework>,
    /// The findings that make it doubtful.
    pub doubts: Vec<Code>,
}

/// A number of a sentence.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClaimFigure {
    /// The number.
    pub value: f64,
    /// `1` for a share.
    pub unit: &'static str,
    /// What it is a share of.
    pub of: Basis,
    /// The rows of the section that it is told from, by name; empty if all of them.
    #[serde(rename = "row_names")]
    pub rows: Vec<String>,
}

impl Claim {
    /// The claim in words; `show` says how to call for what shows more.
    pub(crate) fn headline(&self, show: impl Fn(&[String]) -> String) -> Headline {
        Headline {
            section: self.section,
            share: self.share.min(1.0),
            text: self.text(),
            next: self.next(show),
            figures: self.said.figures(),
            holds_if: self.advice.holds_if,
            framework: self.advice.framework,
            doubts: self.doubts.clone(),
        }
    }

    fn text(&self) -> String {
        let mut text = self.said.text();
        if let Some(doubt) = self.doubts.first() {
            text += &format!(" (doubtful: {doubt})");
        }
        text
    }

    fn next(&self, show: impl Fn(&[String]) -> String) -> String {
        let Advice { text, command, holds_if, .. } = &self.advice;
        let mut next = match holds_if.is_empty() {
            true => text.clone(),
            false => format!("{holds_if}: {text}"),
        };
        if !command.is_empty() {
            let show = show(command);
            next = if next.is_empty() { show } else { format!("{next}: `{show}`") };
        }
        next
    }
}

impl Said {
    fn text(&self) -> String {
        match self {
            Self::AllFailed { failed } => {
                format!("no request was answered right: {} failed", counted(*failed, "request"))
            }
            Self::Wrong { message } => message.clone(),
            Self::Idle { idle, cause, part, code } => idle_text(*idle, cause, *part, code.as_ref()),
            Self::Communication { exposed, waiting, all_known, late } => {
                communication_text(*exposed, *waiting, *all_known, late.as_ref())
            }
            Self::Copies { exposed, largest } => {
                let largest = largest.as_ref().map_or_else(String::new, |name| {
                    format!("; the longest copy is {}", cut(name))
                });
                format!(
                    "{} of the window is copies that nothing hides{largest}",
                    percent(exposed.value())
                )
            }
            Self::Compiles { count, took, longest_us, program } => format!(
                "{} took {}, {} of the capture, the longest {} for {}",
                counted(*count, "compilation"),
                duration(took.part_us),
                percent(took.value()),
                duration(*longest_us),
                if program.is_empty() { "an unknown program" } else { program }
            ),
            Self::Kernel { name, category, scope, time, reached, waits } => {
                let waits = waits.map_or_else(String::new, |waits| {
                    format!("; {} of that it waits for its copies (DMA)", percent(waits.value()))
                });
                let place = if scope.is_empty() { String::new() } else { format!(" in {scope}") };
                let reached = reached.as_ref().map_or_else(String::new, |reached| {
                    format!(
                        "; it reaches {} of the peak of {}",
                        percent(reached.share),
                        reached.peak
                    )
                });
                format!(
                    "the largest kernel is {} ({category}){place} with {} of the operations' time{reached}{waits}",
                    cut(name),
                    percent(time.value())
                )
            }
            Self::Component { name, time } => format!(
                "{name} takes {} of the operations' time, more than any other part of the model",
                percent(time.value())
            ),
            Self::Unknown { unknown, largest } => {
                let largest = largest.as_ref().map_or_else(String::new, |(name, time)| {
                    format!("; the largest known part is {name}, {}", percent(time.value()))
                });
                format!(
                    "{} of the operations' time belongs to no known part of the model{largest}",
                    percent(unknown.value())
                )
            }
        }
    }

    /// The numbers of the text.
    fn figures(&self) -> Vec<ClaimFigure> {
        let share = |share: Share, rows: &[&str]| ClaimFigure {
            value: share.value(),
            unit: "1",
            of: share.of,
            rows: rows.iter().map(|&row| row.to_owned()).collect(),
        };
        let absolute =
            |value: f64, unit| ClaimFigure { value, unit, of: Basis::Absolute, rows: Vec::new() };
        let named = |part: &Option<(String, Share)>| {
            part.as_ref().map(|(name, part)| share(*part, &[name]))
        };
        match self {
            Self::AllFailed { failed } => {
                vec![absolute(xscope_trace::stats::as_f64(*failed), "requests")]
            }
            Self::Wrong { .. } => Vec::new(),
            Self::Idle { idle, cause, part, code } => {
                let first = [share(*idle, &[]), share(*part, &[cause])];
                first.into_iter().chain(named(code)).collect()
            }
            Self::Communication { exposed, waiting, .. } => {
                let waiting = waiting.map(|waiting| share(waiting, &[]));
                [share(*exposed, &[])].into_iter().chain(waiting).collect()
            }
            Self::Copies { exposed, .. } => vec![share(*exposed, &[])],
            Self::Compiles { took, longest_us, program, .. } => {
                let longest =
                    ClaimFigure { rows: vec![program.clone()], ..absolute(*longest_us, "us") };
                vec![absolute(took.part_us, "us"), share(*took, &[]), longest]
            }
            Self::Kernel { name, time, reached, waits, .. } => {
                let reached = reached.as_ref().map(|reached| ClaimFigure {
                    value: reached.share,
                    unit: "1",
                    of: Basis::Peak,
                    rows: vec![name.clone()],
                });
                let waits = waits.map(|waits| share(waits, &[name]));
                [share(*time, &[name])].into_iter().chain(reached).chain(waits).collect()
            }
            Self::Component { name, time } => vec![share(*time, &[name])],
            Self::Unknown { unknown, largest } => {
                let unknown = share(*unknown, &[crate::layers::components::UNKNOWN]);
                [unknown].into_iter().chain(named(largest)).collect()
            }
        }
    }
}

fn idle_text(idle: Share, cause: &str, part: Share, code: Option<&(String, Share)>) -> String {
    let what = match cause {
        "compile" => "a host thread compiled",
        "transfer" => "data moved between host and device",
        "no_request" => "there was nothing to do",
        "peer" => "other devices of the same program were busy",
        "blocked" => "the host was in a call that copies while no copy ran",
        "host" => "the host was not ready",
        _ => "nothing in the trace says why",
    };
    let detail = code
        .map_or_else(String::new, |(name, time)| format!(" ({} in `{}`)", time.most(), cut(name)));
    let for_ = if part.value() > 0.5 { "for most of that" } else { "for the largest part of that" };
    format!(
        "devices idled {} of the window; {for_}, {}, {what}{detail}",
        percent(idle.value()),
        percent(part.value())
    )
}

fn communication_text(
    exposed: Share,
    waiting: Option<Share>,
    all_known: bool,
    late: Option<&Late>,
) -> String {
    let at_least = if all_known { "" } else { "at least " };
    let waiting = match waiting {
        Some(waiting) => {
            format!(
                "{at_least}{} of all communication is waiting for peers",
                percent(waiting.value())
            )
        }
        None => "the trace does not say how much of it is waiting for peers".to_owned(),
    };
    let late = late.map_or_else(String::new, |late| {
        let Late { device, collective, caused_us, times, of } = late;
        format!(
            "; {device} kept the others waiting for {} in {times} of {} of {}",
            duration(*caused_us),
            counted(*of, "execution"),
            cut(collective)
        )
    });
    format!(
        "{} of the window is communication that nothing hides; {waiting}{late}",
        percent(exposed.value())
    )
}

/// As much of a name as a sentence can take.
fn cut(name: &str) -> String {
    match name.char_indices().nth(LONGEST_NAME) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}
