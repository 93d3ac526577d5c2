//! Many requests at once, too many, and a model that fails.

use std::{
    sync::{
        Arc, Barrier, Mutex,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use serde_json::json;
use xscope_engine::{Engine, EngineHandle, ForwardHook, stage::Stage, telemetry::RecordKind};

use crate::{
    client::{get, open, post_head, receive, score},
    config, shut_down, start,
};

/// Holds forward passes up: each says that it has begun, and waits for leave.
struct Gate {
    begun: Receiver<u64>,
    leave: SyncSender<()>,
}

fn gated(change: impl FnOnce(&mut xscope_engine::EngineConfig)) -> (EngineHandle, Gate) {
    let (began, begun) = sync_channel(1000);
    let (leave, left) = sync_channel(1000);
    let left = Mutex::new(left);
    let mut config = config(&std::env::temp_dir());
    config.before_forward = Some(ForwardHook(Arc::new(move |batch| {
        began.send(batch).ok();
        // Nobody to give leave any more: the test is over.
        left.lock().unwrap().recv().ok();
    })));
    change(&mut config);
    (Engine::start(config).unwrap(), Gate { begun, leave })
}

const BODY: &str = r#"{"query":[1],"items":[[2],[3]],"label_token_ids":[4,5]}"#;

fn body() -> serde_json::Value {
    serde_json::from_str(BODY).unwrap()
}

#[test]
fn answers_do_not_get_mixed_up() {
    let engine = start();
    let addr = engine.addr();
    let ask = |client: u32| {
        let items: Vec<[u32; 2]> = (0..3).map(|item| [client * 10 + item, item]).collect();
        let body = json!({ "query": [client], "items": items, "label_token_ids": [client, 9] });
        score(addr, &body).scores()
    };
    let alone: Vec<_> = (0..8).map(ask).collect();
    let barrier = Barrier::new(8);
    thread::scope(|scope| {
        for client in 0..8_u32 {
            let (barrier, alone) = (&barrier, &alone);
            thread::Builder::new()
                .name(format!("client {client}"))
                .spawn_scoped(scope, move || {
                    barrier.wait();
                    for _ in 0..5 {
                        let expected = &alone[usize::try_from(client).unwrap()];
                        for (found, expected) in
                            ask(client).iter().flatten().zip(expected.iter().flatten())
                        {
                            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
                        }
                    }
                })
                .unwrap();
        }
    });
}

#[test]
fn a_full_queue_says_when_to_come_back_and_recovers() {
    let (engine, gate) = gated(|config| config.queue_limit = 4);
    let addr = engine.addr();
    // The first is in the model, the next two fill the queue.
    let first = open(addr, &post_head("/v1/score"), BODY.as_bytes());
    assert_eq!(gate.begun.recv().unwrap(), 1);
    let waiting = [0, 1].map(|_| open(addr, &post_head("/v1/score"), BODY.as_bytes()));
    while !get(addr, "/metrics").body.contains("xscope_queue_items 4\n") {
        thread::yield_now();
    }
    let refused = score(addr, &body());
    assert_eq!(refused.status, 429, "{refused:?}");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.message().contains("4 items wait and the limit is 4"), "{refused:?}");

    gate.leave.send(()).unwrap();
    gate.leave.send(()).unwrap();
    assert_eq!(receive(first).status, 200);
    for stream in waiting {
        assert_eq!(receive(stream).status, 200);
    }
    gate.leave.send(()).unwrap();
    assert_eq!(score(addr, &body()).status, 200);
    assert!(get(addr, "/metrics").body.contains("xscope_queue_items 0\n"));
}

#[test]
fn a_batch_waits_for_company_if_told_to() {
    let mut config = config(&std::env::temp_dir());
    config.batch_wait = Duration::from_secs(600);
    config.max_batch_rows = 4;
    let engine = Engine::start(config).unwrap();
    let addr = engine.addr();
    let first = open(addr, &post_head("/v1/score"), BODY.as_bytes());
    while !get(addr, "/metrics").body.contains("xscope_queue_items 2\n") {
        thread::yield_now();
    }
    assert_eq!(score(addr, &body()).status, 200);
    assert_eq!(receive(first).status, 200);
    let recent = engine.recent();
    let batches: Vec<u64> = recent
        .records
        .iter()
        .filter(|record| record.kind == RecordKind::Stage(Stage::Forward))
        .map(|record| record.batch)
        .collect();
    assert_eq!(batches, [1, 1]);
}

#[test]
fn a_client_that_leaves_takes_its_items_along() {
    let (engine, gate) = gated(|_| {});
    let addr = engine.addr();
    let first = open(addr, &post_head("/v1/score"), BODY.as_bytes());
    assert_eq!(gate.begun.recv().unwrap(), 1);
    let gone = open(addr, &post_head("/v1/score"), BODY.as_bytes());
    while !get(addr, "/metrics").body.contains("xscope_queue_items 2\n") {
        thread::yield_now();
    }
    drop(gone);
    while !get(addr, "/metrics").body.contains(r#"route="/v1/score",status="499"} 1"#) {
        thread::yield_now();
    }
    gate.leave.send(()).unwrap();
    assert_eq!(receive(first).status, 200);
    gate.leave.send(()).unwrap();
    assert_eq!(score(addr, &body()).status, 200);
    assert_eq!(gate.begun.recv().unwrap(), 2);
    let metrics = get(addr, "/metrics").body;
    assert!(metrics.contains("xscope_items_dropped_total 2\n"), "{metrics}");
    assert!(metrics.contains("xscope_queue_items 0\n"), "{metrics}");
}

#[test]
fn a_panic_in_the_model_fails_its_batch_and_nothing_else() {
    let mut config = config(&std::env::temp_dir());
    config.max_batch_rows = 1;
    config.before_forward = Some(ForwardHook(Arc::new(|batch| {
        assert_ne!(batch, 2, "injected");
    })));
    let engine = Engine::start(config).unwrap();
    let reply = score(engine.addr(), &body());
    assert_eq!(reply.status, 500, "{reply:?}");
    assert_eq!(reply.json()["type"], "InternalServerError");
    assert!(reply.message().contains("injected"), "{reply:?}");
    assert_eq!(get(engine.addr(), "/health").status, 200);
    let sound = score(engine.addr(), &body()).scores();
    assert_eq!(sound, score(engine.addr(), &body()).scores());
    assert!(get(engine.addr(), "/metrics").body.contains("xscope_queue_items 0\n"));
}

#[test]
fn a_shutdown_answers_what_is_under_way() {
    let (engine, gate) = gated(|_| {});
    let addr = engine.addr();
    let stream = open(addr, &post_head("/v1/score"), BODY.as_bytes());
    assert_eq!(gate.begun.recv().unwrap(), 1);
    let closer = thread::Builder::new().name("closer".to_owned()).spawn(|| shut_down(engine));
    gate.leave.send(()).unwrap();
    assert_eq!(receive(stream).status, 200);
    closer.unwrap().join().unwrap();
    assert!(std::net::TcpStream::connect(addr).is_err());
}

#[test]
fn dropping_an_engine_ends_it() {
    let (engine, gate) = gated(|_| {});
    let addr = engine.addr();
    let running = open(addr, &post_head("/v1/score"), BODY.as_bytes());
    assert_eq!(gate.begun.recv().unwrap(), 1);
    let _waiting = open(addr, &post_head("/v1/score"), BODY.as_bytes());
    drop(gate);
    drop(engine);
    drop(running);
    assert!(std::net::TcpStream::connect(addr).is_err());
}
