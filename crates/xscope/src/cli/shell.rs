//! The command lines of xscope in what people and machines run.

use clap::Parser as _;

use super::Cli;

/// A word of a shell script, or what separates commands.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    End,
}

/// As much of a shell's grammar as the scripts use; a variable becomes `1`.
fn tokens(script: &str) -> Vec<Token> {
    let script = script.replace("\\\n", " ");
    let mut tokens = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = script.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None | Some('"'), '$') => {
                let is_braced = chars.peek() == Some(&'{');
                while chars.next_if(|&c| c.is_alphanumeric() || "_{?".contains(c)).is_some() {}
                if is_braced {
                    chars.next_if_eq(&'}');
                }
                word.push('1');
            }
            (None, ' ' | '\n' | ';' | '|' | '&' | '>' | '<') => {
                if !word.is_empty() {
                    tokens.push(Token::Word(std::mem::take(&mut word)));
                }
                if c != ' ' {
                    tokens.push(Token::End);
                }
            }
            (_, c) => word.push(c),
        }
    }
    if !word.is_empty() {
        tokens.push(Token::Word(word));
    }
    tokens
}

/// The command lines of xscope in a script.
pub(super) fn command_lines(script: &str) -> Vec<Vec<String>> {
    let mut lines: Vec<Vec<String>> = Vec::new();
    let mut line: Vec<String> = Vec::new();
    for token in tokens(script).into_iter().chain([Token::End]) {
        match token {
            Token::Word(word) if line.is_empty() && ["do", "then", "else"].contains(&&*word) => {}
            Token::Word(word) => line.push(word),
            Token::End => lines.push(std::mem::take(&mut line)),
        }
    }
    lines.retain(|line| line.first().is_some_and(|first| first == "xscope"));
    lines
}

/// How many command lines of xscope there are; fails if one is not accepted.
pub(super) fn checked(script: &str) -> usize {
    let lines = command_lines(script);
    for line in &lines {
        if let Err(error) = Cli::try_parse_from(line) {
            panic!("{line:?}: {error}");
        }
    }
    lines.len()
}

#[test]
fn command_lines_are_found_in_scripts() {
    let script =
        "code=0\nif x; then\n  xscope compare a \"$B\" \\\n --junit 'x > y' > f || code=$?\nfi";
    let expected = ["xscope", "compare", "a", "1", "--junit", "x > y"];
    assert_eq!(command_lines(script), [expected]);
    assert!(Cli::try_parse_from(["xscope", "compare", "a", "b", "--never"]).is_err());
}
