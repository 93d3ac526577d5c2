//! A command that starts a server, with probes inside.

use std::ffi::OsString;
use std::path::Path;

use crate::probes::{ProbeTable, Spans};

/// A command that starts a server, and what to record in it.
#[derive(Debug, Clone)]
pub struct ServerCommand {
    /// The program and its arguments; not empty.
    pub words: Vec<OsString>,
    pub tables: Vec<ProbeTable>,
    /// PYTHONPATH, as the user has it.
    pub python_path: Option<String>,
    pub spans: Spans,
}

impl ServerCommand {
    /// The command as text, for people.
    pub fn text(&self) -> String {
        self.words().join(" ")
    }

    pub(crate) fn words(&self) -> Vec<String> {
        words_of(&self.words)
    }

    /// What it serves, else the name of its program.
    pub(crate) fn subject(&self) -> String {
        let program = || {
            let name = Path::new(self.words.first()?).file_name()?;
            Some(name.to_string_lossy().into_owned())
        };
        named_model(&self.words()).or_else(program).unwrap_or_default()
    }
}

/// Words as text, for people.
pub(crate) fn words_of(words: &[OsString]) -> Vec<String> {
    words.iter().map(|word| word.to_string_lossy().into_owned()).collect()
}

/// The model that a command serves, if its words name one.
pub(crate) fn named_model(words: &[String]) -> Option<String> {
    let names = ["--model-path", "--model"];
    let mut pairs = words.iter().zip(words.iter().skip(1));
    pairs.find(|(flag, _)| names.contains(&flag.as_str())).map(|(_, value)| value.clone())
}
