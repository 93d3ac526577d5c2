use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use xscope_load::{
    Arrivals, Ask, AskFixed, AskGenerate, AskRerank, AskScore, Backend, Cancel, Evidence,
    FailureKind, Labels, Load, LoadError, LoadEvent, Matrix, Plan, Point, PromptForm, Pulse,
    RequestRow, SendOptions, Stretch, TrialSamples, Workload, point_result,
};
use xscope_trace::Nanos;
use xscope_trace::results::{CauseKind, Judgement, PointResult};
use xscope_trace::{Metric, Phase};

use crate::server::{Asked, Reply, Server, nowhere, right_answer};

fn score(items: u32) -> Ask {
    Ask::Score(AskScore {
        items: items.into(),
        query_tokens: 8.into(),
        item_tokens: 3.into(),
        labels: Labels::Drawn(2),
        item_first: false,
        apply_softmax: true,
    })
}

/// Four requests of two items, one after the other.
fn workload() -> Workload {
    Workload {
        form: PromptForm::TokenIds,
        vocab_size: 1000,
        requests: Some(4),
        model: "m".to_owned(),
        ..Workload::new(score(2))
    }
}

fn closed(concurrency: u32, requests: u32) -> Workload {
    let arrivals = Arrivals::Closed(concurrency);
    Workload { arrivals, requests: Some(requests), ..workload() }
}

fn options() -> SendOptions {
    let mut options = SendOptions::default();
    options.limits.connect = Duration::from_millis(200);
    options
}

fn point(workload: Workload) -> Point {
    let backend = Backend::usual(&workload.ask);
    Point::new(Plan::new("p", workload, backend).expect("a workload that can be made"))
}

async fn measure(
    url: &str,
    point: &mut Point,
    options: SendOptions,
    cancel: &Cancel,
) -> (Result<TrialSamples, LoadError>, Vec<RequestRow>) {
    let mut rows = Vec::new();
    let mut load = Load::new(url, options, cancel.clone()).expect("an address");
    let stretch = Stretch::measured(point.plan(), 0);
    let result = load.run(&stretch, point, |event| {
        if let LoadEvent::Row(row) = event {
            rows.push(*row);
        }
    });
    (result.await, rows)
}

async fn load(
    url: &str,
    workload: Workload,
    options: SendOptions,
) -> (TrialSamples, Vec<RequestRow>) {
    let (window, rows) = measure(url, &mut point(workload), options, &Cancel::new()).await;
    (window.expect("somebody answers"), rows)
}

fn judged(workload: Workload, window: TrialSamples) -> PointResult {
    point_result(point(workload).plan(), &[window], &Evidence::default())
}

fn causes(result: &PointResult) -> Vec<CauseKind> {
    result.validity.causes.iter().map(|cause| cause.cause).collect()
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
    let mut points = Matrix::score(closed(2, 6), &[1, 3], &[2]).fit(None).unwrap();
    let options = SendOptions { request_id_prefix: Some("run".to_owned()), ..options() };
    let mut load = Load::new(&server.url, options, Cancel::new()).unwrap();
    let (mut rows, mut results) = (Vec::new(), Vec::new());
    for point in &mut points {
        let stretches = [Stretch::warm_up(point.plan(), 2), Stretch::measured(point.plan(), 0)];
        let mut window = TrialSamples::default();
        for stretch in &stretches {
            window = load
                .run(stretch, point, |event| match event {
                    LoadEvent::Row(row) => rows.push(*row),
                    LoadEvent::PhaseStarted { phase, requests, .. } => {
                        assert_eq!(requests, Some(if phase == Phase::Warmup { 4 } else { 6 }));
                    }
                    _ => panic!("{event:?}"),
                })
                .await
                .unwrap();
        }
        results.push(point_result(point.plan(), &[window], &Evidence::default()));
    }
    assert_eq!((load.answered(), rows.len()), (20, 20));
    for (result, items) in results.iter().zip([1, 3]) {
        assert_eq!(result.point, format!("b{items}_l2"));
        assert_eq!((result.requests, result.ok, result.latency.n), (6, 6, 6));
        let ratio =
            result.throughput_items_per_sec.value.unwrap() / result.requests_per_sec.value.unwrap();
        assert!((ratio - f64::from(items)).abs() < 1e-9);
        assert_eq!(result.server_ms["forward"], 2.0);
        assert_eq!((result.trials.len(), result.trials[0].latency.n), (1, 6));
        assert_eq!(result.client.requested_per_sec, None);
    }
    assert_ne!(results[0].workload_hash, results[1].workload_hash);
    for row in &rows {
        assert!(row.ok, "{row:?}");
        assert_eq!(row.request_id, format!("server-run-{}", row.index));
        assert_eq!(row.prompt_tokens, Some(u64::from(row.batch_size) * 11));
        let (sent, first_byte) = (row.sent.unwrap(), row.first_byte.unwrap());
        assert!(row.intended <= sent && sent <= first_byte && first_byte <= row.end);
        assert_eq!(row.latency_ms, (row.end - row.intended).as_millis());
    }
    let mut indices: Vec<_> = rows.iter().map(|row| row.index).collect();
    indices.sort_unstable();
    assert_eq!(indices, Vec::from_iter(0..20));
    // Two at once, over all phases of all points.
    assert_eq!(server.connections(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_due_when_its_connection_becomes_free() {
    let server = Server::start(|asked| Reply::right(&asked)).await;
    let (_, rows) = load(&server.url, closed(3, 12), options()).await;
    for worker in 0..3 {
        let mut mine: Vec<_> = rows.iter().filter(|row| row.worker == worker).collect();
        mine.sort_by_key(|row| row.intended);
        assert!(mine.windows(2).all(|pair| pair[1].intended == pair[0].end));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_loop_does_not_wait_for_answers_and_counts_from_intention() {
    // The first answer comes only when the last request has been asked.
    let (asked, last) = (Arc::new(Notify::new()), 9);
    let server = Server::start(move |request| match request.number {
        0 => Reply::When(Arc::clone(&asked), Box::new(Reply::right(&request))),
        number => {
            if number == last {
                asked.notify_one();
            }
            Reply::right(&request)
        }
    })
    .await;
    let workload =
        Workload { arrivals: "constant:1000/s".parse().unwrap(), requests: Some(10), ..workload() };
    let (window, mut rows) = load(&server.url, workload.clone(), options()).await;
    rows.sort_by_key(|row| row.index);
    assert_eq!(rows.len(), 10);
    for pair in rows.windows(2) {
        assert_eq!(pair[1].intended - pair[0].intended, Nanos(1_000_000));
    }
    // The server need not be asked in the order in which requests are sent.
    let last_sent = rows.iter().filter_map(|row| row.sent).max().unwrap();
    assert!(rows.iter().any(|row| row.sent < Some(last_sent) && row.end > last_sent));
    let longest = rows.iter().map(|row| row.latency_ms).fold(0.0, f64::max);
    assert!(window.most_in_flight >= 2);
    assert_eq!((window.requested_per_sec, window.unsent), (Some(1000.0), 0));
    let result = judged(workload, window);
    assert_eq!(result.arrivals, "constant:1000/s");
    assert_eq!(result.latency.max_ms, Metric::valid(longest, "ms"));
    let asked = result.client.delivered_per_sec.value.unwrap();
    assert!(asked > 0.0, "{asked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_ends_a_window_too() {
    let server = Server::start(|asked| Reply::right(&asked)).await;
    for arrivals in ["closed:2", "poisson:2000/s", "stages:500/s*0.02s+1000/s*0.02s"] {
        let arrivals: Arrivals = arrivals.parse().unwrap();
        let workload = Workload { arrivals, requests: None, secs: Some(0.05), ..workload() };
        let (window, rows) = load(&server.url, workload, options()).await;
        assert!(!rows.is_empty() && rows.iter().all(|row| row.ok));
        let last = rows.iter().map(|row| row.intended).max().unwrap();
        // In a closed loop one may begin at the very end.
        assert!((last - window.started).0 <= 51_000_000 || rows.len() < 3);
    }
}

#[tokio::test]
async fn equal_workloads_send_equal_bodies_and_windows_go_on() {
    let bodies = async || {
        let (sender, receiver) = std::sync::mpsc::sync_channel(100);
        let server = Server::start(move |asked| {
            sender.send(asked.body.clone()).unwrap();
            Reply::right(&asked)
        })
        .await;
        let mut point = point(workload());
        let mut load = Load::new(&server.url, options(), Cancel::new()).unwrap();
        let check = Stretch {
            phase: Phase::Check,
            requests: Some(1),
            ..Stretch::measured(point.plan(), 0)
        };
        let stretches = [
            Stretch::warm_up(point.plan(), 1),
            Stretch::measured(point.plan(), 0),
            Stretch::measured(point.plan(), 1),
            check.clone(),
            check,
        ];
        for stretch in &stretches {
            load.run(stretch, &mut point, |_| ()).await.unwrap();
        }
        receiver.try_iter().collect::<Vec<_>>()
    };
    let first = bodies().await;
    assert_eq!(first.len(), 11);
    assert_eq!(first, bodies().await);
    assert_eq!(first[9], first[10], "a check is the same request each time");
    let mut different = first;
    different.sort();
    different.dedup();
    assert_eq!(different.len(), 10);
}

#[tokio::test]
async fn wrong_answers_are_failures_with_a_reason() {
    let check = async |reply: fn(Asked) -> Reply, kind: FailureKind, words: &str| {
        let server = Server::start(reply).await;
        let mut options = options();
        options.limits.response_bytes = 10_000;
        let (window, rows) = load(&server.url, workload(), options).await;
        let result = judged(workload(), window);
        assert_eq!((result.requests, result.ok, result.failed), (4, 0, 4), "{kind:?}");
        assert_eq!(result.failures, BTreeMap::from([(kind.name().to_owned(), 4)]));
        assert_eq!(result.requests_per_sec, Metric::unavailable("1/s", "no right answers"));
        for row in &rows {
            let error = row.error.as_deref().unwrap();
            assert!(!row.ok && row.failure == Some(kind) && error.contains(words), "{row:?}");
        }
        let cause = &result.validity.causes[0];
        let expected = match kind.is_wrong_answer() {
            true => CauseKind::WrongAnswers,
            false => CauseKind::FailedRequests,
        };
        assert_eq!((cause.cause, result.validity.status), (expected, Judgement::Invalid));
        assert!(cause.detail.contains(words), "{}", cause.detail);
    };
    check(|_| Reply::json("{\"scores\":[[1"), FailureKind::Malformed, "EOF").await;
    check(|_| Reply::json("[]"), FailureKind::Malformed, "not the answer of this").await;
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
    let workload = Workload { distinct: Some(2), ..closed(1, 6) };
    let (window, rows) = load(&server.url, workload.clone(), options()).await;
    let result = judged(workload, window);
    assert_eq!((result.ok, result.failures["drift"], result.drift_compared), (4, 2, 4));
    assert!(rows[4].error.as_deref().unwrap().contains("scores 0.6"), "{:?}", rows[4]);
}

#[tokio::test]
async fn rankings_are_read_in_any_order_and_counted() {
    let check = async |backend: Backend, body: &'static str, right: bool| {
        let server = Server::start(move |asked| {
            let field = if backend == Backend::TeiRerank { "texts" } else { "documents" };
            let body_sent: serde_json::Value = serde_json::from_slice(&asked.body).unwrap();
            assert_eq!(asked.path, "/rerank");
            assert_eq!(body_sent[field].as_array().unwrap().len(), 2);
            Reply::json(body)
        })
        .await;
        let ask = AskRerank {
            documents: 2.into(),
            query_tokens: 3.into(),
            document_tokens: "uniform:1-5".parse().unwrap(),
        };
        let workload = Workload { requests: Some(1), ..Workload::new(Ask::Rerank(ask)) };
        let mut point = Point::new(Plan::new("r", workload, backend).unwrap());
        let (_, rows) = measure(&server.url, &mut point, options(), &Cancel::new()).await;
        assert_eq!(rows[0].ok, right, "{:?}", rows[0]);
    };
    let data =
        r#"{"results":[{"index":1,"relevance_score":0.9},{"index":0,"relevance_score":-2}]}"#;
    check(Backend::VllmRerank, data, true).await;
    check(Backend::TeiRerank, r#"[{"index":1,"score":0.9},{"index":0,"score":0.1}]"#, true).await;
    check(Backend::TeiRerank, r#"[{"index":1,"score":0.9},{"index":1,"score":0.1}]"#, false).await;
    check(Backend::TeiRerank, r#"[{"index":0,"score":0.9}]"#, false).await;
}

#[tokio::test]
async fn streams_give_times_of_tokens() {
    let check = async |backend: Backend, pieces: &[&str], expected: Result<usize, &str>| {
        let pieces: Vec<String> = pieces.iter().map(|&piece| piece.to_owned()).collect();
        let server = Server::start(move |_| Reply::Stream(pieces.clone())).await;
        let ask = AskGenerate {
            input_tokens: 5.into(),
            output_tokens: Some(3.into()),
            stream: true,
            ignore_eos: true,
        };
        let workload = Workload { requests: Some(1), ..Workload::new(Ask::Generate(ask)) };
        let mut point = Point::new(Plan::new("g", workload, backend).unwrap());
        let (_, rows) = measure(&server.url, &mut point, options(), &Cancel::new()).await;
        match expected {
            Ok(gaps) => {
                assert!(rows[0].ok, "{:?}", rows[0]);
                assert_eq!((rows[0].itl_ms.len(), rows[0].output_tokens), (gaps, Some(3)));
                assert!(rows[0].first_token.unwrap() <= rows[0].end);
            }
            Err(words) => {
                assert!(rows[0].error.as_deref().unwrap().contains(words), "{:?}", rows[0]);
            }
        }
    };
    let native =
        |n: u32| format!("data: {{\"text\":\"\",\"meta_info\":{{\"completion_tokens\":{n}}}}}\n\n");
    let (one, three, done) = (native(1), native(3), "data: [DONE]\n\n");
    let generate = Backend::SglangGenerate;
    // Two tokens at once share the time since the one before.
    check(generate, &[&one, &three, done], Ok(2)).await;
    check(generate, &[&one[..20], &one[20..], &format!("{three}{done}")], Ok(2)).await;
    check(generate, &[&one, done], Err("1 tokens came, 3 were asked for")).await;
    check(generate, &[&one, &three], Err("without [DONE]")).await;
    let text = |text: &str, end: &str| {
        format!("data: {{\"choices\":[{{\"text\":\"{text}\",\"finish_reason\":{end}}}]}}\n\n")
    };
    let usage = "data: {\"choices\":[],\"usage\":{\"completion_tokens\":3}}\n\n";
    let (a, end) = (text("a", "null"), text("", "\"length\""));
    check(Backend::OpenaiCompletions, &[&a, &a, &a, &end, usage, done], Ok(2)).await;
    check(
        Backend::OpenaiCompletions,
        &[&a, "data: {\"error\":{\"message\":\"boom\"}}\n\n"],
        Err("boom"),
    )
    .await;
}

#[tokio::test]
async fn a_header_tells_which_requests_met_a_compilation() {
    let server = Server::start(|asked| {
        let misses = if asked.number == 2 { "3" } else { "0" };
        let headers = vec![("x-cache-miss", misses.to_owned())];
        Reply::Answer(200, headers, right_answer(&asked.score()))
    })
    .await;
    let (window, rows) = load(&server.url, workload(), options()).await;
    assert_eq!(rows[2].cache_misses, Some(3));
    let result = judged(workload(), window);
    let split = result.compile.clone().unwrap();
    assert_eq!((split.detected_by.as_str(), split.clean.n, split.hit.n), ("header", 3, 1));
    assert!(causes(&result).contains(&CauseKind::CompileInWindow));
}

#[tokio::test]
async fn other_servers_are_loaded_with_fixed_requests() {
    let server = Server::start(|asked| {
        assert_eq!((asked.method.as_str(), asked.path.as_str()), ("GET", "/x"));
        Reply::status(200, "anything")
    })
    .await;
    let ask = AskFixed { path: "/x".to_owned(), body: String::new() };
    let workload = Workload { requests: Some(3), ..Workload::new(Ask::Fixed(ask)) };
    let (_, rows) = load(&server.url, workload, options()).await;
    assert!(rows.len() == 3 && rows.iter().all(|row| row.ok));
}

#[tokio::test]
async fn a_server_that_closes_after_each_answer_is_no_failure() {
    let server = Server::start(|asked| {
        let headers = vec![("connection", "close".to_owned())];
        Reply::Answer(200, headers, right_answer(&asked.score()))
    })
    .await;
    let (window, _) = load(&server.url, workload(), options()).await;
    assert_eq!(window.latencies().len(), 4);
    assert!(server.connections() >= 4);
}

#[tokio::test]
async fn a_server_that_never_answers_ends_the_load() {
    let server = Server::start(|_| Reply::Never).await;
    let mut options = SendOptions { give_up_after: 2, ..options() };
    options.limits.request = Duration::from_millis(20);
    let (window, rows) = load(&server.url, closed(2, 1000), options).await;
    let gone = window.gone.unwrap();
    assert!(gone.contains("4 requests in a row got no answer"), "{gone}");
    assert!((4..=6).contains(&rows.len()), "{} rows", rows.len());
    assert!(rows.iter().all(|row| row.failure == Some(FailureKind::Timeout)));
    assert!(rows.iter().all(|row| row.latency_ms >= 20.0 && row.first_byte.is_none()));
}

#[tokio::test]
async fn a_server_that_lost_a_process_and_holds_its_requests_ends_the_load() {
    let server = Server::start(|_| Reply::Never).await;
    let felt = Arc::new(AtomicU32::new(0));
    let pulse = {
        let felt = Arc::clone(&felt);
        let lives = move || felt.fetch_add(1, Ordering::Relaxed) < 2;
        Pulse::new(move || (!lives()).then(|| "its scheduler has ended".to_owned()))
    };
    let quiet = Duration::from_millis(20);
    let options = SendOptions { pulse: Some(pulse), quiet, ..options() };
    let (window, rows) = load(&server.url, closed(2, 1000), options).await;
    let gone = window.gone.unwrap();
    assert_eq!(gone, "its scheduler has ended, and no request was answered for 0.02 s");
    assert_eq!((rows.len(), window.abandoned, felt.load(Ordering::Relaxed)), (0, 2, 3));
}

#[tokio::test]
async fn a_server_that_closes_without_an_answer_ends_the_load() {
    let server = Server::start(|_| Reply::Close).await;
    let (window, rows) = load(&server.url, closed(1, 1000), options()).await;
    assert!(window.gone.is_some());
    // Some more may have ended before the load was.
    assert!((2..100).contains(&rows.len()), "{} rows", rows.len());
    assert!(rows.iter().all(|row| row.failure == Some(FailureKind::Closed)));
}

#[tokio::test]
async fn a_server_that_dies_ends_the_load_and_keeps_what_was_done() {
    for arrivals in [Arrivals::Closed(2), "poisson:500/s".parse().unwrap()] {
        let mut server = Server::start(|asked| Reply::right(&asked)).await;
        let workload = Workload { arrivals, requests: Some(100_000), ..workload() };
        let mut rows = 0;
        let mut point = point(workload.clone());
        let mut load = Load::new(&server.url, options(), Cancel::new()).unwrap();
        let stretch = Stretch::measured(point.plan(), 0);
        let window = load.run(&stretch, &mut point, |event| {
            rows += u32::from(matches!(event, LoadEvent::Row(row) if row.ok));
            if rows == 5 {
                server.kill();
            }
        });
        let window = window.await.unwrap();
        let gone = window.gone.clone().unwrap();
        assert!(gone.contains("cannot connect to") || gone.contains("in a row"), "{gone}");
        let right = window.latencies().len();
        assert!(right >= 5 && load.answered() == right as u64);
        let result = judged(workload, window);
        assert_eq!(causes(&result)[0], CauseKind::ServerDied);
        assert_eq!(result.validity.status, Judgement::Invalid);
    }
}

#[tokio::test]
async fn nobody_there_is_an_error_at_once() {
    let url = nowhere().await;
    let (result, rows) = measure(&url, &mut point(workload()), options(), &Cancel::new()).await;
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
    let (cancel, mut rows) = (Cancel::new(), Vec::new());
    let mut point = point(closed(2, 1000));
    let mut load = Load::new(&server.url, options(), cancel.clone()).unwrap();
    let stretch = Stretch::measured(point.plan(), 0);
    let window = load.run(&stretch, &mut point, |event| {
        if let LoadEvent::Row(row) = event {
            rows.push(row);
        }
        if rows.len() == 3 {
            cancel.cancel();
        }
    });
    let window = window.await.unwrap();
    assert_eq!((rows.len(), window.latencies().len()), (3, 3));
    assert!(window.abandoned <= 2, "{}", window.abandoned);
}

#[tokio::test]
async fn what_is_under_way_may_end_if_there_is_time() {
    // After three answers nothing comes until the load is cancelled.
    let gate = Arc::new(Notify::new());
    let opened = Arc::clone(&gate);
    let server = Server::start(move |asked| match asked.number {
        0..3 => Reply::right(&asked),
        _ => Reply::When(Arc::clone(&gate), Box::new(Reply::right(&asked))),
    })
    .await;
    let (cancel, mut rows) = (Cancel::new(), 0);
    let mut point = point(closed(2, 1000));
    let drain = SendOptions { drain: Duration::from_mins(1), ..options() };
    let mut load = Load::new(&server.url, drain, cancel.clone()).unwrap();
    let stretch = Stretch::measured(point.plan(), 0);
    let window = load.run(&stretch, &mut point, |event| {
        rows += u64::from(matches!(event, LoadEvent::Row(row) if row.ok));
        if rows == 3 {
            cancel.cancel();
        }
    });
    let open = async {
        cancel.cancelled().await;
        loop {
            opened.notify_waiters();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let window = tokio::select! {
        window = window => window.unwrap(),
        () = open => unreachable!("it goes on for ever"),
    };
    assert_eq!(window.abandoned, 0);
    assert!((3..1000).contains(&rows), "{rows}: it ends early");
}

#[tokio::test]
async fn a_cancelled_load_sends_nothing() {
    let cancel = Cancel::new();
    cancel.cancel();
    let url = nowhere().await;
    let (window, rows) = measure(&url, &mut point(workload()), options(), &cancel).await;
    assert!(window.unwrap().samples.is_empty() && rows.is_empty());
}

#[tokio::test]
async fn a_load_can_be_a_task_of_its_own() {
    let server = Server::start(|asked| Reply::right(&asked)).await;
    let url = server.url.clone();
    let task = tokio::spawn(async move { load(&url, workload(), options()).await.1.len() });
    assert_eq!(task.await.unwrap(), 4);
}

#[test]
fn addresses_that_cannot_be_loaded_are_refused() {
    let error = Load::new("https://localhost:1", options(), Cancel::new()).unwrap_err();
    assert!(matches!(error, LoadError::Https { .. }), "{error}");
}

#[test]
fn rows_are_flat_json_and_read_back() {
    let row = RequestRow {
        index: 3,
        request_id: "run-3".to_owned(),
        phase: Phase::Measure,
        point: "b4_l2".to_owned(),
        trial: 0,
        batch_size: 4,
        label_count: 2,
        worker: 1,
        prompt_tokens: None,
        output_tokens: None,
        intended: Nanos(1_000_000),
        sent: Some(Nanos(1_000_500)),
        first_byte: None,
        first_token: None,
        end: Nanos(3_500_000),
        latency_ms: 2.5,
        itl_ms: Vec::new(),
        request_bytes: xscope_trace::Bytes(120),
        response_bytes: xscope_trace::Bytes(0),
        status: None,
        ok: false,
        failure: Some(FailureKind::Timeout),
        error: Some("no answer within 0.0 s".to_owned()),
        cache_misses: None,
        server_ms: [("forward".to_owned(), 1.5)].into(),
    };
    let line = serde_json::to_string(&row).unwrap();
    assert_eq!(
        line,
        r#"{"index":3,"request_id":"run-3","phase":"measure","point":"b4_l2","trial":0,"batch_size":4,"label_count":2,"worker":1,"intended_ns":1000000,"sent_ns":1000500,"end_ns":3500000,"latency_ms":2.5,"request_bytes":120,"response_bytes":0,"ok":false,"failure":"timeout","error":"no answer within 0.0 s","server_ms":{"forward":1.5}}"#
    );
    assert_eq!(serde_json::from_str::<RequestRow>(&line).unwrap(), row);
}
