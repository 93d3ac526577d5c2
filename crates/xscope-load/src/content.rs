//! The content of a point's requests: drawn from the workload's seed, or taken from a file.
//!
//! The same workload gives the same bytes on every machine. Requests of one point differ from
//! each other unless told otherwise, because a server with a prefix cache answers a repeated
//! prompt without computing it; the label list of a point is the same in all of its requests,
//! because servers compile for it.

use std::sync::Arc;

use serde_json::json;
use sha2::{Digest as _, Sha256};
use xscope_trace::Phase;
use xscope_trace::stats::Random;

use crate::arrivals::{Arrivals, Recorded, Schedule, read_recorded};
use crate::dataset::{self, Example};
use crate::error::{LoadError, refused};
use crate::lengths::Lengths;
use crate::limits::MAX_LENGTH;
use crate::request::{Prompt, Request};
use crate::workload::{Ask, AskScore, LAST_SPECIAL_ID, Labels, PromptForm, Workload};

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

/// What requests are made of, besides the workload itself.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    labels: Vec<u32>,
    examples: Arc<[Example]>,
    recorded: Arc<[Recorded]>,
    digest: [u8; 32],
}

impl Content {
    /// Reads the files that a checked workload names.
    pub(crate) fn read(workload: &Workload) -> Result<Self, LoadError> {
        let (examples, bytes) = match &workload.dataset {
            Some(path) => dataset::read(path)?,
            None => ([].into(), Vec::new()),
        };
        let recorded = match &workload.arrivals {
            Arrivals::Replay(path) => read_recorded(path)?,
            _ => [].into(),
        };
        check_files(workload, &examples, &recorded)?;
        let labels = match &workload.ask {
            Ask::Score(AskScore { labels: Labels::Ids(ids), .. }) => ids.clone(),
            Ask::Score(AskScore { labels: Labels::Drawn(n), .. }) => draw_labels(workload, *n),
            _ => Vec::new(),
        };
        let digest = digest(workload, &bytes, &recorded);
        Ok(Self { labels, examples, recorded, digest })
    }

    /// The labels that are scored.
    pub(crate) fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// SHA-256 of all that makes the content and the timing of the requests.
    pub(crate) fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Times at which requests are due; none in a closed loop.
    pub(crate) fn schedule(&self, arrivals: &Arrivals, seed: u64) -> Schedule {
        Schedule::new(arrivals.clone(), Arc::clone(&self.recorded), seed)
    }

    /// The request at this place of a phase.
    pub(crate) fn request(&self, workload: &Workload, phase: Phase, place: u64) -> Request {
        // Requests of different points have different content. Warm-up prompts differ from measured
        // ones, so that they leave nothing useful in a prefix cache.
        let mut random = Random::of(&[self.stream(), phase as u64 + 1, place]);
        let nth = usize::try_from(place).unwrap_or(0);
        if !self.examples.is_empty() {
            return self.example(workload, &self.examples[nth % self.examples.len()], &mut random);
        }
        let recorded = match self.recorded.is_empty() {
            true => None,
            false => self.recorded[nth % self.recorded.len()].items,
        };
        let (query, items, item_tokens, output_tokens) = match &workload.ask {
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
        let query = self.query(workload, &mut random, query);
        let count = items.map_or(0, |items| recorded.unwrap_or_else(|| items.draw(&mut random)));
        let items = (0..count).filter_map(|_| {
            let tokens = item_tokens?.draw(&mut random);
            Some(prompt(workload, &mut random, tokens))
        });
        Request { items: items.collect(), query, labels: self.labels.clone(), output_tokens }
    }

    fn example(&self, workload: &Workload, example: &Example, random: &mut Random) -> Request {
        let stated = match &workload.ask {
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
    fn query(&self, workload: &Workload, random: &mut Random, tokens: &Lengths) -> Prompt {
        let own = tokens.draw(random);
        if workload.prefix_tokens == 0 {
            return prompt(workload, random, own);
        }
        let group = random.below(workload.prefix_groups);
        let mut of_group = Random::of(&[self.stream(), 4, u64::from(group)]);
        let prefix = prompt(workload, &mut of_group, workload.prefix_tokens);
        match (prefix, prompt(workload, random, own)) {
            (Prompt::TokenIds(mut prefix), Prompt::TokenIds(own)) => {
                prefix.extend(own);
                Prompt::TokenIds(prefix)
            }
            (Prompt::Text(prefix), Prompt::Text(own)) => Prompt::Text(format!("{prefix} {own}")),
            (_, own) => own,
        }
    }

    fn stream(&self) -> u64 {
        self.digest.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
    }
}

fn prompt(workload: &Workload, random: &mut Random, tokens: u32) -> Prompt {
    match workload.form {
        PromptForm::TokenIds => {
            Prompt::TokenIds((0..tokens).map(|_| draw_id(random, workload.vocab_size)).collect())
        }
        PromptForm::Text => {
            let words = (0..tokens).map(|_| *random.pick(&WORDS).unwrap_or(&WORDS[0]));
            Prompt::Text(words.collect::<Vec<_>>().join(" "))
        }
    }
}

fn draw_labels(workload: &Workload, count: u32) -> Vec<u32> {
    let mut random = Random::of(&[workload.seed, 0]);
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

/// `json!` sorts its keys.
fn digest(workload: &Workload, dataset: &[u8], recorded: &[Recorded]) -> [u8; 32] {
    let arrivals = match &workload.arrivals {
        Arrivals::Replay(_) => {
            json!(recorded.iter().map(|row| (row.offset.0, row.items)).collect::<Vec<_>>())
        }
        other => json!(other),
    };
    let content = json!({
        "ask": workload.ask,
        "arrivals": arrivals,
        "dataset": workload.dataset.as_ref().map(|_| Sha256::digest(dataset).to_vec()),
        "distinct": workload.distinct,
        "form": workload.form,
        "prefix": (workload.prefix_tokens, workload.prefix_groups),
        "seed": workload.seed,
        "vocab_size": workload.vocab_size,
    });
    Sha256::digest(content.to_string().as_bytes()).into()
}

/// Refuses what only the files show.
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
    match most > MAX_LENGTH {
        true => refused("arrivals", "replays a request of more than a million items"),
        false => Ok(()),
    }
}
