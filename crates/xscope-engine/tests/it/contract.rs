//! What requests may look like, and what becomes of those that may not.

use serde_json::{Value, json};
use xscope_engine::Engine;
use xscope_trace::Bytes;

use crate::{
    VOCAB,
    client::{Reply, get, post, score, send},
    config, shut_down, start,
};

fn good() -> Value {
    json!({ "query": [1, 2, 3], "items": [[4], [5, 6]], "label_token_ids": [7, 8] })
}

/// `good` with some fields replaced; `null` takes a field away.
fn with(changes: &Value) -> String {
    let mut body = good();
    let fields = body.as_object_mut().unwrap();
    for (field, value) in changes.as_object().unwrap() {
        fields.insert(field.clone(), value.clone());
    }
    body.to_string()
}

#[test]
fn an_answer_looks_like_sglangs() {
    let engine = start();
    let reply = score(engine.addr(), &good());
    assert_eq!(reply.status, 200, "{reply:?}");
    let answer = reply.json();
    let keys: Vec<&String> = answer.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["model", "object", "scores", "usage"]);
    assert_eq!(answer["object"], "scoring");
    assert_eq!(answer["usage"], Value::Null);
    assert_eq!(answer["model"], "xscope-preset");
    let scores = reply.scores();
    assert_eq!((scores.len(), scores[0].len()), (2, 2));
    assert!(scores.iter().flatten().all(|&score| score > 0.0 && score < 1.0));
    assert!(scores[0].iter().sum::<f64>() < 1.0);
    assert_eq!(
        post(engine.addr(), "/v1/score", &with(&json!({"model": "m"}))).json()["model"],
        "m"
    );
}

#[test]
fn softmax_adds_up_and_order_follows_labels() {
    let engine = start();
    let addr = engine.addr();
    let plain = score(addr, &good()).scores();
    let softmax = post(addr, "/v1/score", &with(&json!({ "apply_softmax": true }))).scores();
    for (plain, softmax) in plain.iter().zip(&softmax) {
        assert!((softmax.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let ratio = plain[0] / plain[1] / (softmax[0] / softmax[1]);
        assert!((ratio - 1.0).abs() < 1e-9, "{ratio}");
    }
    let labels = json!({ "label_token_ids": [8, 7, 8] });
    let turned = post(addr, "/v1/score", &with(&labels)).scores();
    for (plain, turned) in plain.iter().zip(&turned) {
        assert_eq!(&[turned[1], turned[0], turned[2]], &[plain[0], plain[1], plain[1]]);
    }
}

#[test]
fn item_first_turns_the_prompt_round() {
    let engine = start();
    let ask = |query, item, item_first| {
        let body = json!({
            "query": query, "items": [item], "label_token_ids": [7], "item_first": item_first,
        });
        score(engine.addr(), &body).scores()
    };
    let (query, item) = (json!([1, 2]), json!([3]));
    assert_eq!(ask(&query, &item, true), ask(&item, &query, false));
    assert_ne!(ask(&query, &item, true), ask(&query, &item, false));
    assert_eq!(
        ask(&json!("Is it? "), &json!("Yes"), true),
        ask(&json!("Yes"), &json!("Is it? "), false)
    );
}

#[test]
fn one_string_is_one_item_and_unknown_fields_do_not_matter() {
    let engine = start();
    let ask = |items: Value| {
        let body = json!({ "query": "q ", "items": items, "label_token_ids": [7], "rid": "x" });
        score(engine.addr(), &body).scores()
    };
    assert_eq!(ask(json!("word")), ask(json!(["word"])));
}

/// Each of these kills or breaks sglang-jax, or is wrong in a way that a client should hear of.
/// The server must answer a good request after each.
#[test]
fn bad_requests_are_told_what_is_wrong_and_do_no_harm() {
    let mut config = config(&std::env::temp_dir());
    config.max_items = 4;
    config.max_labels = 3;
    let engine = Engine::start(config).unwrap();
    let addr = engine.addr();
    let sound = score(addr, &good()).scores();
    let long: Vec<usize> = vec![1; 64];
    let deep = format!("{{\"query\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let cases = [
        (with(&json!({ "label_token_ids": [-1] })), "Token ID -1 is out of vocabulary"),
        (with(&json!({ "label_token_ids": [VOCAB] })), "(vocab size: 4096)"),
        (with(&json!({ "label_token_ids": [] })), "`label_token_ids` is empty"),
        (with(&json!({ "label_token_ids": null })), "label_token_ids must be provided"),
        (
            with(&json!({ "label_token_ids": [1, 2, 3, 4] })),
            "4 label token ids are more than the 3",
        ),
        (with(&json!({ "label_token_ids": [1.5] })), "`label_token_ids[0]` is the number 1.5"),
        (with(&json!({ "label_token_ids": "7" })), "must be a list of token ids"),
        (with(&json!({ "query": [-5] })), "`query[0]` must be from 0 to 4095"),
        (with(&json!({ "query": [VOCAB] })), "Token ID 4096 is out of vocabulary"),
        (with(&json!({ "query": [], "items": [[]] })), "empty prompt"),
        (with(&json!({ "query": "", "items": [""] })), "empty prompt"),
        (with(&json!({ "query": null })), "`query` is missing"),
        (with(&json!({ "query": 3 })), "`query` is the number 3"),
        (with(&json!({ "query": { "text": "a" } })), "`query` is an object"),
        (with(&json!({ "query": "text" })), "Invalid combination of query/items types"),
        (with(&json!({ "items": null })), "`items` is missing"),
        (with(&json!({ "items": [] })), "`items` is empty"),
        (with(&json!({ "items": [1, 2] })), "send \"items\": [[1, ...]]"),
        (with(&json!({ "items": ["a", [1]] })), "`items[1]` is of another kind"),
        (with(&json!({ "items": [[1], [1], [1], [1], [1]] })), "5 items are more than the 4"),
        (
            with(&json!({ "query": long })),
            "The input (65 tokens) is longer than the model's context",
        ),
        (with(&json!({ "query": [], "items": [long] })), "may have at most 63 tokens"),
        (with(&json!({ "query": "a ".repeat(40_000), "items": "b" })), "cannot fit"),
        (with(&json!({ "apply_softmax": "yes" })), "must be true or false"),
        (with(&json!({ "model": 3 })), "`model` is the number 3"),
        (String::new(), "the body is empty"),
        ("{".to_owned(), "not valid JSON"),
        ("[]".to_owned(), "the body is a list"),
        ("null".to_owned(), "the body is null"),
        (r#"{"query": NaN}"#.to_owned(), "JSON has no NaN"),
        (r#"{"query": [99999999999999999999999]}"#.to_owned(), "a token id is a whole number"),
        (r#"{"query": 1e999}"#.to_owned(), "number out of range"),
        ("{\"query\": \"\u{0}\"}".to_owned(), "not valid JSON"),
        (deep, "the deepest a score request goes"),
    ];
    for (body, expected) in cases {
        let shown: String = body.chars().take(100).collect();
        let reply = post(addr, "/v1/score", &body);
        assert_eq!(reply.status, 400, "{shown}: {reply:?}");
        assert_eq!(reply.json()["type"], "BadRequestError", "{shown}");
        let message = reply.message();
        assert!(message.contains(expected), "{shown}: {message}");
        assert!(message.len() < 400, "{shown}: {message}");
        assert_eq!(score(addr, &good()).scores(), sound, "after {shown}");
    }
    let reply =
        send(addr, "POST /v1/score HTTP/1.1\r\ncontent-type: application/json", b"\xff\xfe");
    assert!(reply.message().contains("not valid JSON"), "{reply:?}");
    assert_eq!(score(addr, &good()).scores(), sound);
}

#[test]
fn errors_name_the_field() {
    let engine = start();
    let param =
        |changes: Value| post(engine.addr(), "/v1/score", &with(&changes)).json()["param"].clone();
    assert_eq!(param(json!({ "label_token_ids": [-1] })), "label_token_ids");
    assert_eq!(param(json!({ "query": [0.5] })), "query");
    assert_eq!(param(json!({ "query": "text" })), Value::Null);
}

#[test]
fn content_type_must_be_json() {
    let engine = start();
    let ask = |head: &str| {
        let head = format!("POST /v1/score HTTP/1.1{head}");
        send(engine.addr(), &head, good().to_string().as_bytes())
    };
    for head in ["", "\r\ncontent-type: text/plain", "\r\ncontent-type: application/jsonx"] {
        let reply = ask(head);
        assert_eq!(reply.status, 400, "{reply:?}");
        assert!(reply.message().contains("Only 'application/json' is allowed"), "{reply:?}");
    }
    assert_eq!(ask("\r\ncontent-type: Application/JSON; charset=utf-8").status, 200);
}

#[test]
fn a_body_over_the_limit_is_refused() {
    let mut config = config(&std::env::temp_dir());
    config.body_limit = Bytes(1000);
    let engine = Engine::start(config).unwrap();
    let body = with(&json!({ "model": "m".repeat(2000) }));
    let reply = post(engine.addr(), "/v1/score", &body);
    assert_eq!(reply.status, 413, "{reply:?}");
    assert!(reply.message().contains("larger than 1000 bytes"), "{reply:?}");
    assert_eq!(score(engine.addr(), &good()).status, 200);
}

#[test]
fn paths_and_methods_that_are_not_there() {
    let engine = start();
    let reply = get(engine.addr(), "/v2/score");
    assert_eq!(reply.status, 404);
    assert!(reply.message().contains("/v1/score"), "{reply:?}");
    let reply = get(engine.addr(), "/v1/score");
    assert_eq!(reply.status, 405);
    assert!(reply.message().contains("does not take GET"), "{reply:?}");
    assert_eq!(reply.header("allow"), Some("POST"));
}

#[test]
fn the_server_says_what_it_is() {
    let engine = start();
    assert_eq!(get(engine.addr(), "/health").json()["status"], "ok");
    let info = get(engine.addr(), "/get_server_info").json();
    assert_eq!(info["vocab_size"], VOCAB);
    assert_eq!(info["context_length"], 64);
    assert!(info["memory_live_bytes"]["weights"].as_u64().unwrap() > 4096 * 32 * 4);
    assert_eq!(score(engine.addr(), &good()).status, 200);
    assert_eq!(post(engine.addr(), "/v1/score", "{").status, 400);
    let metrics = get(engine.addr(), "/metrics").body;
    for line in [
        r#"xscope_requests_total{route="/v1/score",status="200"} 1"#,
        r#"xscope_requests_total{route="/v1/score",status="400"} 1"#,
        r#"xscope_request_seconds_count 2"#,
        "xscope_queue_items 0",
        r#"xscope_memory_live_bytes{owner="weights"}"#,
    ] {
        assert!(metrics.contains(line), "{line} not in {metrics}");
    }
}

#[test]
fn a_request_keeps_its_name() {
    let engine = start();
    let named = |id: &str| -> Reply {
        let head = format!("GET /health HTTP/1.1\r\nx-request-id: {id}");
        send(engine.addr(), &head, b"")
    };
    assert_eq!(named("a-b_c.1:2").header("x-request-id"), Some("a-b_c.1:2"));
    for insane in ["a b", "<x>", &"x".repeat(200)] {
        let reply = named(insane);
        let name = reply.header("x-request-id").unwrap();
        assert!(name.starts_with("xscope-"), "{name}");
    }
    let numbers = [named("a"), named("a")]
        .map(|reply| reply.header("x-xscope-request").unwrap().parse::<u64>().unwrap());
    assert_eq!(numbers[0] + 1, numbers[1]);
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    let dir = std::env::temp_dir();
    let refused = |change: fn(&mut xscope_engine::EngineConfig)| {
        let mut config = config(&dir);
        change(&mut config);
        Engine::start(config).unwrap_err().to_string()
    };
    assert!(refused(|config| config.queue_limit = 0).contains("queue_limit is 0"));
    assert!(refused(|config| config.context_length = Some(65)).contains("context_length is 65"));
    assert!(refused(|config| config.profile_root = "runs".into()).contains("absolute"));

    let engine = start();
    let mut second = config(&dir);
    second.port = engine.addr().port();
    let error = Engine::start(second).unwrap_err().to_string();
    assert!(error.contains("choose another port"), "{error}");
    shut_down(engine);
}
