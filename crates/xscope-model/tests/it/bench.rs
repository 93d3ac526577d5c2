//! Benchmarks in process, on the tiny model.

use xscope_model::bench::{BatchLimits, OfflinePrompt, OneBatch, Repeat, offline, one_batch};
use xscope_trace::Nanos;

use crate::preset;

const ONCE: Repeat = Repeat { least: 6, most: 6, trial: Nanos(0), within: 0.5 };

#[test]
fn a_batch_has_a_prefill_and_a_step_for_each_further_token() {
    let model = preset();
    let batch = OneBatch { batch_size: 2, input_len: 4, output_len: 3 };
    let point = one_batch(&model, batch, &ONCE, 1).unwrap();
    assert_eq!((point.latency.n, point.trials.len()), (6, 6));
    assert_eq!(point.stream.ttft.as_ref().unwrap().n, 6);
    assert_eq!(point.stream.itl.as_ref().unwrap().n, 12);
    let scoring = one_batch(&model, OneBatch { output_len: 1, ..batch }, &ONCE, 1).unwrap();
    assert!(scoring.stream.itl.is_none());
    let most = model.max_prompt_tokens();
    for batch in [OneBatch { input_len: most, ..batch }, OneBatch { output_len: 0, ..batch }] {
        assert!(batch.check(&model).is_err(), "{batch:?}");
    }
}

#[test]
fn all_prompts_are_batched_in_order_and_counted() {
    let model = preset();
    let prompt = |len: u32, output_len| OfflinePrompt { tokens: (0..len).collect(), output_len };
    let prompts = [prompt(4, 1), prompt(8, 2), prompt(8, 1), prompt(20, 1), prompt(2, 3)];
    let limits = BatchLimits { rows: 2, tokens: 16 };
    let ran = offline(&model, &prompts, limits, 2).unwrap();
    // [4, 8], [8], [20, longer than a batch may be], [2]
    assert_eq!((ran.batches, ran.input_tokens, ran.output_tokens), (4, 42, 8));
    assert!((ran.padding_share - 4.0 / 46.0).abs() < 1e-9, "{}", ran.padding_share);
    assert_eq!(ran.point.trials.len(), 2);
    let (prompts_rate, tokens) = (&ran.point.requests_per_sec, &ran.point.input_tokens_per_sec);
    let ratio = tokens.value.unwrap() / prompts_rate.value.unwrap();
    assert!((ratio - 42.0 / 5.0).abs() < 1e-9);
    assert!(offline(&model, &[], limits, 2).is_err());
    assert!(offline(&model, &[prompt(1, 0)], limits, 2).is_err());
}
