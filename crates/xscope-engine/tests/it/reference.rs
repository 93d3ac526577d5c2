//! Scores through HTTP equal those of an independent implementation: see `make_reference.py`
//! beside the fixtures.

use serde_json::Value;
use xscope_engine::{Engine, EngineConfig, ModelSource};

use crate::client::score;

const TOLERANCE: f64 = 1e-4;

fn check(family: &str) {
    let dir = xscope_testing::fixture_of("xscope-model", family);
    let text = std::fs::read_to_string(dir.join("reference.json")).unwrap();
    let reference: Value = serde_json::from_str(&text).unwrap();
    let mut config = EngineConfig::new(ModelSource::Dir(dir));
    config.port = 0;
    let engine = Engine::start(config).unwrap();
    let cases = reference["score_cases"].as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let found = score(engine.addr(), case).scores();
        let expected: Vec<Vec<f64>> = serde_json::from_value(case["scores"].clone()).unwrap();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
            assert!((found - expected).abs() < TOLERANCE, "{case}: {found} is not {expected}");
        }
    }
}

#[test]
fn every_model_answers_as_its_reference() {
    xscope_testing::MODELS.into_iter().for_each(check);
}
