//! What is sent: score requests, made from a seed.
//!
//! The same workload gives the same bytes on every machine. Requests of one point differ from
//! each other unless told otherwise, because a server with a prefix cache answers a repeated
//! prompt without computing it; the label list of a point is the same in all of its requests,
//! because servers compile for it.

use serde::{Deserialize, Serialize};

use crate::{error::LoadError, record::Phase};

/// Path of the score endpoint.
pub const SCORE_PATH: &str = "/v1/score";

/// Token ids up to this one are kept out of prompts and labels that are made up: tokenizers keep
/// their special tokens (padding, begin, end) there.
pub const LAST_SPECIAL_ID: u32 = 10;

/// More prompt tokens than this in one request is a typing error, not a workload.
const MAX_TOKENS_PER_REQUEST: u64 = 16 << 20;
const MAX_CONCURRENCY: u32 = 4096;

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

/// One point of the benchmark matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Point {
    /// Items scored by one request.
    pub batch_size: u32,
    /// Labels scored for each item.
    pub label_count: u32,
}

impl Point {
    /// All combinations, batch sizes outermost.
    pub fn grid(batch_sizes: &[u32], label_counts: &[u32]) -> Vec<Self> {
        batch_sizes
            .iter()
            .flat_map(|&batch_size| {
                label_counts.iter().map(move |&label_count| Self { batch_size, label_count })
            })
            .collect()
    }
}

/// Whether prompts travel as text or as token ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptForm {
    /// Words; the server tokenizes, so that the token counts are approximate: one per word.
    Text,
    /// Token ids; the token counts are exact.
    TokenIds,
}

/// Which labels are scored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Labels {
    /// As many ids as the point asks for, drawn from the vocabulary by the seed. A shorter list
    /// is the beginning of a longer one.
    Drawn,
    /// These ids; a point with fewer labels takes the first ones.
    Ids(Vec<u32>),
}

/// A load of score requests, as a user writes it down.
///
/// Any values can be stored here; [`ScorePlan::new`] says whether they make sense.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreWorkload {
    /// The points, loaded one after the other.
    pub points: Vec<Point>,
    pub labels: Labels,
    /// Length of the query, in tokens.
    pub query_tokens: u32,
    /// Length of each item, in tokens.
    pub item_tokens: u32,
    pub form: PromptForm,
    /// Ids in the model's vocabulary: ids are drawn below it.
    pub vocab_size: u32,
    pub seed: u64,
    /// Measured requests of each point.
    pub requests: u32,
    /// How many different bodies a point has before they repeat; `None`: all differ. Repeats let
    /// the answers be checked for drift, and are served from a prefix cache if there is one.
    pub distinct: Option<u32>,
    /// Requests in flight at once.
    pub concurrency: u32,
    /// Rounds of warm-up before the first measured request. In a round, every point is sent as
    /// many requests at once as when it is measured.
    pub warmup_rounds: u32,
    pub item_first: bool,
    pub apply_softmax: bool,
    /// Name of the model, as the server wants it in the request.
    pub model: String,
}

/// Text or token ids, as the endpoint takes either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Prompt {
    Text(String),
    TokenIds(Vec<u32>),
}

/// Body of a `POST /v1/score`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScoreRequest {
    pub query: Prompt,
    pub items: Vec<Prompt>,
    pub label_token_ids: Vec<u32>,
    pub apply_softmax: bool,
    pub item_first: bool,
    pub model: String,
}

/// A workload that has been checked: it makes requests.
#[derive(Debug, Clone)]
pub struct ScorePlan {
    workload: ScoreWorkload,
    drawn_labels: Vec<u32>,
}

impl ScorePlan {
    /// Refuses what cannot be made and what is known to kill servers: empty prompts, label ids
    /// outside the vocabulary, empty label lists.
    pub fn new(workload: ScoreWorkload) -> Result<Self, LoadError> {
        check_counts(&workload)?;
        let most_labels = workload.points.iter().map(|point| point.label_count).max().unwrap_or(0);
        let drawn_labels = match &workload.labels {
            Labels::Ids(ids) => {
                check_labels(ids, most_labels, workload.vocab_size)?;
                ids.clone()
            }
            Labels::Drawn => draw_labels(&workload, most_labels),
        };
        Ok(Self { workload, drawn_labels })
    }

    pub fn workload(&self) -> &ScoreWorkload {
        &self.workload
    }

    /// Requests of one point in one phase.
    pub fn requests(&self, phase: Phase) -> u32 {
        let ScoreWorkload { requests, concurrency, warmup_rounds, .. } = self.workload;
        match phase {
            Phase::Measure => requests,
            Phase::Warmup => warmup_rounds.saturating_mul(concurrency.min(requests)),
        }
    }

    /// Requests of the whole load, warm-up included.
    pub fn total_requests(&self) -> u64 {
        let per_point: u64 =
            [Phase::Warmup, Phase::Measure].iter().map(|&p| u64::from(self.requests(p))).sum();
        per_point * self.workload.points.len() as u64
    }

    /// Which of its point's bodies the `sequence`-th request of a phase sends.
    ///
    /// Equal slots of one point and phase have equal bodies.
    pub fn slot(&self, phase: Phase, sequence: u32) -> u32 {
        match (phase, self.workload.distinct) {
            // Warm-up never repeats: a prefix cache would then hide the very shapes that it is
            // there to warm.
            (Phase::Warmup, _) | (_, None) => sequence,
            (Phase::Measure, Some(distinct)) => sequence % distinct,
        }
    }

    /// Whether measured requests repeat, so that their answers can be compared.
    pub fn repeats(&self) -> bool {
        self.workload.distinct.is_some_and(|distinct| distinct < self.workload.requests)
    }

    /// Prompt tokens of one request: exact with token ids, unknown with text.
    pub fn prompt_tokens(&self, point: Point) -> Option<u64> {
        (self.workload.form == PromptForm::TokenIds)
            .then(|| tokens_per_request(&self.workload, point))
    }

    /// The labels that a point scores.
    pub fn label_ids(&self, point: Point) -> &[u32] {
        let count = (point.label_count as usize).min(self.drawn_labels.len());
        &self.drawn_labels[..count]
    }

    /// The request of one slot; see [`Self::slot`].
    pub fn request(&self, phase: Phase, point: Point, slot: u32) -> ScoreRequest {
        let workload = &self.workload;
        // Warm-up prompts differ from measured ones, so that they leave nothing useful in a
        // prefix cache.
        let stream = match phase {
            Phase::Warmup => 1,
            Phase::Measure => 2,
        };
        let mut random = SplitMix::new(&[
            workload.seed,
            stream,
            u64::from(point.batch_size),
            u64::from(point.label_count),
            u64::from(slot),
        ]);
        ScoreRequest {
            query: self.prompt(&mut random, workload.query_tokens),
            items: (0..point.batch_size)
                .map(|_| self.prompt(&mut random, workload.item_tokens))
                .collect(),
            label_token_ids: self.label_ids(point).to_vec(),
            apply_softmax: workload.apply_softmax,
            item_first: workload.item_first,
            model: workload.model.clone(),
        }
    }

    fn prompt(&self, random: &mut SplitMix, tokens: u32) -> Prompt {
        match self.workload.form {
            PromptForm::TokenIds => Prompt::TokenIds(
                (0..tokens).map(|_| draw_id(random, self.workload.vocab_size)).collect(),
            ),
            PromptForm::Text => {
                let words: Vec<&str> = (0..tokens).map(|_| random.pick(&WORDS)).collect();
                Prompt::Text(words.join(" "))
            }
        }
    }
}

fn check_counts(workload: &ScoreWorkload) -> Result<(), LoadError> {
    let fail = |field, reason: &str| Err(LoadError::Workload { field, reason: reason.to_owned() });
    if workload.points.is_empty() {
        return fail("points", "is empty: give at least one batch size and one label count");
    }
    for (field, value) in [
        ("query_tokens", workload.query_tokens),
        ("item_tokens", workload.item_tokens),
        ("requests", workload.requests),
        ("concurrency", workload.concurrency),
        ("distinct", workload.distinct.unwrap_or(1)),
    ] {
        if value == 0 {
            return fail(field, "is 0: give at least 1");
        }
    }
    if workload.concurrency > MAX_CONCURRENCY {
        return fail("concurrency", "is above 4096, more connections than one client can open");
    }
    let usable_ids = workload.vocab_size.saturating_sub(LAST_SPECIAL_ID + 1);
    if usable_ids < 2 {
        return fail("vocab_size", "leaves no ids: give the model's own, which is above 12");
    }
    for &point in &workload.points {
        if point.batch_size == 0 || point.label_count == 0 {
            return fail("points", "has a batch size or label count of 0: give at least 1");
        }
        if point.label_count > usable_ids {
            return fail("points", "asks for more labels than the vocabulary has");
        }
        if tokens_per_request(workload, point) > MAX_TOKENS_PER_REQUEST {
            return fail("points", "makes a request of more than 16 Mi prompt tokens");
        }
    }
    Ok(())
}

fn check_labels(ids: &[u32], most_labels: u32, vocab_size: u32) -> Result<(), LoadError> {
    let fail = |reason| Err(LoadError::Workload { field: "labels", reason });
    if ids.len() < most_labels as usize {
        let given = ids.len();
        return fail(format!("gives {given} ids, but a point scores {most_labels} labels"));
    }
    match ids.iter().find(|&&id| id >= vocab_size) {
        Some(id) => fail(format!("has id {id}, outside the vocabulary of {vocab_size} ids")),
        None => Ok(()),
    }
}

/// Every item is scored behind its own copy of the query.
fn tokens_per_request(workload: &ScoreWorkload, point: Point) -> u64 {
    let per_item = u64::from(workload.query_tokens) + u64::from(workload.item_tokens);
    u64::from(point.batch_size).saturating_mul(per_item)
}

fn draw_labels(workload: &ScoreWorkload, count: u32) -> Vec<u32> {
    let mut random = SplitMix::new(&[workload.seed, 0]);
    let mut labels: Vec<u32> = Vec::new();
    while labels.len() < count as usize {
        let id = draw_id(&mut random, workload.vocab_size);
        if !labels.contains(&id) {
            labels.push(id);
        }
    }
    labels
}

fn draw_id(random: &mut SplitMix, vocab_size: u32) -> u32 {
    let first = LAST_SPECIAL_ID + 1;
    first + random.below(vocab_size.saturating_sub(first))
}

/// SplitMix64: small, the same everywhere and for ever, which no random crate promises.
#[derive(Debug)]
struct SplitMix(u64);

impl SplitMix {
    fn new(parts: &[u64]) -> Self {
        let mut random = Self(0);
        for &part in parts {
            random.0 ^= part;
            random.0 = random.next();
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, or 0 if that is 0.
    fn below(&mut self, bound: u32) -> u32 {
        // The high half of a 32 x 32 bit product is below `bound`.
        let high = ((self.next() >> 32) * u64::from(bound)) >> 32;
        u32::try_from(high).expect("the product of two 32 bit numbers has a 32 bit high half")
    }

    fn pick<'a>(&mut self, words: &[&'a str; 64]) -> &'a str {
        words[self.below(64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload() -> ScoreWorkload {
        ScoreWorkload {
            points: Point::grid(&[1, 3], &[2, 4]),
            labels: Labels::Drawn,
            query_tokens: 20,
            item_tokens: 5,
            form: PromptForm::TokenIds,
            vocab_size: 1000,
            seed: 7,
            requests: 10,
            distinct: None,
            concurrency: 2,
            warmup_rounds: 3,
            item_first: false,
            apply_softmax: true,
            model: "m".to_owned(),
        }
    }

    fn plan(change: impl FnOnce(&mut ScoreWorkload)) -> Result<ScorePlan, LoadError> {
        let mut workload = workload();
        change(&mut workload);
        ScorePlan::new(workload)
    }

    #[test]
    fn equal_seeds_make_equal_bytes_and_others_do_not() {
        let point = Point { batch_size: 3, label_count: 2 };
        let body = |seed, slot| {
            let plan = plan(|w| w.seed = seed).unwrap();
            serde_json::to_string(&plan.request(Phase::Measure, point, slot)).unwrap()
        };
        assert_eq!(body(7, 0), body(7, 0));
        assert_ne!(body(7, 0), body(7, 1));
        assert_ne!(body(7, 0), body(8, 0));
    }

    #[test]
    fn bytes_stay_the_same_across_versions() {
        let plan = plan(|w| {
            w.query_tokens = 3;
            w.item_tokens = 2;
        })
        .unwrap();
        let point = Point { batch_size: 1, label_count: 2 };
        let body = serde_json::to_string(&plan.request(Phase::Measure, point, 0)).unwrap();
        assert_eq!(
            body,
            r#"{"query":[274,61,159],"items":[[528,199]],"label_token_ids":[613,415],"apply_softmax":true,"item_first":false,"model":"m"}"#
        );
    }

    #[test]
    fn ids_are_varied_in_vocabulary_and_not_special() {
        let plan = plan(|w| w.query_tokens = 500).unwrap();
        let point = Point { batch_size: 1, label_count: 4 };
        let request = plan.request(Phase::Measure, point, 0);
        let Prompt::TokenIds(mut ids) = request.query else { panic!("token ids were asked for") };
        assert_eq!(ids.len(), 500);
        assert!(ids.iter().all(|id| (11..1000).contains(id)));
        ids.sort_unstable();
        ids.dedup();
        assert!(ids.len() > 300, "{} different ids", ids.len());
    }

    #[test]
    fn labels_are_one_list_per_point_and_prefixes_of_each_other() {
        let plan = plan(|_| ()).unwrap();
        let (two, four) =
            (Point { batch_size: 1, label_count: 2 }, Point { batch_size: 3, label_count: 4 });
        assert_eq!(plan.label_ids(two), &plan.label_ids(four)[..2]);
        assert_eq!(plan.request(Phase::Warmup, four, 9).label_token_ids, plan.label_ids(four));
    }

    #[test]
    fn text_has_one_word_per_token() {
        let plan = plan(|w| w.form = PromptForm::Text).unwrap();
        let point = Point { batch_size: 2, label_count: 2 };
        let request = plan.request(Phase::Measure, point, 0);
        let Prompt::Text(query) = request.query else { panic!("text was asked for") };
        assert_eq!(query.split(' ').count(), 20);
        assert_eq!(plan.prompt_tokens(point), None);
    }

    #[test]
    fn counts_of_requests() {
        let plan = plan(|w| w.distinct = Some(4)).unwrap();
        assert_eq!(plan.requests(Phase::Warmup), 6);
        assert_eq!(plan.total_requests(), 4 * (6 + 10));
        assert_eq!(plan.slot(Phase::Measure, 9), 1);
        assert_eq!(plan.slot(Phase::Warmup, 9), 9);
        assert!(plan.repeats());
        assert_eq!(plan.prompt_tokens(Point { batch_size: 3, label_count: 2 }), Some(75));
    }

    #[test]
    fn what_cannot_be_made_is_refused_by_name() {
        let check = |change: fn(&mut ScoreWorkload), expected: &str| {
            let error = plan(change).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(|w| w.points.clear(), "points is empty");
        check(|w| w.points[0].label_count = 0, "label count of 0");
        check(|w| w.points[0].batch_size = u32::MAX, "16 Mi");
        check(|w| w.query_tokens = 0, "query_tokens is 0");
        check(|w| w.distinct = Some(0), "distinct is 0");
        check(|w| w.concurrency = 5000, "concurrency is above");
        check(|w| w.vocab_size = 12, "vocab_size leaves");
        check(|w| w.points[0].label_count = 990, "more labels");
        check(|w| w.labels = Labels::Ids(vec![1, 2, 3]), "gives 3 ids");
        check(|w| w.labels = Labels::Ids(vec![1, 2, 3, 1000]), "id 1000");
    }
}
