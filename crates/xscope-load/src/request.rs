//! One request, whatever server it goes to.

use serde::{Deserialize, Serialize};

/// Text or token ids, as the endpoints take either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Prompt {
    Text(String),
    TokenIds(Vec<u32>),
}

impl Prompt {
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::TokenIds(ids) => ids.is_empty(),
        }
    }

    /// Its tokens, if they are counted.
    pub(crate) fn tokens(&self) -> Option<u64> {
        match self {
            Self::Text(_) => None,
            Self::TokenIds(ids) => Some(ids.len() as u64),
        }
    }
}

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The prompt, if something is generated.
    pub query: Prompt,
    /// Items or documents.
    pub items: Vec<Prompt>,
    pub labels: Vec<u32>,
    /// Tokens to generate.
    pub output_tokens: u32,
}

impl Request {
    /// Prompt tokens, if the prompts are ids: every item comes behind its own copy of the query.
    pub(crate) fn prompt_tokens(&self) -> Option<u64> {
        let query = self.query.tokens()?;
        if self.items.is_empty() {
            return Some(query);
        }
        self.items.iter().map(|item| Some(query + item.tokens()?)).sum()
    }
}
