use std::time::Duration;

use serde_json::json;
use xscope_load::{LoadError, get_text, post_json, wait_ready};

use crate::server::{Reply, Server, nowhere};

const LIMIT: Duration = Duration::from_secs(5);

#[tokio::test]
async fn waits_while_the_server_loads() {
    let server = Server::start(|asked| match (asked.path.as_str(), asked.number) {
        ("/health", 0) => Reply::status(503, "loading"),
        ("/health", 1) => Reply::status(200, ""),
        ("/get_server_info", _) => Reply::json(r#"{"model_path":"m"}"#),
        (path, number) => panic!("{path} as request {number}"),
    })
    .await;
    let ready = wait_ready(&server.url, LIMIT).await.unwrap();
    assert_eq!(ready.health_status, 200);
    assert_eq!(ready.server_info, Some(json!({ "model_path": "m" })));
}

#[tokio::test]
async fn server_info_is_optional() {
    let server = Server::start(|_| Reply::status(404, "{}")).await;
    let ready = wait_ready(&server.url, LIMIT).await.unwrap();
    assert_eq!((ready.health_status, ready.server_info), (404, None));
}

#[tokio::test]
async fn says_why_a_server_is_not_ready() {
    let check = async |url: &str, expected: &str| {
        let error = wait_ready(url, Duration::from_millis(150)).await.unwrap_err();
        assert!(matches!(error, LoadError::NotReady { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    };
    let loading = Server::start(|_| Reply::status(503, "loading")).await;
    check(&loading.url, "GET /health answers with status 503").await;
    let hung = Server::start(|_| Reply::Never).await;
    check(&hung.url, "no answer within").await;
    check(&nowhere().await, "cannot connect").await;
}

#[tokio::test]
async fn posts_json_and_gives_any_answer_back() {
    let server = Server::start(|asked| match (asked.method.as_str(), asked.path.as_str()) {
        ("POST", "/start_profile") => Reply::status(200, &String::from_utf8_lossy(&asked.body)),
        ("GET", "/profile_status") => Reply::json(r#"{"status":"idle"}"#),
        ("POST", "/hang") => Reply::Never,
        _ => Reply::status(500, "Internal Server Error"),
    })
    .await;
    let answer = post_json(&server.url, "/start_profile", &json!({ "num_steps": 3 }), LIMIT).await;
    let answer = answer.unwrap();
    assert_eq!((answer.is_success(), answer.text.as_str()), (true, r#"{"num_steps":3}"#));
    let answer = get_text(&server.url, "/profile_status", LIMIT).await.unwrap();
    assert_eq!(answer.text, r#"{"status":"idle"}"#);
    let answer = post_json(&server.url, "/stop_profile", &json!({}), LIMIT).await.unwrap();
    assert_eq!((answer.status, answer.is_success()), (500, false));

    let short = Duration::from_millis(20);
    let error = post_json(&server.url, "/hang", &json!({}), short).await.unwrap_err().to_string();
    assert!(error.starts_with("POST http://127") && error.contains("/hang failed: no answer"));
}
