//! What a user asks for: which requests, how many, when they are due.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::arrivals::Arrivals;
use crate::error::{LoadError, SpellingError, refused};
use crate::lengths::Lengths;
use crate::limits::{MAX_SECS, MAX_TOKENS_PER_REQUEST};

/// Token ids up to this one are kept out of prompts and labels that are made up: tokenizers keep
/// their special tokens (padding, begin, end) there.
pub(crate) const LAST_SPECIAL_ID: u32 = 10;

/// A vocabulary that every model in use has at least; ids are drawn below it unless a workload says
/// otherwise, so that a workload does not depend on the server.
pub(crate) const SAFE_VOCAB: u32 = 4096;

/// Whether prompts travel as text or as token ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PromptForm {
    /// Words; the server tokenizes, so that the token counts are approximate: one per word.
    #[default]
    Text,
    /// Token ids; the token counts are exact.
    TokenIds,
}

/// A workload as a user writes it down, in TOML or as options of a command.
///
/// Any values can be stored here; [`Plan::new`](crate::Plan::new) says whether they make sense. In TOML the kind of
/// request is a table: `[score]`, `[generate]` or `[rerank]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "Spelled", into = "Spelled")]
pub struct Workload {
    /// Name of the model, as the server wants it in the request; empty: as the server says.
    pub model: String,
    /// Of all that is drawn.
    pub seed: u64,
    /// Whether prompts travel as text or as token ids.
    pub form: PromptForm,
    /// Ids in the model's vocabulary: ids are drawn below it. 0: 4096, which every model in use has.
    pub vocab_size: u32,
    /// How many different bodies there are before they repeat; `None`: all differ. Repeats let
    /// every answer be checked for drift, and are served from a prefix cache if there is one.
    pub distinct: Option<u32>,
    /// Tokens at the beginning of a query or prompt that it shares with others ...
    pub prefix_tokens: u32,
    /// ... of its group, so that a prefix cache can have them; above 0.
    pub prefix_groups: u32,
    /// Prompts from this file (see docs/bench.md); lengths of prompts then do not matter.
    pub dataset: Option<PathBuf>,
    /// How requests arrive.
    pub arrivals: Arrivals,
    /// Requests of one measured window; no limit if `None`.
    pub requests: Option<u32>,
    /// How long requests are sent in one measured window; no limit if `None`.
    pub secs: Option<f64>,
    /// What is asked for.
    pub ask: Ask,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    Score(AskScore),
    Generate(AskGenerate),
    Rerank(AskRerank),
    /// The same bytes each time, for servers that xscope knows nothing of; any answer with status
    /// 200 is right.
    Fixed(AskFixed),
}

/// Probabilities of label tokens behind each item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AskScore {
    /// Items of a request.
    #[serde(default = "unsaid")]
    pub items: Lengths,
    /// Tokens of the query.
    #[serde(default = "unsaid")]
    pub query_tokens: Lengths,
    /// Tokens of an item.
    #[serde(default = "unsaid")]
    pub item_tokens: Lengths,
    /// Which labels: so many ids that are drawn, or the ids.
    pub labels: Labels,
    /// Whether items stand before the query.
    #[serde(default)]
    pub item_first: bool,
    /// Whether scores are probabilities over the labels alone.
    #[serde(default = "yes")]
    pub apply_softmax: bool,
}

/// Which labels are scored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Labels {
    /// So many ids, drawn from the vocabulary by the seed. A shorter list is the beginning of a
    /// longer one.
    Drawn(u32),
    Ids(Vec<u32>),
}

impl Labels {
    pub fn count(&self) -> u32 {
        match self {
            Self::Drawn(count) => *count,
            Self::Ids(ids) => u32::try_from(ids.len()).unwrap_or(u32::MAX),
        }
    }
}

/// Tokens behind a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AskGenerate {
    /// Tokens of a prompt.
    #[serde(default = "unsaid")]
    pub input_tokens: Lengths,
    /// Absent: as long as the data set's own answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<Lengths>,
    /// Whether tokens come one by one, which shows when.
    #[serde(default = "yes")]
    pub stream: bool,
    /// Go on behind an end token, so that the output has the length that was asked for.
    #[serde(default = "yes")]
    pub ignore_eos: bool,
}

/// Ranks of documents for a query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AskRerank {
    /// Documents of a request.
    #[serde(default = "unsaid")]
    pub documents: Lengths,
    /// Tokens of the query.
    #[serde(default = "unsaid")]
    pub query_tokens: Lengths,
    /// Tokens of a document.
    #[serde(default = "unsaid")]
    pub document_tokens: Lengths,
}

/// One request, as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AskFixed {
    /// With its leading slash.
    pub path: String,
    /// `GET` if empty, else the JSON to `POST`.
    #[serde(default)]
    pub body: String,
}

/// As it stands in a file.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Spelled {
    /// Name of the model, as the server wants it in the request; empty: as the server says.
    #[serde(default)]
    model: String,
    /// Of all that is drawn.
    #[serde(default = "one")]
    seed: u64,
    /// Whether prompts travel as text or as token ids.
    #[serde(default)]
    form: PromptForm,
    /// Token ids are drawn below it; 0: below 4096.
    #[serde(default)]
    vocab_size: u32,
    /// How many different bodies there are before they repeat; `null`: all differ.
    distinct: Option<u32>,
    /// Tokens at the beginning of a query or prompt that it shares with others of its group.
    #[serde(default)]
    prefix_tokens: u32,
    /// How many such groups there are.
    #[serde(default = "one_group")]
    prefix_groups: u32,
    /// Prompts are from this file.
    dataset: Option<PathBuf>,
    /// How requests arrive: `closed:4`, `poisson:20/s` ...
    #[serde(default = "one_at_a_time")]
    arrivals: Arrivals,
    /// Requests of one measured window; `null`: no limit.
    requests: Option<u32>,
    /// How long requests are sent in one measured window, in seconds; `null`: no limit.
    secs: Option<f64>,
    /// Scores are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<AskScore>,
    /// Tokens are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    generate: Option<AskGenerate>,
    /// Ranks are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    rerank: Option<AskRerank>,
    /// The same bytes are sent each time.
    #[serde(skip_serializing_if = "Option::is_none")]
    fixed: Option<AskFixed>,
}

/// Only a data set needs no lengths.
const UNSAID: Lengths = Lengths::Fixed(0);

fn unsaid() -> Lengths {
    UNSAID
}

fn yes() -> bool {
    true
}

fn one() -> u64 {
    1
}

fn one_group() -> u32 {
    1
}

fn one_at_a_time() -> Arrivals {
    Arrivals::Closed(1)
}

impl TryFrom<Spelled> for Workload {
    type Error = SpellingError;

    fn try_from(spelled: Spelled) -> Result<Self, Self::Error> {
        let Spelled { model, seed, form, vocab_size, distinct, prefix_tokens, .. } = spelled;
        let Spelled { prefix_groups, dataset, arrivals, requests, secs, .. } = spelled;
        let asked = [
            spelled.score.map(Ask::Score),
            spelled.generate.map(Ask::Generate),
            spelled.rerank.map(Ask::Rerank),
            spelled.fixed.map(Ask::Fixed),
        ];
        let mut asked = asked.into_iter().flatten();
        let (Some(ask), None) = (asked.next(), asked.next()) else {
            return Err(SpellingError::Tables);
        };
        Ok(Self {
            model,
            seed,
            form,
            vocab_size,
            distinct,
            prefix_tokens,
            prefix_groups,
            dataset,
            arrivals,
            requests,
            secs,
            ask,
        })
    }
}

impl From<Workload> for Spelled {
    fn from(workload: Workload) -> Self {
        let Workload { model, seed, form, vocab_size, distinct, prefix_tokens, .. } = workload;
        let Workload { prefix_groups, dataset, arrivals, requests, secs, ask, .. } = workload;
        let (mut score, mut generate, mut rerank, mut fixed) = (None, None, None, None);
        match ask {
            Ask::Score(ask) => score = Some(ask),
            Ask::Generate(ask) => generate = Some(ask),
            Ask::Rerank(ask) => rerank = Some(ask),
            Ask::Fixed(ask) => fixed = Some(ask),
        }
        Self {
            model,
            seed,
            form,
            vocab_size,
            distinct,
            prefix_tokens,
            prefix_groups,
            dataset,
            arrivals,
            requests,
            secs,
            score,
            generate,
            rerank,
            fixed,
        }
    }
}

impl Workload {
    /// This question with everything else as in a file that says nothing more.
    pub fn new(ask: Ask) -> Self {
        Self {
            model: String::new(),
            seed: 1,
            form: PromptForm::Text,
            vocab_size: 0,
            distinct: None,
            prefix_tokens: 0,
            prefix_groups: 1,
            dataset: None,
            arrivals: Arrivals::Closed(1),
            requests: None,
            secs: None,
            ask,
        }
    }

    /// Takes from the server what is left open: its model's name, and a smaller vocabulary.
    #[must_use]
    pub fn fitted(mut self, server_info: Option<&serde_json::Value>) -> Self {
        let text = |field: &str| server_info?.get(field)?.as_str();
        if self.model.is_empty() {
            let name = text("served_model_name").or_else(|| text("model_path"));
            name.unwrap_or("model").clone_into(&mut self.model);
        }
        if self.vocab_size == 0 {
            let stated = server_info.and_then(|info| info.get("vocab_size")?.as_u64());
            let stated = stated.and_then(|size| u32::try_from(size).ok());
            self.vocab_size = stated.unwrap_or(SAFE_VOCAB).min(SAFE_VOCAB);
        }
        self
    }

    /// Reads a workload from TOML.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is no workload: the message has the line.
    pub fn read(path: &std::path::Path) -> Result<Self, LoadError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| LoadError::File { path: path.to_owned(), source })?;
        toml::from_str(&text)
            .map_err(|error| LoadError::Toml { path: path.to_owned(), reason: error.to_string() })
    }
}

/// Refuses what makes no sense whatever is in the files that it names.
pub(crate) fn check(workload: &Workload) -> Result<(), LoadError> {
    for (field, value) in [
        ("requests", workload.requests.unwrap_or(1)),
        ("distinct", workload.distinct.unwrap_or(1)),
        ("prefix_groups", workload.prefix_groups),
    ] {
        if value == 0 {
            return refused(field, "is 0: give at least 1");
        }
    }
    if workload.secs.is_some_and(|secs| !(secs > 0.0 && secs <= MAX_SECS)) {
        return refused("secs", "is no time: give seconds above 0");
    }
    if let Some(problem) = workload.arrivals.problem() {
        return refused("arrivals", problem);
    }
    let endless = matches!(
        workload.arrivals,
        Arrivals::Closed(_)
            | Arrivals::Constant { .. }
            | Arrivals::Poisson { .. }
            | Arrivals::Gamma { .. }
    );
    if endless && workload.requests.is_none() && workload.secs.is_none() {
        return refused("requests", "is missing, and so is secs: give one, or the load never ends");
    }
    let usable_ids = workload.vocab_size.saturating_sub(LAST_SPECIAL_ID + 1);
    if usable_ids < 2 {
        return refused("vocab_size", "leaves no ids: give the model's own, which is above 12");
    }
    if let Ask::Score(ask) = &workload.ask {
        check_labels(&ask.labels, workload.vocab_size, usable_ids)?;
    }
    check_lengths(workload)
}

fn check_labels(labels: &Labels, vocab_size: u32, usable_ids: u32) -> Result<(), LoadError> {
    if labels.count() == 0 {
        return refused("labels", "has none: give at least 1, servers fail without");
    }
    match labels {
        Labels::Drawn(count) if *count > usable_ids => {
            refused("labels", "asks for more labels than the vocabulary has")
        }
        Labels::Ids(ids) => match ids.iter().find(|&&id| id >= vocab_size) {
            Some(id) => {
                let reason = format!("has id {id}, outside the vocabulary of {vocab_size} ids");
                refused("labels", reason)
            }
            None => Ok(()),
        },
        Labels::Drawn(_) => Ok(()),
    }
}

fn check_lengths(workload: &Workload) -> Result<(), LoadError> {
    let (query, items, item) = match &workload.ask {
        Ask::Score(ask) => (&ask.query_tokens, Some(&ask.items), Some(&ask.item_tokens)),
        Ask::Rerank(ask) => (&ask.query_tokens, Some(&ask.documents), Some(&ask.document_tokens)),
        Ask::Generate(ask) => (&ask.input_tokens, None, ask.output_tokens.as_ref()),
        Ask::Fixed(_) => return Ok(()),
    };
    let named = [("query_tokens", Some(query)), ("items", items), ("item_tokens", item)];
    for (field, lengths) in named {
        match lengths {
            Some(&UNSAID) if workload.dataset.is_some() => {}
            Some(&UNSAID) => return refused(field, "is 0 or not given: lengths are from 1"),
            Some(lengths) => lengths.problem().map_or(Ok(()), |why| refused(field, why))?,
            None => {}
        }
    }
    let per_item = u64::from(query.most()) + u64::from(workload.prefix_tokens);
    let per_item = per_item + item.map_or(0, |item| u64::from(item.most()));
    let tokens = items.map_or(1, |items| u64::from(items.most())).saturating_mul(per_item);
    if tokens > MAX_TOKENS_PER_REQUEST {
        return refused("items", "makes a request of more than 16 Mi prompt tokens");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Workload;
    use crate::arrivals::Arrivals;

    #[test]
    fn a_file_is_a_workload_and_back() {
        let text = "requests = 1\narrivals = \"closed:2\"\n[score]\nitem_tokens = \"uniform:4-6\"\nlabels = 2";
        let workload: Workload = toml::from_str(text).unwrap();
        assert_eq!(workload.arrivals, Arrivals::Closed(2));

        let json = serde_json::to_string(&workload).unwrap();
        assert_eq!(serde_json::from_str::<Workload>(&json).unwrap(), workload);
        for (wrong, words) in [
            ("requests = 1\nitms = 2\n[score]\n", "itms"),
            ("requests = 1", "exactly one of the tables"),
            ("arrivals = \"sometimes\"\n[fixed]\npath = \"/\"", "write closed:4"),
        ] {
            let error = toml::from_str::<Workload>(wrong).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
