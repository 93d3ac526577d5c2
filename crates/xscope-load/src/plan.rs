//! A plan: one point's workload, checked, for one backend. It makes the point's requests.

use std::fmt::Write as _;

use xscope_trace::Phase;
use xscope_trace::results::PointShape;

use crate::arrivals::{Arrivals, Schedule};
use crate::backend::Backend;
use crate::content::Content;
use crate::error::LoadError;
use crate::lengths::Lengths;
use crate::request::Request;
use crate::workload::{Ask, SAFE_VOCAB, Workload, check};

/// One point: a workload that has been checked. It makes requests.
#[derive(Debug, Clone)]
pub struct Plan {
    name: String,
    shape: PointShape,
    workload: Workload,
    backend: Backend,
    content: Content,
    hash: String,
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
        let content = Content::read(&workload)?;
        let hash = content.digest().iter().fold("sha256:".to_owned(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a string cannot fail");
            text
        });
        let (name, shape) = (name.into(), shape(&workload));
        Ok(Self { name, shape, workload, backend, content, hash })
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
        self.content.labels()
    }

    /// Times at which requests are due, from the start of the `nth` stretch of load; none in a
    /// closed loop.
    pub(crate) fn schedule(&self, arrivals: &Arrivals, nth: u64) -> Schedule {
        self.content.schedule(arrivals, self.workload.seed ^ (nth << 32))
    }

    /// The request at this place of a phase. Equal phases and places have equal requests.
    pub fn request(&self, phase: Phase, place: u64) -> Request {
        let place = match self.workload.distinct {
            Some(distinct) if phase.repeats() => place % u64::from(distinct),
            _ => place,
        };
        self.content.request(&self.workload, phase, place)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Prompt;
    use crate::workload::{AskScore, Labels, PromptForm};

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
