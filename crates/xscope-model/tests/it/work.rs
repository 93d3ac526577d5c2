//! What the recorder says of a forward pass.

use std::collections::{BTreeMap, BTreeSet};

use xscope_model::{OpRecorder, PaddedBatch, category};

use crate::preset;

#[test]
fn every_scope_of_the_layer_tree_is_there() {
    let (model, mut rec) = (preset(), OpRecorder::new());
    let batch = PaddedBatch { tokens: vec![vec![1, 2, 3], vec![4]], least_len: 0 };
    model.forward(&batch, &mut rec).unwrap();
    let paths: BTreeSet<&str> =
        rec.scopes().iter().map(|record| rec.scope_path(record.scope)).collect();
    let layer = [
        "",
        "/input_norm",
        "/attention",
        "/attention/qkv_proj",
        "/attention/q_norm",
        "/attention/k_norm",
        "/attention/rope",
        "/attention/qk",
        "/attention/softmax",
        "/attention/output",
        "/attention/o_proj",
        "/post_attention_norm",
        "/mlp",
        "/mlp/gate_proj",
        "/mlp/up_proj",
        "/mlp/act",
        "/mlp/down_proj",
    ];
    let layers = (0..4).flat_map(|index| layer.map(|part| format!("layer_{index}{part}")));
    let expected: BTreeSet<String> =
        ["embed", "norm", "logits"].map(str::to_owned).into_iter().chain(layers).collect();
    assert_eq!(paths, expected.iter().map(String::as_str).collect());
}

#[test]
fn work_is_exact() {
    let (model, mut rec) = (preset(), OpRecorder::new());
    let (rows, len) = (3, 8);
    let batch = PaddedBatch { tokens: vec![(0..8).collect(), vec![4], vec![5; 7]], least_len: 0 };
    assert_eq!((batch.real_tokens(), batch.padded_tokens()), (16, 24));
    model.forward(&batch, &mut rec).unwrap();

    let mut flops: BTreeMap<&str, u64> = BTreeMap::new();
    for op in rec.ops().iter().filter(|op| op.category == category::MATMUL) {
        *flops.entry(rec.scope_path(op.scope)).or_default() += op.flops;
    }
    let tokens = rows * len;
    for (scope, expected) in [
        ("layer_0/attention/qkv_proj", 2 * tokens * 256 * (256 + 2 * 128)),
        ("layer_0/attention/qk", 2 * rows * 8 * len * len * 32),
        ("layer_0/attention/output", 2 * rows * 8 * len * len * 32),
        ("layer_3/attention/o_proj", 2 * tokens * 256 * 256),
        ("layer_3/mlp/gate_proj", 2 * tokens * 256 * 768),
        ("layer_3/mlp/down_proj", 2 * tokens * 256 * 768),
        ("logits", 2 * rows * 256 * 4096),
    ] {
        assert_eq!(flops[scope], expected, "{scope}");
    }
}

#[test]
fn operations_lie_in_their_scopes_and_are_the_same_every_time() {
    let (model, mut rec) = (preset(), OpRecorder::new());
    let batch = PaddedBatch { tokens: vec![vec![1, 2, 3]], least_len: 0 };
    let mut run = || {
        rec.clear();
        model.forward(&batch, &mut rec).unwrap();
        for op in rec.ops() {
            let scope = rec.scopes().iter().find(|record| record.scope == op.scope).unwrap();
            assert!(scope.start <= op.start);
            assert!(op.start + op.dur <= scope.start + scope.dur, "{}", op.op);
        }
        rec.ops().iter().map(|op| (op.scope, op.op, op.flops, op.bytes)).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

#[test]
fn scores_are_the_same_with_recording_off() {
    let (model, mut rec) = (preset(), OpRecorder::new());
    let batch = PaddedBatch { tokens: vec![vec![1, 2, 3]], least_len: 0 };
    let on = model.forward(&batch, &mut rec).unwrap();
    rec.clear();
    rec.set_enabled(false);
    assert_eq!(model.forward(&batch, &mut rec).unwrap(), on);
    assert!(rec.ops().is_empty());
}
