use std::time::Duration;

use tokio::time::Instant;
use xscope_load::{
    Cancel, ClosedLoop, Ended, FailureKind, Figure, Labels, LoadError, LoadEvent, LoadOptions,
    LoadSummary, Phase, Point, PromptForm, RequestRow, ScoreWorkload, run_closed_loop,
};
use xscope_trace::Nanos;

use crate::server::{Asked, Reply, Server, nowhere, right_answer};

fn workload() -> ScoreWorkload {
    ScoreWorkload {
        points: Point::grid(&[2], &[2]),
        labels: Labels::Drawn,
        query_tokens: 8,
        item_tokens: 3,
        form: PromptForm::TokenIds,
        vocab_size: 1000,
        seed: 1,
        requests: 4,
        distinct: None,
        concurrency: 1,
        warmup_rounds: 0,
        item_first: false,
        apply_softmax: true,
        model: "m".to_owned(),
    }
}

fn options() -> LoadOptions {
    let mut options = LoadOptions::default();
    options.limits.connect = Duration::from_millis(200);
    options
}

async fn load(
    url: &str,
    workload: &ScoreWorkload,
    options: LoadOptions,
) -> (Result<LoadSummary, LoadError>, Vec<RequestRow>) {
    let mut rows = Vec::new();
    let result = run_closed_loop(url, workload, options, &Cancel::new(), |event| {
        if let LoadEvent::Row(row) = event {
            rows.push(*row);
        }
    })
    .await;
    (result, rows)
}

// On several threads, since keeping a connection is a matter of which task runs first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_point_is_warmed_up_and_measured() {
    let server = Server::start(|asked| {
        assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/v1/score"));
        let headers = vec![
            ("x-request-id", format!("server-{}", asked.request_id.as_deref().unwrap())),
            ("server-timing", "tokenize;dur=0.5, forward;dur=2".to_owned()),
        ];
        Reply::Answer(200, headers, right_answer(&asked.score()))
    })
    .await;
    let points = Point::grid(&[1, 3], &[2]);
    let workload = ScoreWorkload {
        points: points.clone(),
        requests: 6,
        concurrency: 2,
        warmup_rounds: 2,
        ..workload()
    };
    let options = LoadOptions { request_id_prefix: Some("run".to_owned()), ..options() };
    let (result, rows) = load(&server.url, &workload, options).await;
    let summary = result.unwrap();

    assert_eq!(summary.ended, Ended::Complete);
    assert_eq!((summary.warmup_requests, summary.warmup_failed), (8, 0));
    assert_eq!((summary.answered, summary.abandoned), (20, 0));
    assert_eq!(rows.len(), 20);
    // Warm-up of all points comes before the first measured request.
    assert!(rows[..8].iter().all(|row| row.phase == Phase::Warmup));
    assert!(rows[8..].iter().all(|row| row.phase == Phase::Measure));
    for (point, summary) in points.iter().zip(&summary.points) {
        assert_eq!((summary.point, summary.requests, summary.ok), (*point, 6, 6));
        assert_eq!((summary.latency.n, summary.send_lag.n), (6, 6));
        let ratio = summary.throughput_items_per_sec.value().unwrap()
            / summary.requests_per_sec.value().unwrap();
        assert!((ratio - f64::from(point.batch_size)).abs() < 1e-9);
    }
    for row in &rows {
        assert!(row.ok, "{row:?}");
        assert_eq!(row.request_id, format!("server-run-{}", row.index));
        assert_eq!(row.prompt_tokens, Some(u64::from(row.point.batch_size) * 11));
        assert_eq!(row.server_ms["forward"], 2.0);
        let (sent, first_byte) = (row.sent.unwrap(), row.first_byte.unwrap());
        assert!(row.intended <= sent && sent <= first_byte && first_byte <= row.end);
        assert_eq!(row.latency_ms, (row.end - row.intended).as_millis());
    }
    // One connection for each of two workers, in each of two phases of two points.
    assert_eq!(server.connections(), 8);
}

#[tokio::test]
async fn a_request_is_due_when_its_worker_becomes_free() {
    let server = Server::start(|asked| Reply::right(&asked)).await;
    let workload = ScoreWorkload { requests: 12, concurrency: 3, ..workload() };
    let (_, rows) = load(&server.url, &workload, options()).await;
    for worker in 0..3 {
        let mut mine: Vec<_> = rows.iter().filter(|row| row.worker == worker).collect();
        mine.sort_by_key(|row| row.intended);
        assert!(mine.windows(2).all(|pair| pair[1].intended == pair[0].end));
    }
    let mut indices: Vec<_> = rows.iter().map(|row| row.index).collect();
    indices.sort_unstable();
    assert_eq!(indices, Vec::from_iter(0..12));
}

#[tokio::test]
async fn equal_workloads_send_equal_bodies() {
    let bodies = async || {
        let (sender, receiver) = std::sync::mpsc::sync_channel(100);
        let server = Server::start(move |asked| {
            sender.send(asked.body.clone()).unwrap();
            Reply::right(&asked)
        })
        .await;
        let workload = ScoreWorkload { warmup_rounds: 1, ..workload() };
        load(&server.url, &workload, options()).await.0.unwrap();
        receiver.try_iter().collect::<Vec<_>>()
    };
    let first = bodies().await;
    assert_eq!(first.len(), 5);
    assert_eq!(first, bodies().await);
    let mut different = first;
    different.sort();
    different.dedup();
    assert_eq!(different.len(), 5);
}

#[tokio::test]
async fn wrong_answers_are_failures_with_a_reason() {
    let check = async |reply: fn(Asked) -> Reply, kind: FailureKind, words: &str| {
        let server = Server::start(reply).await;
        let mut options = options();
        options.limits.response_bytes = 10_000;
        let (result, rows) = load(&server.url, &workload(), options).await;
        let summary = result.unwrap();
        assert_eq!(summary.ended, Ended::Complete);
        let point = &summary.points[0];
        assert_eq!((point.requests, point.ok, point.failed), (4, 0, 4), "{kind:?}");
        assert_eq!(point.failures.iter().collect::<Vec<_>>(), [(&kind, &4)]);
        assert_eq!(point.latency.n, 0);
        assert_eq!(point.requests_per_sec, Figure::unavailable("1/s", "no right answers"));
        for row in &rows {
            let error = row.error.as_deref().unwrap();
            assert!(!row.ok && row.failure == Some(kind) && error.contains(words), "{row:?}");
        }
    };
    check(|_| Reply::json("{\"scores\":[[1"), FailureKind::Malformed, "EOF").await;
    check(|_| Reply::json("[]"), FailureKind::Malformed, "not a score answer").await;
    check(|_| Reply::json("{\"scores\":[[NaN]]}"), FailureKind::Malformed, "NaN").await;
    check(|_| Reply::json(r#"{"scores":[[0.5,0.5]]}"#), FailureKind::WrongShape, "1 lists").await;
    check(
        |_| Reply::json(r#"{"scores":[[0.5,0.5],[1]]}"#),
        FailureKind::WrongShape,
        "item 1 has 1 scores for 2 labels",
    )
    .await;
    check(|_| Reply::json(r#"{"scores":[[1.5,-0.5],[1,0]]}"#), FailureKind::WrongValue, "1.5")
        .await;
    check(|_| Reply::json(r#"{"scores":[[0.5,0.4],[1,0]]}"#), FailureKind::WrongSum, "0.9").await;
    check(|_| Reply::status(500, "boom"), FailureKind::HttpStatus, "status 500: boom").await;
    check(|_| Reply::status(204, ""), FailureKind::HttpStatus, "status 204: empty body").await;
    check(|_| Reply::CloseMidBody, FailureKind::Closed, "after 10 bytes").await;
    check(|_| Reply::json(" ".repeat(10_001)), FailureKind::TooLarge, "10000 bytes").await;
}

#[tokio::test]
async fn answers_that_change_are_failures() {
    let server = Server::start(|asked| {
        let first = if asked.number < 4 { 0.5 } else { 0.6 };
        let row = [first, 1.0 - first];
        Reply::json(serde_json::json!({ "scores": [row, row] }).to_string())
    })
    .await;
    let workload = ScoreWorkload { requests: 6, distinct: Some(2), ..workload() };
    let (result, rows) = load(&server.url, &workload, options()).await;
    let point = &result.unwrap().points[0];
    assert_eq!((point.ok, point.failures[&FailureKind::Drift], point.drift_compared), (4, 2, 4));
    assert!(rows[4].error.as_deref().unwrap().contains("scores 0.6"), "{:?}", rows[4]);
}

#[tokio::test]
async fn a_server_that_closes_after_each_answer_is_no_failure() {
    let server = Server::start(|asked| {
        let headers = vec![("connection", "close".to_owned())];
        Reply::Answer(200, headers, right_answer(&asked.score()))
    })
    .await;
    let (result, _) = load(&server.url, &workload(), options()).await;
    assert_eq!(result.unwrap().points[0].ok, 4);
    assert!(server.connections() >= 4);
}

#[tokio::test]
async fn a_server_that_never_answers_ends_the_load() {
    let server = Server::start(|_| Reply::Never).await;
    let mut options = LoadOptions { give_up_after: 2, ..options() };
    options.limits.request = Duration::from_millis(20);
    let workload = ScoreWorkload { requests: 1000, concurrency: 2, ..workload() };
    let (result, rows) = load(&server.url, &workload, options).await;
    let error = result.unwrap_err();
    assert!(error.to_string().contains("4 requests in a row got no answer"), "{error}");
    assert!((4..=6).contains(&rows.len()), "{} rows", rows.len());
    assert!(rows.iter().all(|row| row.failure == Some(FailureKind::Timeout)));
    assert!(rows.iter().all(|row| row.latency_ms >= 20.0 && row.first_byte.is_none()));
}

#[tokio::test]
async fn a_server_that_closes_without_an_answer_ends_the_load() {
    let server = Server::start(|_| Reply::Close).await;
    let workload = ScoreWorkload { requests: 1000, ..workload() };
    let (result, rows) = load(&server.url, &workload, options()).await;
    assert!(matches!(result, Err(LoadError::ServerGone { .. })), "{result:?}");
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row.failure == Some(FailureKind::Closed)));
}

#[tokio::test]
async fn a_server_that_dies_ends_the_load_and_keeps_what_was_done() {
    let mut server = Server::start(|asked| Reply::right(&asked)).await;
    let url = server.url.clone();
    let workload = ScoreWorkload { requests: 100_000, concurrency: 2, ..workload() };
    let (mut rows, started) = (Vec::new(), Instant::now());
    let result = run_closed_loop(&url, &workload, options(), &Cancel::new(), |event| {
        if let LoadEvent::Row(row) = event {
            rows.push(*row);
        }
        if rows.len() == 5 {
            server.kill();
        }
    })
    .await;
    assert!(started.elapsed() < Duration::from_secs(5));
    let error = result.unwrap_err();
    assert!(error.to_string().contains("cannot connect to"), "{error}");
    let LoadError::ServerGone { summary, .. } = error else { panic!("{error}") };
    let answered = rows.iter().filter(|row| row.ok).count() as u64;
    assert!(answered >= 5);
    assert_eq!((summary.answered, summary.points[0].ok), (answered, answered));
    assert_eq!(summary.ended, Ended::Early);
}

#[tokio::test]
async fn nobody_there_is_an_error_at_once() {
    let url = nowhere().await;
    let (result, rows) = load(&url, &workload(), options()).await;
    let error = result.unwrap_err().to_string();
    assert!(error.contains(&url) && error.contains("0 requests answered"), "{error}");
    assert!(rows.is_empty());
}

#[tokio::test]
async fn cancelling_keeps_what_was_done() {
    // After three answers nothing comes any more, so that what is under way then is known.
    let server = Server::start(|asked| match asked.number {
        0..3 => Reply::right(&asked),
        _ => Reply::Never,
    })
    .await;
    let workload = ScoreWorkload { requests: 1000, concurrency: 2, ..workload() };
    let (cancel, mut rows) = (Cancel::new(), Vec::new());
    let summary = run_closed_loop(&server.url, &workload, options(), &cancel, |event| {
        if let LoadEvent::Row(row) = event {
            rows.push(row);
        }
        if rows.len() == 3 {
            cancel.cancel();
        }
    })
    .await
    .unwrap();
    assert_eq!((rows.len(), summary.points[0].ok), (3, 3));
    assert_eq!(summary.ended, Ended::Early);
    assert!(summary.abandoned <= 2, "{}", summary.abandoned);
}

#[tokio::test]
async fn a_cancelled_load_sends_nothing() {
    let cancel = Cancel::new();
    cancel.cancel();
    let summary = run_closed_loop(&nowhere().await, &workload(), options(), &cancel, |event| {
        panic!("{event:?}");
    })
    .await
    .unwrap();
    assert_eq!((summary.ended, summary.points.len()), (Ended::Early, 0));
}

#[tokio::test]
async fn a_load_can_be_made_in_steps() {
    let server = Server::start(|asked| Reply::right(&asked)).await;
    let workload = ScoreWorkload { warmup_rounds: 1, ..workload() };
    let mut load = ClosedLoop::new(&server.url, workload, options(), Cancel::new()).unwrap();
    let mut started = Vec::new();
    let mut on_event = |event| {
        if let LoadEvent::PhaseStarted { phase, requests, .. } = event {
            started.push((phase, requests));
        }
    };
    load.warm_up(&mut on_event).await.unwrap();
    assert!(load.summary().points.is_empty());
    load.measure(0, &mut on_event).await.unwrap();
    assert_eq!(load.summary().ended, Ended::Complete);
    let error = load.measure(1, &mut on_event).await.unwrap_err();
    assert!(error.to_string().contains("no point at index 1"), "{error}");
    assert_eq!(started, [(Phase::Warmup, 1), (Phase::Measure, 4)]);
}

#[tokio::test]
async fn a_load_can_be_a_task_of_its_own() {
    let server = Server::start(|asked| Reply::right(&asked)).await;
    let url = server.url.clone();
    let task = tokio::spawn(async move {
        run_closed_loop(&url, &workload(), options(), &Cancel::new(), |_| ()).await
    });
    assert_eq!(task.await.unwrap().unwrap().ended, Ended::Complete);
}

#[tokio::test]
async fn addresses_that_cannot_be_loaded_are_refused() {
    let (result, _) = load("https://localhost:1", &workload(), options()).await;
    assert!(matches!(result, Err(LoadError::Https { .. })), "{result:?}");
}

#[test]
fn rows_are_flat_json_and_read_back() {
    let row = RequestRow {
        index: 3,
        request_id: "run-3".to_owned(),
        phase: Phase::Measure,
        point: Point { batch_size: 4, label_count: 2 },
        worker: 1,
        prompt_tokens: None,
        intended: Nanos(1_000_000),
        sent: Some(Nanos(1_000_500)),
        first_byte: None,
        end: Nanos(3_500_000),
        latency_ms: 2.5,
        request_bytes: xscope_trace::Bytes(120),
        response_bytes: xscope_trace::Bytes(0),
        status: None,
        ok: false,
        failure: Some(FailureKind::Timeout),
        error: Some("no answer within 0.0 s".to_owned()),
        server_ms: [("forward".to_owned(), 1.5)].into(),
    };
    let line = serde_json::to_string(&row).unwrap();
    assert_eq!(
        line,
        r#"{"index":3,"request_id":"run-3","phase":"measure","batch_size":4,"label_count":2,"worker":1,"intended_ns":1000000,"sent_ns":1000500,"end_ns":3500000,"latency_ms":2.5,"request_bytes":120,"response_bytes":0,"ok":false,"failure":"timeout","error":"no answer within 0.0 s","server_ms":{"forward":1.5}}"#
    );
    assert_eq!(serde_json::from_str::<RequestRow>(&line).unwrap(), row);
}
