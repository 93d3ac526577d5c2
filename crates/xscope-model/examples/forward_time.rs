//! How long a forward pass of the built-in model takes, and what recording it costs.
//!
//! ```text
//! cargo run --release -p xscope-model --example forward_time
//! ```

#![expect(clippy::print_stdout, reason = "the figures are the program's output")]

use xscope_model::{
    Device, LoadFormat, Model, ModelOptions, ModelSource, Op, OpRecorder, PaddedBatch, Result,
};
use xscope_trace::{Nanos, clock};

const PROMPT_TOKENS: u32 = 32;
const REPEATS: usize = 201;
const OPS: usize = 100_000;

fn main() -> Result<()> {
    let options = ModelOptions {
        format: LoadFormat::Dummy,
        config_overrides: None,
        seed: 0,
        device: Device::Cpu,
    };
    let model = Model::load(&ModelSource::Preset, &options)?;
    let mut rec = OpRecorder::new();
    for rows in [1, 4, 8, 32] {
        let batch = PaddedBatch { tokens: vec![(0..PROMPT_TOKENS).collect(); rows], least_len: 0 };
        // On and off in turn, so that a machine that grows slower or faster hits both alike.
        let mut times = [Vec::new(), Vec::new()];
        for repeat in 0..2 * REPEATS {
            let enabled = repeat % 2 == 0;
            rec.set_enabled(enabled);
            rec.clear();
            let start = clock::monotonic();
            model.forward(&batch, &mut rec)?;
            times[usize::from(enabled)].push(clock::monotonic() - start);
        }
        let [off, on] = times.map(median);
        println!(
            "{rows} prompts of {PROMPT_TOKENS} tokens: median of {REPEATS} {:.3} ms recorded, \
             {:.3} ms not",
            on.as_millis(),
            off.as_millis(),
        );
    }

    rec.set_enabled(true);
    let op = Op::elementwise("nothing", 0, 0, 0);
    for _warm in 0..2 {
        rec.clear();
        let start = clock::monotonic();
        for _ in 0..OPS {
            rec.op(op, || ());
        }
        let total = clock::monotonic() - start;
        let each = total.0 / i64::try_from(OPS).unwrap_or(1);
        println!("{each} ns per recorded operation, mean of {OPS}");
    }
    Ok(())
}

fn median(mut times: Vec<Nanos>) -> Nanos {
    times.sort_unstable();
    times[times.len() / 2]
}
