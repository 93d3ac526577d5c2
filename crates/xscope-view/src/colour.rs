//! Colour for terminals, in one place: reports are plain text, and this paints what it knows by its
//! form. Whatever it does, the text without its escape sequences is the text that came in.

use std::ffi::OsStr;

const RESET: &str = "\x1b[0m";
const BOLD: &str = "\x1b[1m";
const FAINT: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const CYAN: &str = "\x1b[36m";

/// How lines that begin with a word are painted.
const WORDS: [(&str, &str); 8] = [
    ("error:", RED),
    ("warning:", YELLOW),
    ("note:", FAINT),
    ("next:", FAINT),
    ("PASS", GREEN),
    ("FAIL", RED),
    ("INVALID", RED),
    ("WARN", YELLOW),
];

/// Whether a terminal wants colour: `NO_COLOR` is not set (no-color.org: to anything but the empty
/// text), and it is not a dumb one.
pub fn is_wanted(no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    no_color.is_none_or(OsStr::is_empty) && term != Some(OsStr::new("dumb"))
}

/// Paints a report: titles, marks of findings and verdicts, bars.
pub fn painted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    let mut after_blank = true;
    for line in text.split_inclusive('\n') {
        let (body, end) = match line.strip_suffix('\n') {
            Some(body) => (body, "\n"),
            None => (line, ""),
        };
        let start = body.trim_start();
        let word = WORDS.iter().find(|(word, _)| start.starts_with(word));
        if let Some((word, colour)) = word {
            let indent = &body[..body.len() - start.len()];
            out += &format!("{indent}{colour}{word}{RESET}");
            out += &bars(&start[word.len()..]);
        } else if after_blank && !body.is_empty() && !body.starts_with(' ') {
            out += &format!("{BOLD}{body}{RESET}");
        } else {
            out += &bars(body);
        }
        out += end;
        after_blank = body.is_empty();
    }
    out
}

/// Paints what bars are made of.
fn bars(line: &str) -> String {
    let is_bar = |c: char| ('\u{2581}'..='\u{258f}').contains(&c);
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = rest.find(is_bar) {
        let bar = &rest[start..];
        let length = bar.find(|c| !is_bar(c)).unwrap_or(bar.len());
        out += &format!("{}{CYAN}{}{RESET}", &rest[..start], &bar[..length]);
        rest = &bar[length..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::{is_wanted, painted};

    fn plain(text: &str) -> String {
        let mut parts = text.split('\x1b');
        let mut out = parts.next().unwrap_or_default().to_owned();
        parts.for_each(|part| out += part.split_once('m').map_or("", |(_, rest)| rest));
        out
    }

    #[test]
    fn paint_changes_no_text() {
        let text = "Requests: 3\n\nStages\n stage  ms\n a  1.0  ██▌ x ▏\n\nQuality\nwarning: x\n   next: y";
        assert_eq!(plain(&painted(text)), text);
        assert!(painted(text).contains("\x1b[1mStages\x1b[0m\n"));
        assert!(painted(text).contains("\x1b[36m██▌\x1b[0m x \x1b[36m▏\x1b[0m"));
        assert!(painted(text).contains("\x1b[33mwarning:\x1b[0m x"));
        assert_eq!(painted(""), "");
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
