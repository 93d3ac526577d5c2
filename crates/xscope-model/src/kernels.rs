//! Single operations of the engine at sizes of one's choice, with inputs that are the same on
//! every machine and answers that are checked.
//!
//! They are the operations that the forward pass and decoding are made of (a mixture of experts is
//! in no model of the engine, but is built of the same parts), run on the engine's device in f32.
//! [`Kernel::check`] compares a sample of the answer with a naive computation in f64.
//!
//! Work is counted by the definition of the operation: multiplications and additions as in
//! `crate::ops`, and bytes as if each input were read once and each result written once. What an
//! implementation does beyond that (a matrix of scores that goes to memory and back) makes it
//! slower, not larger.

use candle_core::Tensor;
use serde::Serialize;
use xscope_trace::{Bytes, clock};

use crate::{
    batch::MAX_TENSOR_ELEMENTS,
    cache::LayerCache,
    error::{ModelError, Result},
    layers::{Heads, Linear, Mlp},
    machine::measure_cpu,
    model::{Device, open_device},
    moe::{Moe, route},
    ops::{OpRecorder, count},
    step::Step,
};

/// Elements of the answer that are compared with the naive computation: so many if that takes no
/// more multiplications than this, but a few in any case.
const CHECKED: usize = 256;
const CHECK_COST: usize = 1 << 27;
const CHECKED_AT_LEAST: usize = 4;

/// A kernel and its sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "kernel", rename_all = "snake_case")]
pub enum KernelShape {
    /// `[m, k]` by the transposed `[n, k]`, as a linear layer does it.
    Matmul { m: usize, n: usize, k: usize },
    /// Causal attention of the last `queries` of `keys` tokens.
    Attention {
        batch: usize,
        heads: usize,
        kv_heads: usize,
        head_dim: usize,
        queries: usize,
        keys: usize,
    },
    /// Keys and values of `tokens` tokens written in place into a cache for `capacity`, in its
    /// middle.
    KvUpdate { batch: usize, kv_heads: usize, head_dim: usize, tokens: usize, capacity: usize },
    /// Each token through `top_k` of `experts` gated MLPs; the router's logits are an input.
    Moe { tokens: usize, hidden: usize, inner: usize, experts: usize, top_k: usize },
}

impl KernelShape {
    /// The kernel without its sizes.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Matmul { .. } => "matmul",
            Self::Attention { .. } => "attention",
            Self::KvUpdate { .. } => "kv_update",
            Self::Moe { .. } => "moe",
        }
    }

    /// Floating-point operations, by definition.
    pub fn flops(&self) -> u64 {
        match self.sizes().map(count) {
            [m, n, k, ..] if self.kind() == "matmul" => 2 * m * n * k,
            [batch, heads, _, dim, queries, keys] if self.kind() == "attention" => {
                // Two multiplications, and a scale, a mask and a softmax of five.
                batch * heads * queries * keys * (4 * dim + 7)
            }
            [tokens, hidden, inner, _, top_k, _] if self.kind() == "moe" => {
                // Three multiplications, the activation, and the weighted sum.
                tokens * top_k * (6 * hidden * inner + 5 * inner + 2 * hidden)
            }
            _ => 0,
        }
    }

    /// Bytes of all inputs and results.
    pub fn bytes(&self) -> Bytes {
        let elements = match *self {
            Self::Matmul { m, n, k } => m * k + k * n + m * n,
            Self::Attention { batch, heads, kv_heads, head_dim, queries, keys } => {
                batch * head_dim * (2 * heads * queries + 2 * kv_heads * keys)
            }
            Self::KvUpdate { batch, kv_heads, head_dim, tokens, .. } => {
                4 * batch * kv_heads * tokens * head_dim
            }
            Self::Moe { tokens, hidden, inner, experts, top_k } => {
                let used = experts.min(tokens * top_k);
                tokens * (2 * hidden + experts) + used * 3 * hidden * inner
            }
        };
        Bytes(4 * count(elements))
    }

    /// All sizes in the order of their fields; what is not there is 0.
    fn sizes(&self) -> [usize; 6] {
        match *self {
            Self::Matmul { m, n, k } => [m, n, k, 0, 0, 0],
            Self::Attention { batch, heads, kv_heads, head_dim, queries, keys } => {
                [batch, heads, kv_heads, head_dim, queries, keys]
            }
            Self::KvUpdate { batch, kv_heads, head_dim, tokens, capacity } => {
                [batch, kv_heads, head_dim, tokens, capacity, 0]
            }
            Self::Moe { tokens, hidden, inner, experts, top_k } => {
                [tokens, hidden, inner, experts, top_k, 0]
            }
        }
    }

    /// # Errors
    ///
    /// Sizes that make no kernel, or one that does not fit.
    pub fn check(&self) -> Result<()> {
        let (used, largest) = match *self {
            Self::Matmul { m, n, k } => (3, [product(&[m, k]), product(&[n, k]), product(&[m, n])]),
            Self::Attention { batch, heads, kv_heads, head_dim, queries, keys } => {
                if kv_heads == 0 || heads % kv_heads != 0 {
                    return wrong(self, "heads must be a multiple of those of keys and values");
                }
                if queries > keys {
                    return wrong(self, "queries are the last of the keys, so at most as many");
                }
                let scores = product(&[batch, heads, queries, keys.max(head_dim)]);
                (6, [scores, product(&[batch, kv_heads, keys, head_dim]), 0])
            }
            Self::KvUpdate { batch, kv_heads, head_dim, tokens, capacity } => {
                if tokens > capacity {
                    return wrong(self, "more tokens than the cache has room for");
                }
                (5, [product(&[batch, kv_heads, head_dim, capacity]), 0, 0])
            }
            Self::Moe { tokens, hidden, inner, experts, top_k } => {
                if top_k > experts {
                    return wrong(self, "a token has at most all experts");
                }
                let weights = product(&[experts, hidden, inner]);
                (5, [weights, product(&[tokens, top_k, hidden.max(inner)]), tokens])
            }
        };
        if self.sizes()[..used].contains(&0) {
            return wrong(self, "all sizes must be at least 1");
        }
        match largest.iter().any(|&elements| elements > MAX_TENSOR_ELEMENTS) {
            true => wrong(self, "it needs a tensor of more than 4 GiB"),
            false => Ok(()),
        }
    }
}

/// The kernels' sizes in the order of their fields: what they are called, and what they are if
/// nobody says (a layer of a small model).
const SIZES: [(&str, &[(&str, usize)]); 4] = [
    ("matmul", &[("m", 128), ("n", 1024), ("k", 1024)]),
    ("attention", &[("b", 4), ("h", 16), ("kv", 8), ("d", 64), ("q", 128), ("k", 128)]),
    ("kv_update", &[("b", 8), ("kv", 8), ("d", 64), ("t", 1), ("c", 1024)]),
    ("moe", &[("t", 64), ("h", 256), ("i", 256), ("e", 8), ("k", 2)]),
];

impl KernelShape {
    /// Every kernel at its usual sizes.
    pub fn usual() -> Vec<Self> {
        SIZES.iter().filter_map(|(kind, sizes)| Self::of(kind, &values(sizes))).collect()
    }

    /// Reads `matmul`, `attention:q=1,k=1024`, or, with several values of a size, all combinations:
    /// `matmul:m=1/8/64`. Sizes that are not named are the usual ones.
    ///
    /// # Errors
    ///
    /// What is no kernel or size, with those that there are.
    pub fn parse(text: &str) -> Result<Vec<Self>, String> {
        let (kind, given) = text.split_once(':').unwrap_or((text, ""));
        let Some((_, sizes)) = SIZES.iter().find(|(known, _)| *known == kind) else {
            let known: Vec<&str> = SIZES.iter().map(|(known, _)| *known).collect();
            return Err(format!("{kind:?} is no kernel; there are {}", known.join(", ")));
        };
        let mut all = vec![values(sizes)];
        for part in given.split(',').filter(|part| !part.is_empty()) {
            let (name, text) = part.split_once('=').unwrap_or((part, ""));
            let Some(at) = sizes.iter().position(|(known, _)| *known == name) else {
                let known: Vec<&str> = sizes.iter().map(|(known, _)| *known).collect();
                return Err(format!("{kind} has no size {name:?}; it has {}", known.join(", ")));
            };
            let parsed = text.split('/').map(str::parse::<u32>).collect::<Result<Vec<_>, _>>();
            let parsed = parsed.map_err(|error| format!("{kind}: {name}={text}: {error}"))?;
            let with = |sizes: &Vec<usize>, value: u32| {
                let mut sizes = sizes.clone();
                sizes[at] = value as usize;
                sizes
            };
            let pairs = all.iter().flat_map(|sizes| parsed.iter().map(|&value| with(sizes, value)));
            all = pairs.collect();
        }
        let shapes = all.iter().filter_map(|sizes| Self::of(kind, sizes));
        shapes.map(|shape| shape.check().map(|()| shape).map_err(|e| e.to_string())).collect()
    }

    fn of(kind: &str, sizes: &[usize]) -> Option<Self> {
        match (kind, sizes) {
            ("matmul", &[m, n, k]) => Some(Self::Matmul { m, n, k }),
            ("attention", &[batch, heads, kv_heads, head_dim, queries, keys]) => {
                Some(Self::Attention { batch, heads, kv_heads, head_dim, queries, keys })
            }
            ("kv_update", &[batch, kv_heads, head_dim, tokens, capacity]) => {
                Some(Self::KvUpdate { batch, kv_heads, head_dim, tokens, capacity })
            }
            ("moe", &[tokens, hidden, inner, experts, top_k]) => {
                Some(Self::Moe { tokens, hidden, inner, experts, top_k })
            }
            _ => None,
        }
    }
}

fn values(sizes: &[(&str, usize)]) -> Vec<usize> {
    sizes.iter().map(|(_, value)| *value).collect()
}

/// As in names of points: `matmul_m32_n4096_k4096`.
impl std::fmt::Display for KernelShape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind())?;
        let named = SIZES.iter().find(|(kind, _)| *kind == self.kind());
        let names = named.map_or([].as_slice(), |(_, sizes)| *sizes);
        names.iter().zip(self.sizes()).try_for_each(|((name, _), size)| write!(f, "_{name}{size}"))
    }
}

fn product(sizes: &[usize]) -> usize {
    sizes.iter().fold(1, |product, &size| product.saturating_mul(size))
}

fn wrong<T>(shape: &KernelShape, problem: &str) -> Result<T> {
    Err(ModelError::Kernel { shape: shape.to_string(), problem: problem.to_owned() })
}

/// What a device can do, measured: floating-point operations and bytes per second.
///
/// The processor's are those of [`measure_cpu`]; another device's the best of a few large
/// multiplications and copies.
///
/// # Errors
///
/// The device is not there or has no room.
pub fn measure_peaks(device: Device) -> Result<(f64, f64)> {
    const RUNS: usize = 8;
    if device == Device::Cpu {
        return measure_cpu();
    }
    let shape = KernelShape::Matmul { m: 1024, n: 1024, k: 1024 };
    let matmul = best_secs(RUNS, &Kernel::new(shape, device)?)?;
    let flops = per_sec(shape.flops(), matmul);
    let shape = KernelShape::KvUpdate {
        batch: 1,
        kv_heads: 1,
        head_dim: 1024,
        tokens: 1 << 15,
        capacity: 1 << 15,
    };
    let copy = best_secs(RUNS, &Kernel::new(shape, device)?)?;
    Ok((flops, per_sec(shape.bytes().0, copy)))
}

fn best_secs(runs: usize, kernel: &Kernel) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..runs {
        let began = clock::monotonic();
        kernel.run()?;
        best = best.min((clock::monotonic() - began).as_millis() / 1e3);
    }
    Ok(best)
}

#[expect(clippy::cast_precision_loss, reason = "a derived rate")]
fn per_sec(work: u64, secs: f64) -> f64 {
    work as f64 / secs.max(f64::MIN_POSITIVE)
}

/// A kernel with its inputs on a device.
#[derive(Debug)]
pub struct Kernel {
    shape: KernelShape,
    inputs: Inputs,
}

#[derive(Debug)]
enum Inputs {
    Matmul { x: Tensor, layer: Linear },
    Attention { heads: Heads, step: Step, q: Tensor, k: Tensor, v: Tensor },
    KvUpdate { cache: LayerCache, step: Step, k: Tensor, v: Tensor },
    Moe { moe: Moe, x: Tensor, logits: Tensor },
}

impl Kernel {
    /// Makes the inputs.
    ///
    /// # Errors
    ///
    /// Those of [`KernelShape::check`]; a device that is not there or has no room.
    pub fn new(shape: KernelShape, device: Device) -> Result<Self> {
        shape.check()?;
        let device = open_device(device)?;
        let input = |salt: u32, dims: &[usize]| -> Result<Tensor> {
            let values = input_values(salt, dims.iter().product(), scale_of(dims, salt));
            Ok(Tensor::from_vec(values, dims, &device)?)
        };
        let weights = |salt, dims: &[usize]| input(salt, dims).map(|of| Linear::new(of, None));
        let inputs = match shape {
            KernelShape::Matmul { m, n, k } => {
                Inputs::Matmul { x: input(0, &[m, k])?, layer: weights(WEIGHTS, &[n, k])? }
            }
            KernelShape::Attention { batch, heads, kv_heads, head_dim, queries, keys } => {
                Inputs::Attention {
                    heads: Heads { heads, kv_heads, head_dim },
                    step: step(batch, queries, keys, &device)?,
                    q: input(0, &[batch, heads, queries, head_dim])?,
                    k: input(1, &[batch, kv_heads, keys, head_dim])?,
                    v: input(2, &[batch, kv_heads, keys, head_dim])?,
                }
            }
            KernelShape::KvUpdate { batch, kv_heads, head_dim, tokens, capacity } => {
                let first = (capacity - tokens) / 2;
                let mut step = step(batch, 1, first + tokens, &device)?;
                step.first = vec![first; batch];
                Inputs::KvUpdate {
                    cache: LayerCache::new((batch, kv_heads, capacity, head_dim), &device)?,
                    step,
                    k: input(0, &[batch, kv_heads, tokens, head_dim])?,
                    v: input(1, &[batch, kv_heads, tokens, head_dim])?,
                }
            }
            KernelShape::Moe { tokens, hidden, inner, experts, top_k } => {
                let expert = |expert: usize| -> Result<Mlp> {
                    let salt = WEIGHTS + 3 * u32::try_from(expert).unwrap_or(0);
                    Ok(Mlp {
                        gate_proj: weights(salt, &[inner, hidden])?,
                        up_proj: weights(salt + 1, &[inner, hidden])?,
                        down_proj: weights(salt + 2, &[hidden, inner])?,
                    })
                };
                let experts_made = (0..experts).map(expert).collect::<Result<_>>()?;
                Inputs::Moe {
                    moe: Moe { experts: experts_made, top_k },
                    x: input(0, &[tokens, hidden])?,
                    logits: input(1, &[tokens, experts])?,
                }
            }
        };
        Ok(Self { shape, inputs })
    }

    pub fn shape(&self) -> KernelShape {
        self.shape
    }

    /// Runs it once, to its end on the device.
    ///
    /// # Errors
    ///
    /// The tensor library fails.
    pub fn run(&self) -> Result<()> {
        let answer = self.answer()?;
        answer.device().synchronize()?;
        Ok(())
    }

    fn answer(&self) -> Result<Tensor> {
        let mut rec = OpRecorder::new();
        rec.set_enabled(false);
        match &self.inputs {
            Inputs::Matmul { x, layer } => layer.forward(x, &mut rec),
            Inputs::Attention { heads, step, q, k, v } => heads.attend(q, k, v, step, &mut rec),
            Inputs::KvUpdate { cache, step, k, v } => Ok(cache.append(k, v, step, &mut rec)?.0),
            Inputs::Moe { moe, x, logits } => moe.forward(x, logits, &mut rec),
        }
    }

    /// The largest difference from the naive computation, over the largest value of it.
    ///
    /// # Errors
    ///
    /// The tensor library fails.
    pub fn check(&self) -> Result<f64> {
        let answer = self.answer()?.contiguous()?.flatten_all()?.to_vec1::<f32>()?;
        Ok(error_of(&self.shape, &answer))
    }
}

/// A step of causal attention without rotation.
fn step(batch: usize, len: usize, keys: usize, device: &candle_core::Device) -> Result<Step> {
    let sees = |query: usize| {
        (0..keys).map(move |key| if key <= keys - len + query { 0.0 } else { f32::NEG_INFINITY })
    };
    let mask: Vec<f32> = (0..len).flat_map(sees).collect();
    let none = Tensor::zeros((0, 0), candle_core::DType::F32, device)?;
    Ok(Step {
        batch,
        len,
        keys,
        first: vec![keys - len; batch],
        cos: none.clone(),
        sin: none,
        mask: Tensor::from_vec(mask, (len, keys), device)?,
    })
}

/// Inputs with this number and above are weights.
const WEIGHTS: u32 = 16;

/// Weights are scaled so that results are about as large as inputs.
fn scale_of(dims: &[usize], salt: u32) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "a width is below 2^24")]
    let width = dims.last().map_or(1.0, |&width| width as f32);
    if salt >= WEIGHTS { (3.0 / width).sqrt() } else { 1.0 }
}

/// Numbers between `-scale` and `scale` from their place alone, so that other programs make the
/// same ones: 32-bit arithmetic that wraps, and 24 of the bits.
pub fn input_values(salt: u32, len: usize, scale: f32) -> Vec<f32> {
    (0..len).map(|place| input_value(salt, place, scale)).collect()
}

fn input_value(salt: u32, place: usize, scale: f32) -> f32 {
    // The low bits are all that counts: the hash is of a 32-bit number.
    let place = u32::try_from(place & 0xffff_ffff).unwrap_or(0);
    let mut x = place.wrapping_mul(0x9e37_79b1).wrapping_add(salt.wrapping_mul(0x85eb_ca77));
    x = (x ^ (x >> 16)).wrapping_mul(0x85eb_ca6b);
    x = (x ^ (x >> 13)).wrapping_mul(0xc2b2_ae35);
    x ^= x >> 16;
    #[expect(clippy::cast_precision_loss, reason = "24 bits fit an f32")]
    let unit = (x >> 8) as f32 / 8_388_608.0 - 1.0;
    unit * scale
}

/// How far an answer is from the naive one, over the largest value of the latter; infinite if it
/// has another length or holds what is no number.
pub fn error_of(shape: &KernelShape, answer: &[f32]) -> f64 {
    let reference = Reference { shape: *shape };
    if answer.len() != reference.len() {
        return f64::INFINITY;
    }
    let affordable = (CHECK_COST / reference.cost().max(1)).clamp(CHECKED_AT_LEAST, CHECKED);
    let stride = (answer.len() / affordable).max(1);
    let (mut worst, mut largest) = (0.0_f64, f64::MIN_POSITIVE);
    // Not the same column of every row: strides are odd.
    for place in (0..answer.len()).step_by(stride | 1) {
        let (expected, found) = (reference.at(place), f64::from(answer[place]));
        if !found.is_finite() {
            return f64::INFINITY;
        }
        worst = worst.max((found - expected).abs());
        largest = largest.max(expected.abs());
    }
    worst / largest
}

/// The naive computation, one element at a time, in f64.
struct Reference {
    shape: KernelShape,
}

impl Reference {
    fn len(&self) -> usize {
        match self.shape {
            KernelShape::Matmul { m, n, .. } => m * n,
            KernelShape::Attention { batch, heads, head_dim, queries, .. } => {
                batch * queries * heads * head_dim
            }
            KernelShape::KvUpdate { batch, kv_heads, head_dim, tokens, capacity } => {
                batch * kv_heads * ((capacity - tokens) / 2 + tokens) * head_dim
            }
            KernelShape::Moe { tokens, hidden, .. } => tokens * hidden,
        }
    }

    /// Multiplications for one element.
    fn cost(&self) -> usize {
        match self.shape {
            KernelShape::Matmul { k, .. } => k,
            KernelShape::Attention { head_dim, keys, .. } => product(&[head_dim, keys]),
            KernelShape::KvUpdate { .. } => 1,
            KernelShape::Moe { hidden, inner, top_k, .. } => product(&[2, hidden, inner, top_k]),
        }
    }

    fn at(&self, place: usize) -> f64 {
        match self.shape {
            KernelShape::Matmul { n, k, .. } => {
                let (row, column) = (place / n, place % n);
                dot(k, |i| input(0, row * k + i), |i| weight(WEIGHTS, k, column * k + i))
            }
            KernelShape::Attention { .. } => self.attention(place),
            KernelShape::KvUpdate { head_dim, tokens, capacity, .. } => {
                let first = (capacity - tokens) / 2;
                let (token, column) = (place / head_dim, place % head_dim);
                let (head, token) = (token / (first + tokens), token % (first + tokens));
                match token.checked_sub(first) {
                    Some(token) => input(0, (head * tokens + token) * head_dim + column),
                    None => 0.0,
                }
            }
            KernelShape::Moe { .. } => self.moe(place),
        }
    }

    fn attention(&self, place: usize) -> f64 {
        let KernelShape::Attention { heads, kv_heads, head_dim, queries, keys, .. } = self.shape
        else {
            return f64::NAN;
        };
        let (token, rest) = (place / (heads * head_dim), place % (heads * head_dim));
        let (row, query) = (token / queries, token % queries);
        let (head, column) = (rest / head_dim, rest % head_dim);
        let q = ((row * heads + head) * queries + query) * head_dim;
        let kv = (row * kv_heads + head / (heads / kv_heads)) * keys * head_dim;
        let scale = f64::from(u32::try_from(head_dim).unwrap_or(1)).sqrt().recip();
        let seen = keys - queries + query + 1;
        let exps = (0..seen).map(|key| {
            let k = kv + key * head_dim;
            (scale * dot(head_dim, |i| input(0, q + i), |i| input(1, k + i))).exp()
        });
        let (mut sum, mut mixed) = (0.0, 0.0);
        for (key, exp) in exps.enumerate() {
            sum += exp;
            mixed += exp * input(2, kv + key * head_dim + column);
        }
        mixed / sum
    }

    fn moe(&self, place: usize) -> f64 {
        let KernelShape::Moe { hidden, inner, experts, top_k, .. } = self.shape else {
            return f64::NAN;
        };
        let (token, column) = (place / hidden, place % hidden);
        let logits: Vec<f32> =
            (0..experts).map(|expert| input_value(1, token * experts + expert, 1.0)).collect();
        let answer = |(expert, share): (usize, f32)| {
            let salt = WEIGHTS + 3 * u32::try_from(expert).unwrap_or(0);
            let project = |salt, row: usize| {
                dot(
                    hidden,
                    |i| input(0, token * hidden + i),
                    |i| weight(salt, hidden, row * hidden + i),
                )
            };
            let inside = |row| {
                let gate = project(salt, row);
                gate / (1.0 + (-gate).exp()) * project(salt + 1, row)
            };
            let down = |row| weight(salt + 2, inner, column * inner + row);
            f64::from(share) * dot(inner, inside, down)
        };
        route(&logits, top_k).into_iter().map(answer).sum()
    }
}

fn input(salt: u32, place: usize) -> f64 {
    f64::from(input_value(salt, place, 1.0))
}

fn weight(salt: u32, width: usize, place: usize) -> f64 {
    f64::from(input_value(salt, place, scale_of(&[width], salt)))
}

fn dot(len: usize, a: impl Fn(usize) -> f64, b: impl Fn(usize) -> f64) -> f64 {
    (0..len).map(|i| a(i) * b(i)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPES: [KernelShape; 6] = [
        KernelShape::Matmul { m: 5, n: 7, k: 33 },
        KernelShape::Attention {
            batch: 2,
            heads: 4,
            kv_heads: 2,
            head_dim: 8,
            queries: 5,
            keys: 9,
        },
        KernelShape::Attention {
            batch: 3,
            heads: 2,
            kv_heads: 2,
            head_dim: 4,
            queries: 1,
            keys: 6,
        },
        KernelShape::KvUpdate { batch: 2, kv_heads: 3, head_dim: 4, tokens: 2, capacity: 7 },
        KernelShape::KvUpdate { batch: 1, kv_heads: 1, head_dim: 2, tokens: 3, capacity: 3 },
        KernelShape::Moe { tokens: 6, hidden: 8, inner: 5, experts: 4, top_k: 2 },
    ];

    #[test]
    fn answers_are_those_of_the_naive_computation() {
        for shape in SHAPES {
            let kernel = Kernel::new(shape, Device::Cpu).unwrap();
            kernel.run().unwrap();
            assert!(kernel.check().unwrap() < 1e-5, "{shape}: {}", kernel.check().unwrap());
        }
    }

    #[test]
    fn a_wrong_answer_is_noticed() {
        for shape in SHAPES {
            let kernel = Kernel::new(shape, Device::Cpu).unwrap();
            let answer = kernel.answer().unwrap().contiguous().unwrap();
            let answer = answer.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let off: Vec<f32> = answer.iter().map(|value| value * 1.1).collect();
            assert!(error_of(&shape, &off) > 0.05, "{shape}");
            let mut gone = answer.clone();
            gone[0] = f32::NAN;
            assert!(error_of(&shape, &gone).is_infinite(), "{shape}");
            assert!(error_of(&shape, &answer[1..]).is_infinite(), "{shape}");
        }
    }

    #[test]
    fn kernels_are_named_with_the_sizes_that_differ() {
        let check = |text: &str, expected: Result<&[&str], &str>| match expected {
            Ok(names) => {
                let shapes = KernelShape::parse(text).unwrap();
                assert_eq!(shapes.iter().map(ToString::to_string).collect::<Vec<_>>(), names);
            }
            Err(part) => {
                let error = KernelShape::parse(text).unwrap_err();
                assert!(error.contains(part), "{error}");
            }
        };
        check("matmul", Ok(&["matmul_m128_n1024_k1024"]));
        check("matmul:m=1/8,k=32", Ok(&["matmul_m1_n1024_k32", "matmul_m8_n1024_k32"]));
        check("attention:q=1,k=512,kv=2", Ok(&["attention_b4_h16_kv2_d64_q1_k512"]));
        check("conv", Err("there are matmul, attention, kv_update, moe"));
        check("moe:m=1", Err("it has t, h, i, e, k"));
        check("matmul:m=x", Err("m=x"));
        check("attention:q=9,k=2", Err("at most as many"));
        assert_eq!(KernelShape::usual().len(), SIZES.len());
    }

    #[test]
    fn work_is_that_of_the_definition() {
        assert_eq!(SHAPES[0].flops(), 2 * 5 * 7 * 33);
        assert_eq!(SHAPES[0].bytes(), Bytes(4 * (5 * 33 + 7 * 33 + 5 * 7)));
        assert_eq!(SHAPES[1].flops(), 2 * 4 * 5 * 9 * (4 * 8 + 7));
        assert_eq!(SHAPES[3].flops(), 0);
        assert_eq!(SHAPES[3].bytes(), Bytes(4 * 4 * 2 * 3 * 2 * 4));
        assert_eq!(SHAPES[5].flops(), 6 * 2 * (6 * 8 * 5 + 5 * 5 + 2 * 8));
    }

    #[test]
    fn impossible_sizes_are_refused_with_a_reason() {
        let check = |shape: KernelShape, expected: &str| {
            let error = Kernel::new(shape, Device::Cpu).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(KernelShape::Matmul { m: 0, n: 1, k: 1 }, "at least 1");
        let huge = 1 << 20;
        check(KernelShape::Matmul { m: huge, n: huge, k: 1 }, "4 GiB");
        check(
            KernelShape::KvUpdate { batch: 1, kv_heads: 1, head_dim: 1, tokens: 3, capacity: 2 },
            "room",
        );
        check(KernelShape::Moe { tokens: 1, hidden: 1, inner: 1, experts: 2, top_k: 3 }, "experts");
    }
}
