//! The forward pass: padding, batches, and what cannot be run.

use xscope_model::{LoadFormat, Model, ModelOptions, ModelSource, OpRecorder, PaddedBatch};

use crate::{OPTIONS, fixture, logits, max_difference, preset};

fn prompt(len: u32, seed: u32) -> Vec<u32> {
    (0..len).map(|position| (position * 37 + seed * 101) % 4096).collect()
}

#[test]
fn padding_changes_nothing() {
    let model = preset();
    let prompts = [prompt(3, 1), prompt(50, 2), prompt(1, 3), prompt(17, 4)];
    let together = logits(&model, &prompts);
    for (prompt, together) in prompts.iter().zip(&together) {
        let alone = logits(&model, std::slice::from_ref(prompt));
        assert!(max_difference(&alone[0], together) < 1e-4, "{} tokens", prompt.len());
    }
}

#[test]
fn different_prompts_score_differently_and_equal_ones_alike() {
    let model = preset();
    let rows = logits(&model, &[prompt(9, 1), prompt(9, 2), prompt(9, 1)]);
    assert!(max_difference(&rows[0], &rows[1]) > 0.1);
    assert_eq!(rows[0], rows[2]);
    assert_eq!(logits(&preset(), &[prompt(9, 1)])[0].len(), 4096);
}

#[test]
fn batches_that_cannot_run_say_why() {
    let model = preset();
    let too_long = vec![0; model.max_prompt_tokens() + 1];
    for (tokens, expected) in [
        (vec![], "it has no prompt"),
        (vec![vec![1], vec![]], "prompt 1 has no token"),
        (vec![too_long], "prompt 0 has 4097 tokens, at most 4096 fit"),
        (vec![vec![0; 4096]; 9], "9 prompts of up to 4096 tokens do not fit in memory at once, 8"),
        (vec![vec![5, 4096]], "prompt 0 has token id 4096, the model's go from 0 to 4095"),
    ] {
        let error = model
            .forward(&PaddedBatch { tokens, least_len: 0 }, &mut OpRecorder::new())
            .unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn dummy_weights_need_no_file_but_the_config() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(fixture("qwen3").join("config.json"), dir.path().join("config.json")).unwrap();
    let source = ModelSource::Dir(dir.path().to_owned());
    let options = ModelOptions {
        format: LoadFormat::Dummy,
        config_overrides: Some(r#"{"num_hidden_layers": 1}"#.to_owned()),
        ..OPTIONS
    };
    let model = Model::load(&source, &options).unwrap();
    assert_eq!(model.config().num_hidden_layers, 1);
    assert!(logits(&model, &[vec![1, 2, 3]])[0].iter().all(|logit| logit.is_finite()));

    let error = Model::load(&source, &OPTIONS).unwrap_err();
    assert!(error.to_string().contains("load with format dummy"), "{error}");
}

#[test]
fn weights_that_do_not_fit_the_config_are_named() {
    for (overrides, expected) in [
        (r#"{"num_hidden_layers": 3}"#, "tensor model.layers.2.input_layernorm.weight"),
        (r#"{"intermediate_size": 97}"#, "but the model's config asks for [97, 64]"),
        (r#"{"attention_bias": true}"#, "tensor model.layers.0.self_attn.q_proj.bias"),
    ] {
        let options = ModelOptions { config_overrides: Some(overrides.to_owned()), ..OPTIONS };
        let error = Model::load(&ModelSource::Dir(fixture("qwen3")), &options).unwrap_err();
        assert!(error.to_string().contains(expected), "{overrides}: {error}");
    }
}

#[test]
fn decoding_gives_what_a_longer_prompt_gives() {
    let (model, mut rec) = (preset(), OpRecorder::new());
    // Rows of different lengths, so that each is at its own position.
    let mut tokens = vec![vec![1, 2, 3, 4, 5], vec![6, 7], vec![8, 9, 10]];
    let batch = PaddedBatch { tokens: tokens.clone(), least_len: 0 };
    let (logits, mut cache) = model.prefill(&batch, 8, &mut rec).unwrap();
    let mut found = logits;
    for step in 0..4 {
        let expected = crate::logits(&model, &tokens);
        for (row, expected) in found.rows().zip(&expected) {
            assert!(max_difference(row, expected) < 1e-4, "step {step}");
        }
        if step == 3 {
            break;
        }
        let next = found.likeliest();
        for (row, &token) in tokens.iter_mut().zip(&next) {
            row.push(token);
        }
        found = model.decode(&mut cache, &next, &mut rec).unwrap();
    }
    assert_eq!(cache.lens(), [8, 5, 6]);
    let error = model.decode(&mut cache, &[1, 1, 1], &mut rec).unwrap_err().to_string();
    assert!(error.contains("a row is full: it has 8 tokens"), "{error}");
    let error = model.decode(&mut cache, &[1], &mut rec).unwrap_err().to_string();
    assert!(error.contains("1 next tokens for 3 prompts"), "{error}");
    let error = model.prefill(&batch, 4, &mut rec).unwrap_err().to_string();
    assert!(error.contains("from 5 to"), "{error}");
}
