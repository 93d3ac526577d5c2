//! What this machine's CPU can do, measured: the peaks that kernels are compared with.

use std::thread;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};

use crate::error::Result;

/// Side of the matrices that are multiplied.
const SIDE: usize = 1024;

/// Bytes that each thread copies: far more than caches hold.
const COPIED_BYTES: usize = 64 << 20;

/// The best of so many tries counts: others are disturbed.
const TRIES: u32 = 5;

/// Floating-point operations per second (of a product of f32 matrices, on all cores) and bytes per
/// second (read and written together, by copying on all cores).
///
/// # Errors
/// If there is no memory for it.
pub fn measure_cpu() -> Result<(f64, f64)> {
    let ones = Tensor::ones((SIDE, SIDE), DType::F32, &Device::Cpu)?;
    let mut product = Duration::MAX;
    for _ in 0..TRIES {
        let began = Instant::now();
        ones.matmul(&ones)?;
        product = product.min(began.elapsed());
    }
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let source = vec![1_u8; COPIED_BYTES * threads];
    let mut target = vec![0_u8; COPIED_BYTES * threads];
    let mut copy = Duration::MAX;
    for _ in 0..TRIES {
        let began = Instant::now();
        thread::scope(|scope| {
            let parts = source.chunks(COPIED_BYTES).zip(target.chunks_mut(COPIED_BYTES));
            for (source, target) in parts {
                scope.spawn(|| target.copy_from_slice(source));
            }
        });
        copy = copy.min(began.elapsed());
    }
    let operations = 2 * SIDE * SIDE * SIDE;
    Ok((rate(operations, product), rate(2 * source.len(), copy)))
}

#[expect(clippy::cast_precision_loss, reason = "a rate is shown to a few digits")]
fn rate(amount: usize, time: Duration) -> f64 {
    amount as f64 / time.as_secs_f64().max(1e-9)
}
