//! Scores equal those of an independent implementation: see `fixtures/make_reference.py`.

use serde::Deserialize;
use xscope_model::{Model, ModelSource, Tokenizer};

use crate::{OPTIONS, fixture, logits, max_difference};

/// How far logits and scores may be from the reference's.
const TOLERANCE: f32 = 1e-4;

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
    encodings: Vec<Encoding>,
    score_cases: Vec<ScoreCase>,
}

#[derive(Deserialize)]
struct Case {
    tokens: Vec<u32>,
    logits: Vec<f32>,
}

#[derive(Deserialize)]
struct Encoding {
    text: String,
    tokens: Vec<u32>,
}

#[derive(Deserialize)]
struct ScoreCase {
    query: String,
    items: Vec<String>,
    label_token_ids: Vec<usize>,
    item_first: bool,
    apply_softmax: bool,
    scores: Vec<Vec<f32>>,
}

impl ScoreCase {
    fn prompts(&self) -> impl Iterator<Item = String> {
        self.items.iter().map(|item| match self.item_first {
            true => format!("{item}{}", self.query),
            false => format!("{}{item}", self.query),
        })
    }

    fn score(&self, logits: &[f32]) -> Vec<f32> {
        let labels: Vec<f32> = self.label_token_ids.iter().map(|&id| logits[id]).collect();
        // The softmax over the labels' log probabilities is the one over their logits.
        let all = if self.apply_softmax { &labels } else { logits };
        let max = all.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = all.iter().map(|logit| (logit - max).exp()).sum();
        labels.iter().map(|logit| (logit - max).exp() / sum).collect()
    }
}

fn check(family: &str) {
    let source = ModelSource::Dir(fixture(family));
    let model = Model::load(&source, &OPTIONS).unwrap();
    let tokenizer = Tokenizer::load(&source).unwrap();
    let text = std::fs::read_to_string(fixture(family).join("reference.json")).unwrap();
    let reference: Reference = serde_json::from_str(&text).unwrap();

    for case in &reference.encodings {
        assert_eq!(tokenizer.encode(&case.text).unwrap(), case.tokens, "{:?}", case.text);
    }

    let alone: Vec<Vec<f32>> = reference
        .cases
        .iter()
        .flat_map(|case| logits(&model, std::slice::from_ref(&case.tokens)))
        .collect();
    let tokens: Vec<Vec<u32>> = reference.cases.iter().map(|case| case.tokens.clone()).collect();
    let together = logits(&model, &tokens);
    for (case, found) in
        reference.cases.iter().zip(&alone).chain(reference.cases.iter().zip(&together))
    {
        let difference = max_difference(found, &case.logits);
        assert!(difference < TOLERANCE, "{} tokens: {difference}", case.tokens.len());
    }

    for case in &reference.score_cases {
        let tokens: Vec<Vec<u32>> =
            case.prompts().map(|prompt| tokenizer.encode(&prompt).unwrap()).collect();
        for (logits, expected) in logits(&model, &tokens).iter().zip(&case.scores) {
            let difference = max_difference(&case.score(logits), expected);
            assert!(difference < TOLERANCE, "{:?}: {difference}", case.query);
        }
    }
}

#[test]
fn every_model_answers_as_its_reference() {
    xscope_testing::MODELS.into_iter().for_each(check);
}
