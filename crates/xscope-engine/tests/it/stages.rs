//! The stages of a request add up to the request, in every place where they are told.

use std::collections::BTreeMap;

use serde_json::json;
use xscope_engine::{
    Engine, EngineHandle,
    stage::{STAGES, Stage},
    telemetry::{Record, RecordKind},
};

use crate::{
    client::{Reply, get, post, score},
    config, start,
};

/// `Server-Timing` in nanoseconds.
fn timing(reply: &Reply) -> BTreeMap<String, u64> {
    let header = reply.header("server-timing").unwrap_or_else(|| panic!("{reply:?}"));
    header
        .split(", ")
        .map(|entry| {
            let (name, millis) = entry.split_once(";dur=").unwrap();
            let (whole, fraction) = millis.split_once('.').unwrap();
            assert_eq!(fraction.len(), 6);
            let nanos =
                whole.parse::<u64>().unwrap() * 1_000_000 + fraction.parse::<u64>().unwrap();
            (name.to_owned(), nanos)
        })
        .collect()
}

fn check_sum(reply: &Reply) -> BTreeMap<String, u64> {
    let mut times = timing(reply);
    let total = times.remove("total").unwrap();
    let names: Vec<&str> = times.keys().map(String::as_str).collect();
    let mut expected = STAGES.map(Stage::name);
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert_eq!(times.values().sum::<u64>(), total, "{reply:?}");
    times
}

fn number(reply: &Reply) -> u64 {
    reply.header("x-xscope-request").unwrap().parse().unwrap()
}

/// The batches that a request was in.
fn forwards(engine: &EngineHandle, reply: &Reply) -> Vec<u64> {
    let forward = |record: &&Record| {
        record.request == number(reply) && record.kind == RecordKind::Stage(Stage::Forward)
    };
    engine.recent().records.iter().filter(forward).map(|record| record.batch).collect()
}

#[test]
fn headers_add_up_to_the_nanosecond() {
    let engine = start();
    let body = json!({ "query": "Is it so? ", "items": ["Yes", "No"], "label_token_ids": [1, 2] });
    let reply = score(engine.addr(), &body);
    let times = check_sum(&reply);
    assert!(times["forward"] > 0 && times["tokenize"] > 0 && times["http.parse"] > 0);
    let total: f64 = reply.header("x-total-time").unwrap().parse().unwrap();
    let inference: f64 = reply.header("x-inference-time").unwrap().parse().unwrap();
    assert!(total > inference && inference > 0.0);
    for header in ["x-queue-time", "x-tokenization-time"] {
        assert!(reply.header(header).unwrap().parse::<f64>().unwrap() >= 0.0);
    }

    let refused = post(engine.addr(), "/v1/score", "{");
    assert_eq!(check_sum(&refused)["forward"], 0);
    // A body that is parsed off the runtime's threads.
    let large = json!({ "query": "a", "items": ["b"], "label_token_ids": [1], "model": "m".repeat(40_000) });
    assert_eq!(score(engine.addr(), &large).status, 200);
    check_sum(&score(engine.addr(), &large));
}

#[test]
fn pieces_of_a_request_over_several_batches_tile_it() {
    let mut config = config(&std::env::temp_dir());
    config.max_batch_rows = 2;
    let engine = Engine::start(config).unwrap();
    let body = json!({ "query": [1], "items": vec![[2]; 7], "label_token_ids": [3] });
    let reply = score(engine.addr(), &body);
    check_sum(&reply);
    let scores = reply.scores();
    assert_eq!(scores.len(), 7);
    assert!(scores.iter().all(|row| (row[0] - scores[0][0]).abs() < 1e-6), "{scores:?}");

    let recent = engine.recent();
    let of_request = |record: &&Record| record.request == number(&reply);
    let mut records = recent.records.iter().filter(of_request);
    let request = records.next().unwrap();
    assert_eq!(request.kind, RecordKind::Request);
    let mut at = request.start;
    for piece in records {
        assert_eq!(piece.start, at, "{piece:?}");
        at = piece.start + piece.dur;
    }
    assert_eq!(at, request.start + request.dur);
    assert_eq!(forwards(&engine, &reply), [1, 2, 3, 4]);
}

#[test]
fn batches_keep_to_the_token_budget() {
    let mut config = config(&std::env::temp_dir());
    config.max_batch_tokens = 20;
    let engine = Engine::start(config).unwrap();
    // Padded: 2 rows of 10, then 2 of 8 (3 would be 24), then one that is over the budget alone.
    let items: Vec<Vec<u32>> = [2, 9, 7, 7, 29].iter().map(|&len| vec![5; len]).collect();
    let body = json!({ "query": [1], "items": items, "label_token_ids": [3] });
    let reply = score(engine.addr(), &body);
    let together = reply.scores();
    assert_eq!(forwards(&engine, &reply), [1, 2, 3]);
    for (item, expected) in items.iter().zip(&together) {
        let body = json!({ "query": [1], "items": [item], "label_token_ids": [3] });
        let alone = score(engine.addr(), &body).scores();
        assert!((alone[0][0] - expected[0]).abs() < 1e-6, "{alone:?} {expected:?}");
    }
}

/// Prompts are padded to a length of a list, which changes no score; what is longer is padded to itself.
#[test]
fn batches_are_padded_to_the_lengths_that_are_given() {
    let plain = start();
    let mut config = config(&std::env::temp_dir());
    config.token_paddings = vec![8, 16];
    let engine = Engine::start(config).unwrap();
    for len in [3, 8, 9, 29] {
        let body = json!({ "query": [1], "items": [vec![5; len - 1]], "label_token_ids": [3] });
        let [ours, theirs] = [&engine, &plain].map(|it| score(it.addr(), &body).scores()[0][0]);
        assert!((ours - theirs).abs() < 1e-6, "{len}: {ours} {theirs}");
    }
    // A batch is recorded after its answers; the next answer is after that.
    let last = json!({ "query": [1], "items": [[2]], "label_token_ids": [3] });
    assert_eq!(score(engine.addr(), &last).status, 200);
    let metrics = get(engine.addr(), "/metrics").body;
    let sum = metrics.lines().find_map(|it| it.strip_prefix("xscope_batch_padded_tokens_sum "));
    let sum: f64 = sum.unwrap().parse().unwrap();
    let four = f64::from(8 + 8 + 16 + 29);
    assert!([four, four + 8.0].iter().any(|it| (it - sum).abs() < 1e-9), "{sum}");
}

#[test]
fn lengths_to_pad_to_ascend_and_fit_the_model() {
    for paddings in [vec![0, 8], vec![16, 8], vec![usize::MAX]] {
        let mut config = config(&std::env::temp_dir());
        config.token_paddings = paddings;
        let error = Engine::start(config).unwrap_err().to_string();
        assert!(error.contains("token_paddings"), "{error}");
    }
}

#[test]
fn ops_and_scopes_are_recorded_always() {
    let engine = start();
    let body = json!({ "query": [1], "items": [[2]], "label_token_ids": [3] });
    assert_eq!(score(engine.addr(), &body).status, 200);
    // The batch is recorded after its answers; the next answer is after that.
    assert_eq!(score(engine.addr(), &body).status, 200);
    let recent = engine.recent();
    let scopes: Vec<&str> = recent
        .records
        .iter()
        .filter_map(|record| match record.kind {
            RecordKind::Scope(scope) if record.batch == 1 => Some(recent.scope_path(scope)),
            _ => None,
        })
        .collect();
    assert!(scopes.contains(&"layer_1/attention"), "{scopes:?}");
    let ops = recent.records.iter().filter(|record| {
        matches!(record.kind, RecordKind::Op { name: "matmul", .. }) && record.batch == 1
    });
    assert!(ops.count() > 10);
}

#[test]
fn telemetry_can_be_off() {
    let mut config = config(&std::env::temp_dir());
    config.telemetry = false;
    let engine = Engine::start(config).unwrap();
    let body = json!({ "query": [1], "items": [[2]], "label_token_ids": [3] });
    let reply = score(engine.addr(), &body);
    check_sum(&reply);
    assert!(engine.recent().records.is_empty());
    let refused = post(engine.addr(), "/start_profile", "{}");
    assert_eq!(refused.status, 409);
    assert!(refused.message().contains("telemetry is off"), "{refused:?}");
}
