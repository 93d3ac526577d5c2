//! What is sent: requests made from a seed, or from a file.
//!
//! The same workload gives the same bytes on every machine. Requests of one point differ from
//! each other unless told otherwise, because a server with a prefix cache answers a repeated
//! prompt without computing it; the label list of a point is the same in all of its requests,
//! because servers compile for it.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use xscope_trace::results::PointShape;

use crate::arrivals::{Arrivals, Recorded, Schedule, read_recorded};
use crate::backend::Backend;
use crate::dataset::{self, Example};
use crate::error::{LoadError, refused};
use crate::lengths::Lengths;
use crate::random::Random;
use crate::record::Phase;
use crate::run::Point;
use crate::workload::{
    Ask, AskScore, LAST_SPECIAL_ID, Labels, PromptForm, SAFE_VOCAB, Workload, check,
};

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
