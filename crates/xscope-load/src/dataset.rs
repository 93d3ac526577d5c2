//! Requests from a file instead of made-up ones.
//!
//! Two formats: ShareGPT's (a JSON list of conversations), and JSON lines, each `{"query", "items"}`
//! (or `documents`, `texts`) for scoring and ranking, `{"prompt", "output_tokens"?}` for generating.
//! Prompts are text or lists of token ids.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::error::LoadError;
use crate::request::Prompt;

/// Characters of a token, about, where an answer's length has to be guessed.
const CHARS_PER_TOKEN: usize = 4;

/// One request's content.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Example {
    #[serde(alias = "prompt")]
    pub(crate) query: Prompt,
    #[serde(default, alias = "documents", alias = "texts")]
    pub(crate) items: Vec<Prompt>,
    #[serde(default)]
    pub(crate) output_tokens: Option<u32>,
}

/// Reads a data set whole; a line that is none is an error with its number.
pub(crate) fn read(path: &Path) -> Result<(Arc<[Example]>, Vec<u8>), LoadError> {
    let bytes =
        std::fs::read(path).map_err(|source| LoadError::File { path: path.to_owned(), source })?;
    let wrong = |reason: String| LoadError::Workload {
        field: "dataset",
        reason: format!("{}: {reason}", path.display()),
    };
    let examples = match serde_json::from_slice::<Vec<Value>>(&bytes) {
        Ok(conversations) => conversations.iter().filter_map(conversation).collect(),
        Err(_) => lines(&bytes).map_err(|(line, error)| wrong(format!("line {line}: {error}")))?,
    };
    let is_empty = |prompt: &Prompt| prompt.is_empty();
    if let Some(at) =
        examples.iter().position(|e| is_empty(&e.query) || e.items.iter().any(is_empty))
    {
        return Err(wrong(format!("example {at} has an empty prompt, which kills servers")));
    }
    match examples.is_empty() {
        true => Err(wrong("has no conversations and no lines with a prompt or query".to_owned())),
        false => Ok((examples.into(), bytes)),
    }
}

/// The requests, or the number of the first line that is none, and why.
fn lines(bytes: &[u8]) -> Result<Vec<Example>, (usize, serde_json::Error)> {
    let lines = bytes.split(|&byte| byte == b'\n').enumerate();
    let lines = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    lines
        .map(|(index, line)| serde_json::from_slice(line).map_err(|error| (index + 1, error)))
        .collect()
}

/// The first question of a conversation, and about how long its answer is.
fn conversation(value: &Value) -> Option<Example> {
    let turns = value.get("conversations").or_else(|| value.get("conversation"))?.as_array()?;
    let text = |index: usize| {
        let turn = turns.get(index)?;
        turn.get("value").or_else(|| turn.get("content"))?.as_str()
    };
    let question = text(0).filter(|text| !text.trim().is_empty())?;
    let tokens = text(1).map(|answer| (answer.chars().count() / CHARS_PER_TOKEN).max(1));
    Some(Example {
        query: Prompt::Text(question.to_owned()),
        items: Vec::new(),
        output_tokens: tokens.map(|tokens| u32::try_from(tokens).unwrap_or(u32::MAX)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a file with this content; its examples as JSON, or the error.
    fn check(content: &str, expected: &str) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        std::fs::write(&path, content).unwrap();
        let got = match read(&path) {
            Ok((examples, _)) => {
                let examples = examples.iter().map(|example| {
                    let query = serde_json::to_string(&example.query).unwrap();
                    format!("{query} {} {:?}", example.items.len(), example.output_tokens)
                });
                examples.collect::<Vec<_>>().join("; ")
            }
            Err(error) => error.to_string(),
        };
        assert!(got.contains(expected), "{got}");
    }

    #[test]
    fn both_formats() {
        check(
            r#"[{"conversations":[{"from":"human","value":"hi"},{"value":"12345678"}]},
                {"conversations":[{"value":" "}]}, {"other":1}]"#,
            "\"hi\" 0 Some(2)",
        );
        check(
            "{\"query\":[11,12],\"items\":[[13],[14]]}\n\n{\"prompt\":\"p\",\"output_tokens\":7}\n",
            "[11,12] 2 None; \"p\" 0 Some(7)",
        );
        check("{\"query\":\"q\",\"items\":[\"\"]}", "example 0 has an empty prompt");
        check("{\"query\":\"q\"}\n{\"query\":", "line 2");
        check("[]", "no conversations");
    }
}
