//! Colour for terminals, in one place: text whose parts say what they are, and what each is painted
//! as. Whatever that does, the text without its escape sequences is the text.

use std::ffi::OsStr;
use std::fmt;
use std::ops::{AddAssign, Range};

const RESET: &str = "\x1b[0m";

/// What a part of a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Names what stands below it.
    Title,
    /// An error, a figure that must not be used, a verdict to act on.
    Bad,
    Doubtful,
    Good,
    /// Beside what matters.
    Aside,
    /// A bar, or an edge of something drawn.
    Drawing,
}

impl Tone {
    /// A text that is this as a whole.
    pub(crate) fn of(self, text: &str) -> Text {
        let mut out = Text::default();
        out.push(text, Some(self));
        out
    }

    fn escape(self) -> &'static str {
        match self {
            Self::Title => "\x1b[1m",
            Self::Bad => "\x1b[31m",
            Self::Doubtful => "\x1b[33m",
            Self::Good => "\x1b[32m",
            Self::Aside => "\x1b[2m",
            Self::Drawing => "\x1b[36m",
        }
    }
}

/// Text that knows what its parts are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text {
    plain: String,
    /// In order, none in another.
    parts: Vec<(Range<usize>, Tone)>,
}

impl Text {
    /// The text alone.
    pub fn plain(&self) -> &str {
        &self.plain
    }

    /// The text with the escape sequences that colour it on a terminal.
    pub fn painted(&self) -> String {
        let mut out = String::with_capacity(self.plain.len() + 8 * self.parts.len());
        let mut at = 0;
        for (part, tone) in &self.parts {
            out += &self.plain[at..part.start];
            out += tone.escape();
            out += &self.plain[part.clone()];
            out += RESET;
            at = part.end;
        }
        out + &self.plain[at..]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.plain.is_empty()
    }

    pub(crate) fn push(&mut self, text: &str, tone: Option<Tone>) {
        let start = self.plain.len();
        self.plain += text;
        if let (Some(tone), false) = (tone, text.is_empty()) {
            self.parts.push((start..self.plain.len(), tone));
        }
    }

    /// Adds a text and ends the line.
    pub(crate) fn line(&mut self, text: impl Into<Self>) {
        *self += text;
        *self += "\n";
    }

    /// Takes away what a line ends with and nobody sees.
    pub(crate) fn trim_end(&mut self) {
        let length = self.plain.trim_end().len();
        self.plain.truncate(length);
        self.parts.retain(|(part, _)| part.start < length);
        if let Some((last, _)) = self.parts.last_mut() {
            last.end = last.end.min(length);
        }
    }
}

impl<T: Into<Self>> AddAssign<T> for Text {
    fn add_assign(&mut self, other: T) {
        let other = other.into();
        let start = self.plain.len();
        self.plain += &other.plain;
        let parts = other.parts.into_iter();
        self.parts.extend(parts.map(|(part, tone)| (start + part.start..start + part.end, tone)));
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<String> for Text {
    fn from(plain: String) -> Self {
        Self { plain, parts: Vec::new() }
    }
}

impl FromIterator<Self> for Text {
    fn from_iter<I: IntoIterator<Item = Self>>(parts: I) -> Self {
        let mut out = Self::default();
        parts.into_iter().for_each(|part| out += part);
        out
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.plain)
    }
}

/// Whether a terminal wants colour: `NO_COLOR` is not set (no-color.org: to anything but the empty
/// text), and it is not a dumb one.
pub fn is_wanted(no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    no_color.is_none_or(OsStr::is_empty) && term != Some(OsStr::new("dumb"))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::{Text, Tone, is_wanted};

    fn plain(text: &str) -> String {
        let mut parts = text.split('\x1b');
        let mut out = parts.next().unwrap_or_default().to_owned();
        parts.for_each(|part| out += part.split_once('m').map_or("", |(_, rest)| rest));
        out
    }

    #[test]
    fn paint_changes_no_text() {
        let mut text = Tone::Title.of("Stages");
        text += "\n FAIL.kernel ";
        text.push("██▌  ", Some(Tone::Drawing));
        text.trim_end();
        text.line("");
        let mut finding = Tone::Doubtful.of("warning");
        finding += ": x";
        text.line(finding);
        text.push("", Some(Tone::Bad));
        assert_eq!(plain(&text.painted()), text.plain());
        let expected =
            "\x1b[1mStages\x1b[0m\n FAIL.kernel \x1b[36m██▌\x1b[0m\n\x1b[33mwarning\x1b[0m: x\n";
        assert_eq!(text.painted(), expected);
        assert_eq!(Text::default().painted(), "");
    }

    #[test]
    fn who_wants_no_colour_gets_none() {
        let check = |no_color: Option<&str>, term: Option<&str>, expected| {
            assert_eq!(is_wanted(no_color.map(OsStr::new), term.map(OsStr::new)), expected);
        };
        check(None, Some("xterm"), true);
        check(Some(""), None, true);
        check(Some("1"), Some("xterm"), false);
        check(None, Some("dumb"), false);
    }
}
