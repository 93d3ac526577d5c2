//! What is sent: requests made from a seed, or from a file.
//!
//! The same workload gives the same bytes on every machine. Requests of one point differ from
//! each other unless told otherwise, because a server with a prefix cache answers a repeated
//! prompt without computing it; the label list of a point is the same in all of its requests,
//! because servers compile for it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use xscope_trace::results::PointShape;

use crate::arrivals::{Arrivals, Recorded, Schedule, read_recorded};
use crate::backend::Backend;
use crate::dataset::{self, Example};
use crate::error::LoadError;
use crate::lengths::Lengths;
use crate::random::Random;
use crate::record::Phase;
use crate::run::Point;

/// Token ids up to this one are kept out of prompts and labels that are made up: tokenizers keep
/// their special tokens (padding, begin, end) there.
pub const LAST_SPECIAL_ID: u32 = 10;

/// A vocabulary that every model in use has at least; ids are drawn below it unless a workload says
/// otherwise, so that a workload does not depend on the server.
pub const SAFE_VOCAB: u32 = 4096;

/// More prompt tokens than this in one request is a typing error, not a workload.
const MAX_TOKENS_PER_REQUEST: u64 = 16 << 20;

/// Common words, each one token in most vocabularies.
#[rustfmt::skip] // it would put one on a line
const WORDS: [&str; 64] = [
    "time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world",
    "school", "state", "family", "student", "group", "country", "problem", "hand", "part",
    "place", "case", "week", "company", "system", "program", "question", "work", "government",
    "number", "night", "point", "home", "water", "room", "mother", "area", "money", "story",
    "fact", "month", "lot", "right", "study", "book", "eye", "job", "word", "business", "issue",
    "side", "kind", "head", "house", "service", "friend", "father", "power", "hour", "game",
    "line", "end", "member", "law",
];

/// Whether prompts travel as text or as token ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
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
/// Any values can be stored here; [`Plan::new`] says whether they make sense. In TOML the kind of
/// request is a table: `[score]`, `[generate]` or `[rerank]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Spelled", into = "Spelled")]
pub struct Workload {
    /// Name of the model, as the server wants it in the request; empty: as the server says.
    pub model: String,
    pub seed: u64,
    pub form: PromptForm,
    /// Ids in the model's vocabulary: ids are drawn below it. 0: [`SAFE_VOCAB`].
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
    pub arrivals: Arrivals,
    /// Requests of one measured window; no limit if `None`.
    pub requests: Option<u32>,
    /// How long requests are sent in one measured window; no limit if `None`.
    pub secs: Option<f64>,
    pub ask: Ask,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
#[serde(deny_unknown_fields)]
pub struct AskScore {
    #[serde(default = "unsaid")]
    pub items: Lengths,
    #[serde(default = "unsaid")]
    pub query_tokens: Lengths,
    #[serde(default = "unsaid")]
    pub item_tokens: Lengths,
    pub labels: Labels,
    #[serde(default)]
    pub item_first: bool,
    #[serde(default = "yes")]
    pub apply_softmax: bool,
}

/// Which labels are scored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[serde(deny_unknown_fields)]
pub struct AskGenerate {
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
#[serde(deny_unknown_fields)]
pub struct AskRerank {
    #[serde(default = "unsaid")]
    pub documents: Lengths,
    #[serde(default = "unsaid")]
    pub query_tokens: Lengths,
    #[serde(default = "unsaid")]
    pub document_tokens: Lengths,
}

/// One request, as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
#[serde(deny_unknown_fields)]
struct Spelled {
    #[serde(default)]
    model: String,
    #[serde(default = "one")]
    seed: u64,
    #[serde(default)]
    form: PromptForm,
    #[serde(default)]
    vocab_size: u32,
    distinct: Option<u32>,
    #[serde(default)]
    prefix_tokens: u32,
    #[serde(default = "one_group")]
    prefix_groups: u32,
    dataset: Option<PathBuf>,
    #[serde(default = "one_at_a_time")]
    arrivals: Arrivals,
    requests: Option<u32>,
    secs: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<AskScore>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generate: Option<AskGenerate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rerank: Option<AskRerank>,
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
    type Error = &'static str;

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
            return Err("give exactly one of the tables [score], [generate], [rerank], [fixed]");
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

    /// The points of a score matrix, with their names: batch sizes outermost.
    pub fn score_matrix(&self, batch_sizes: &[u32], label_counts: &[u32]) -> Vec<(String, Self)> {
        let pairs = batch_sizes.iter().flat_map(|&b| label_counts.iter().map(move |&l| (b, l)));
        pairs
            .map(|(batch_size, label_count)| {
                let mut workload = self.clone();
                if let Ask::Score(ask) = &mut workload.ask {
                    ask.items = Lengths::Fixed(batch_size);
                    ask.labels = match &ask.labels {
                        Labels::Drawn(_) => Labels::Drawn(label_count),
                        Labels::Ids(ids) => {
                            Labels::Ids(ids.iter().copied().take(label_count as usize).collect())
                        }
                    };
                }
                (format!("b{batch_size}_l{label_count}"), workload)
            })
            .collect()
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

/// Points that are measured one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    /// What the points have in common.
    pub workload: Workload,
    /// Each with its name.
    pub points: Vec<(String, Workload)>,
    pub backend: Backend,
}

impl Matrix {
    /// A score matrix.
    pub fn score(workload: Workload, batch_sizes: &[u32], label_counts: &[u32]) -> Self {
        let points = workload.score_matrix(batch_sizes, label_counts);
        Self { workload, points, backend: Backend::Sglang }
    }

    /// Takes from the server what is left open, and checks every point.
    ///
    /// # Errors
    ///
    /// A point cannot be made.
    pub fn fit(
        &mut self,
        server_info: Option<&serde_json::Value>,
    ) -> Result<Vec<Point>, LoadError> {
        self.workload = self.workload.clone().fitted(server_info);
        if self.points.is_empty() {
            return refused("points", "is empty: give at least one");
        }
        for (_, workload) in &mut self.points {
            *workload = workload.clone().fitted(server_info);
        }
        let points = self.points.iter();
        let plans = points.map(|(name, workload)| {
            Ok(Point::new(Plan::new(name.as_str(), workload.clone(), self.backend)?))
        });
        plans.collect()
    }
}

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
    fn tokens(&self) -> Option<u64> {
        match self {
            Self::Text(_) => None,
            Self::TokenIds(ids) => Some(ids.len() as u64),
        }
    }
}

/// One request, whatever server it goes to.
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

/// One point: a workload that has been checked. It makes requests.
#[derive(Debug, Clone)]
pub struct Plan {
    name: String,
    shape: PointShape,
    workload: Workload,
    backend: Backend,
    labels: Vec<u32>,
    examples: Arc<[Example]>,
    recorded: Arc<[Recorded]>,
    hash: String,
    /// Of the hash: requests of different points have different content.
    stream: u64,
}

impl Plan {
    /// Refuses what cannot be made and what is known to kill servers: empty prompts, label ids
    /// outside the vocabulary, empty label lists. Reads the files that the workload names.
    ///
    /// # Errors
    ///
    /// [`LoadError::Workload`] names the field and says why.
    pub fn new(
        name: impl Into<String>,
        mut workload: Workload,
        backend: Backend,
    ) -> Result<Self, LoadError> {
        if workload.vocab_size == 0 {
            workload.vocab_size = SAFE_VOCAB;
        }
        check(&workload)?;
        backend.check(&workload)?;
        let (examples, bytes) = match &workload.dataset {
            Some(path) => dataset::read(path)?,
            None => ([].into(), Vec::new()),
        };
        let recorded = match &workload.arrivals {
            Arrivals::Replay(path) => read_recorded(path)?,
            _ => [].into(),
        };
        check_files(&workload, &examples, &recorded)?;
        let labels = match &workload.ask {
            Ask::Score(AskScore { labels: Labels::Ids(ids), .. }) => ids.clone(),
            Ask::Score(AskScore { labels: Labels::Drawn(n), .. }) => draw_labels(&workload, *n),
            _ => Vec::new(),
        };
        let digest = content_digest(&workload, &bytes, &recorded);
        let hash = digest.iter().fold("sha256:".to_owned(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a string cannot fail");
            text
        });
        let stream = digest.first_chunk().map_or(0, |first| u64::from_le_bytes(*first));
        let (name, shape) = (name.into(), shape(&workload));
        Ok(Self { name, shape, workload, backend, labels, examples, recorded, hash, stream })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn shape(&self) -> PointShape {
        self.shape
    }

    pub fn workload(&self) -> &Workload {
        &self.workload
    }

    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Names what makes the content and the timing of the requests; see FORMAT.md.
    pub fn workload_hash(&self) -> &str {
        &self.hash
    }

    /// Whether requests repeat, so that all their answers can be compared.
    pub fn repeats(&self) -> bool {
        self.workload.distinct.is_some()
    }

    /// Whether answers are numbers, which can be compared.
    pub fn has_scores(&self) -> bool {
        matches!(self.workload.ask, Ask::Score(_) | Ask::Rerank(_))
    }

    /// The labels that are scored.
    pub(crate) fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Times at which requests are due, from the start of a window; none in a closed loop.
    pub(crate) fn schedule(&self, arrivals: &Arrivals, window: u64) -> Schedule {
        let seed = self.workload.seed ^ (window << 32);
        Schedule::new(arrivals.clone(), Arc::clone(&self.recorded), seed)
    }

    /// The request at this place of a phase. Equal phases and places have equal requests.
    pub fn request(&self, phase: Phase, place: u64) -> Request {
        let place = match (phase, self.workload.distinct) {
            (Phase::Measure, Some(distinct)) => place % u64::from(distinct),
            _ => place,
        };
        // Warm-up prompts differ from measured ones, so that they leave nothing useful in a
        // prefix cache.
        let mut random = Random::new(&[self.stream, phase.stream(), place]);
        let nth = usize::try_from(place).unwrap_or(0);
        if !self.examples.is_empty() {
            return self.example(&self.examples[nth % self.examples.len()], &mut random);
        }
        let recorded = match self.recorded.is_empty() {
            true => None,
            false => self.recorded[nth % self.recorded.len()].items,
        };
        let (query, items, item_tokens, output_tokens) = match &self.workload.ask {
            Ask::Score(ask) => (&ask.query_tokens, Some(&ask.items), Some(&ask.item_tokens), 0),
            Ask::Rerank(ask) => {
                (&ask.query_tokens, Some(&ask.documents), Some(&ask.document_tokens), 0)
            }
            Ask::Generate(ask) => {
                let output = ask.output_tokens.as_ref().map_or(1, |n| n.draw(&mut random));
                (&ask.input_tokens, None, None, output)
            }
            Ask::Fixed(_) => (&Lengths::Fixed(0), None, None, 0),
        };
        let query = self.query(&mut random, query);
        let count = items.map_or(0, |items| recorded.unwrap_or_else(|| items.draw(&mut random)));
        let items = (0..count).filter_map(|_| {
            let tokens = item_tokens?.draw(&mut random);
            Some(self.prompt(&mut random, tokens))
        });
        Request { items: items.collect(), query, labels: self.labels.clone(), output_tokens }
    }

    fn example(&self, example: &Example, random: &mut Random) -> Request {
        let stated = match &self.workload.ask {
            Ask::Generate(ask) => ask.output_tokens.as_ref().map(|tokens| tokens.draw(random)),
            _ => Some(0),
        };
        Request {
            query: example.query.clone(),
            items: example.items.clone(),
            labels: self.labels.clone(),
            output_tokens: stated.or(example.output_tokens).unwrap_or(1),
        }
    }

    /// A prompt behind the prefix of its group.
    fn query(&self, random: &mut Random, tokens: &Lengths) -> Prompt {
        let Workload { prefix_tokens, prefix_groups, .. } = self.workload;
        let own = tokens.draw(random);
        if prefix_tokens == 0 {
            return self.prompt(random, own);
        }
        let group = random.below(prefix_groups);
        let mut of_group = Random::new(&[self.stream, 4, u64::from(group)]);
        match (self.prompt(&mut of_group, prefix_tokens), self.prompt(random, own)) {
            (Prompt::TokenIds(mut prefix), Prompt::TokenIds(own)) => {
                prefix.extend(own);
                Prompt::TokenIds(prefix)
            }
            (Prompt::Text(prefix), Prompt::Text(own)) => Prompt::Text(format!("{prefix} {own}")),
            (_, own) => own,
        }
    }

    fn prompt(&self, random: &mut Random, tokens: u32) -> Prompt {
        match self.workload.form {
            PromptForm::TokenIds => Prompt::TokenIds(
                (0..tokens).map(|_| draw_id(random, self.workload.vocab_size)).collect(),
            ),
            PromptForm::Text => {
                let words = (0..tokens).map(|_| *random.pick(&WORDS).unwrap_or(&WORDS[0]));
                Prompt::Text(words.collect::<Vec<_>>().join(" "))
            }
        }
    }
}

/// What of a workload is the same in all of its requests.
fn shape(workload: &Workload) -> PointShape {
    let from_file = workload.dataset.is_some() || matches!(workload.arrivals, Arrivals::Replay(_));
    let fixed = |lengths: &Lengths| lengths.fixed().filter(|_| !from_file);
    let (batch_size, label_count, input_len, output_len) = match &workload.ask {
        Ask::Score(ask) => (fixed(&ask.items), Some(ask.labels.count()), None, None),
        Ask::Rerank(ask) => (fixed(&ask.documents), None, None, None),
        Ask::Generate(ask) => {
            (None, None, fixed(&ask.input_tokens), ask.output_tokens.as_ref().and_then(fixed))
        }
        Ask::Fixed(_) => (None, None, None, None),
    };
    PointShape { batch_size, label_count, input_len, output_len }
}

/// SHA-256 of all that makes the content and the timing of the requests. `json!` sorts its keys.
fn content_digest(workload: &Workload, dataset: &[u8], recorded: &[Recorded]) -> Vec<u8> {
    let file = |bytes: &[u8]| Sha256::digest(bytes).to_vec();
    let arrivals = match &workload.arrivals {
        Arrivals::Replay(_) => {
            json!(recorded.iter().map(|row| (row.offset.0, row.items)).collect::<Vec<_>>())
        }
        other => json!(other),
    };
    let content = json!({
        "ask": workload.ask,
        "arrivals": arrivals,
        "dataset": workload.dataset.as_ref().map(|_| file(dataset)),
        "distinct": workload.distinct,
        "form": workload.form,
        "prefix": (workload.prefix_tokens, workload.prefix_groups),
        "seed": workload.seed,
        "vocab_size": workload.vocab_size,
    });
    file(content.to_string().as_bytes())
}

fn refused<T>(field: &'static str, reason: impl Into<String>) -> Result<T, LoadError> {
    Err(LoadError::Workload { field, reason: reason.into() })
}

fn check(workload: &Workload) -> Result<(), LoadError> {
    for (field, value) in [
        ("requests", workload.requests.unwrap_or(1)),
        ("distinct", workload.distinct.unwrap_or(1)),
        ("prefix_groups", workload.prefix_groups),
    ] {
        if value == 0 {
            return refused(field, "is 0: give at least 1");
        }
    }
    if workload.secs.is_some_and(|secs| !(secs > 0.0 && secs <= 1e6)) {
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

/// What only the files show.
fn check_files(
    workload: &Workload,
    examples: &[Example],
    recorded: &[Recorded],
) -> Result<(), LoadError> {
    let needs_items = matches!(workload.ask, Ask::Score(_) | Ask::Rerank(_));
    if needs_items && examples.iter().any(|example| example.items.is_empty()) {
        return refused("dataset", "has lines without items, and there is nothing to score");
    }
    let ids = examples.iter().flat_map(|e| e.items.iter().chain([&e.query]));
    let ids = ids.filter_map(|prompt| match prompt {
        Prompt::TokenIds(ids) => ids.iter().max(),
        Prompt::Text(_) => None,
    });
    if let Some(id) = ids.max().filter(|&&id| id >= workload.vocab_size) {
        return refused(
            "dataset",
            format!("has id {id}, outside vocab_size: give the model's own"),
        );
    }
    let most = recorded.iter().filter_map(|row| row.items).max().unwrap_or(1);
    match most > crate::lengths::MAX_LENGTH {
        true => refused("arrivals", "replays a request of more than a million items"),
        false => Ok(()),
    }
}

fn draw_labels(workload: &Workload, count: u32) -> Vec<u32> {
    let mut random = Random::new(&[workload.seed, 0]);
    let mut labels: Vec<u32> = Vec::new();
    while labels.len() < count as usize {
        let id = draw_id(&mut random, workload.vocab_size);
        if !labels.contains(&id) {
            labels.push(id);
        }
    }
    labels
}

fn draw_id(random: &mut Random, vocab_size: u32) -> u32 {
    let first = LAST_SPECIAL_ID + 1;
    first + random.below(vocab_size.saturating_sub(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOML: &str = r#"
        model = "m"
        form = "token_ids"
        vocab_size = 1000
        requests = 10
        arrivals = "closed:2"
        [score]
        items = 3
        query_tokens = 20
        item_tokens = "uniform:4-6"
        labels = 2
    "#;

    fn workload(change: impl FnOnce(&mut Workload)) -> Workload {
        let mut workload = toml::from_str(TOML).unwrap();
        change(&mut workload);
        workload
    }

    fn plan(change: impl FnOnce(&mut Workload)) -> Result<Plan, LoadError> {
        let workload = workload(change);
        let backend = Backend::usual(&workload.ask);
        Plan::new("p", workload, backend)
    }

    fn ask(workload: &mut Workload) -> &mut AskScore {
        match &mut workload.ask {
            Ask::Score(ask) => ask,
            ask => panic!("{ask:?}"),
        }
    }

    fn body(plan: &Plan, phase: Phase, place: u64) -> String {
        let body = plan.backend().body(plan.workload(), &plan.request(phase, place));
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[test]
    fn a_file_is_a_workload_and_back() {
        let workload = workload(|_| ());
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

    #[test]
    fn equal_seeds_make_equal_bytes_and_others_do_not() {
        let of = |seed, place| body(&plan(|w| w.seed = seed).unwrap(), Phase::Measure, place);
        assert_eq!(of(7, 0), of(7, 0));
        assert_ne!(of(7, 0), of(7, 1));
        assert_ne!(of(7, 0), of(8, 0));
        let plan = plan(|_| ()).unwrap();
        assert_ne!(body(&plan, Phase::Warmup, 0), body(&plan, Phase::Measure, 0));
    }

    #[test]
    fn the_hash_is_of_the_content_and_the_timing_alone() {
        let hash = |change: fn(&mut Workload)| plan(change).unwrap().workload_hash().to_owned();
        let same = hash(|_| ());
        assert!(same.starts_with("sha256:") && same.len() == 7 + 64, "{same}");
        assert_eq!(hash(|w| w.model = "other".to_owned()), same);
        assert_eq!(hash(|w| w.requests = Some(99)), same);
        assert_ne!(hash(|w| w.seed = 2), same);
        assert_ne!(hash(|w| w.arrivals = Arrivals::Closed(3)), same);
        assert_ne!(hash(|w| w.form = PromptForm::Text), same);
        assert_ne!(hash(|w| ask(w).query_tokens = 21.into()), same);
    }

    #[test]
    fn bytes_stay_the_same_across_versions() {
        let plan = plan(|w| {
            ask(w).query_tokens = 3.into();
            ask(w).item_tokens = 2.into();
            ask(w).items = 1.into();
        });
        assert_eq!(
            body(&plan.unwrap(), Phase::Measure, 0),
            r#"{"query":[899,485,405],"items":[[395,464]],"label_token_ids":[696,972],"apply_softmax":true,"item_first":false,"model":"m"}"#
        );
    }

    #[test]
    fn ids_are_varied_in_vocabulary_and_not_special() {
        let plan = plan(|w| ask(w).query_tokens = 500.into()).unwrap();
        let request = plan.request(Phase::Measure, 0);
        let Prompt::TokenIds(mut ids) = request.query else { panic!("token ids were asked for") };
        assert_eq!(ids.len(), 500);
        assert!(ids.iter().all(|id| (11..1000).contains(id)));
        ids.sort_unstable();
        ids.dedup();
        assert!(ids.len() > 300, "{} different ids", ids.len());
    }

    #[test]
    fn a_matrix_has_labels_that_are_prefixes_of_each_other() {
        let mut matrix = Matrix::score(workload(|_| ()), &[1, 3], &[2, 4]);
        let points = matrix.fit(None).unwrap();
        let names: Vec<_> = points.iter().map(|point| point.plan().name()).collect();
        assert_eq!(names, ["b1_l2", "b1_l4", "b3_l2", "b3_l4"]);
        let [two, four] = [0, 3].map(|index: usize| points[index].plan().labels());
        assert_eq!(two, &four[..2]);
        assert_eq!(points[3].plan().shape().batch_size, Some(3));
    }

    #[test]
    fn prefixes_are_shared_within_groups() {
        let plan = plan(|w| (w.prefix_tokens, w.prefix_groups) = (30, 2)).unwrap();
        let mut prefixes: Vec<Vec<u32>> = (0..20)
            .map(|place| match plan.request(Phase::Measure, place).query {
                Prompt::TokenIds(ids) => ids[..30].to_vec(),
                Prompt::Text(text) => panic!("{text}"),
            })
            .collect();
        prefixes.sort();
        prefixes.dedup();
        assert_eq!(prefixes.len(), 2);
    }

    #[test]
    fn lengths_differ_as_they_are_drawn() {
        let plan = plan(|_| ()).unwrap();
        let request = plan.request(Phase::Measure, 0);
        let tokens: u64 = request.items.iter().map(|item| item.tokens().unwrap()).sum();
        assert!((12..=18).contains(&tokens));
        assert_eq!(request.prompt_tokens(), Some(60 + tokens));
        let text = self::plan(|w| w.form = PromptForm::Text).unwrap();
        let Prompt::Text(query) = text.request(Phase::Measure, 0).query else { panic!("no text") };
        assert_eq!(query.split(' ').count(), 20);
    }

    #[test]
    fn requests_come_from_a_file_if_there_is_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data.jsonl");
        std::fs::write(&path, "{\"query\":[20],\"items\":[[21],[22]]}\n").unwrap();
        let plan = |line: Option<&str>| {
            if let Some(line) = line {
                std::fs::write(&path, line).unwrap();
            }
            plan(|w| w.dataset = Some(path.clone()))
        };
        let first = plan(None).unwrap();
        assert_eq!(first.request(Phase::Measure, 5).items.len(), 2);
        assert_eq!(first.shape().batch_size, None);
        let other = plan(Some("{\"query\":[20],\"items\":[[23]]}")).unwrap();
        assert_ne!(first.workload_hash(), other.workload_hash());
        let error = plan(Some("{\"query\":[2000],\"items\":[[23]]}")).unwrap_err().to_string();
        assert!(error.contains("id 2000"), "{error}");
        let error = plan(Some("{\"query\":\"q\"}")).unwrap_err().to_string();
        assert!(error.contains("without items"), "{error}");
        let toml = format!("dataset = {path:?}\nrequests = 1\n[score]\nlabels = 2");
        std::fs::write(&path, "{\"query\":\"q\",\"items\":[\"i\"]}").unwrap();
        let mut workload: Workload = toml::from_str(&toml).unwrap();
        assert!(
            Plan::new("p", workload.clone(), Backend::Sglang).is_ok(),
            "it has its own lengths"
        );
        workload.dataset = None;
        let error = Plan::new("p", workload, Backend::Sglang).unwrap_err().to_string();
        assert!(error.contains("query_tokens is 0 or not given"), "{error}");
    }

    #[test]
    fn what_cannot_be_made_is_refused_by_name() {
        let check = |change: fn(&mut Workload), expected: &str| {
            let error = plan(change).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(|w| ask(w).labels = Labels::Drawn(0), "labels has none");
        check(|w| ask(w).items = u32::MAX.into(), "lengths are from 1");
        check(|w| ask(w).items = 1_000_000.into(), "16 Mi");
        check(|w| ask(w).query_tokens = 0.into(), "query_tokens is 0");
        check(|w| w.distinct = Some(0), "distinct is 0");
        check(|w| w.arrivals = Arrivals::Closed(5000), "concurrency is from 1");
        check(|w| w.vocab_size = 12, "vocab_size leaves");
        check(|w| ask(w).labels = Labels::Drawn(990), "more labels");
        check(|w| ask(w).labels = Labels::Ids(vec![1, 2, 3, 1000]), "id 1000");
        check(|w| w.requests = None, "or the load never ends");
        check(|w| w.dataset = Some("nowhere.jsonl".into()), "nowhere.jsonl");
        let error = Plan::new("p", workload(|_| ()), Backend::TeiRerank).unwrap_err().to_string();
        assert!(error.contains("take sglang"), "{error}");
    }
}
