//! A mixture of experts: each token goes through the few experts that its router likes best.

use candle_core::{Device, Tensor};

use crate::{
    error::Result,
    layers::Mlp,
    ops::{Op, OpRecorder, run},
};

/// The experts of one layer.
#[derive(Debug)]
pub(crate) struct Moe {
    pub(crate) experts: Vec<Mlp>,
    /// Experts of a token.
    pub(crate) top_k: usize,
}

/// Tokens of one expert and what its answer to each counts.
#[derive(Debug, Clone, Default)]
struct Share {
    tokens: Vec<u32>,
    weights: Vec<f32>,
}

impl Moe {
    /// The weighted answers of each token's experts: `[tokens, hidden]` as `x`. `logits`
    /// (`[tokens, experts]`) are the router's.
    ///
    /// Tokens are gathered by expert, so that an expert is one multiplication however many tokens
    /// it has; which expert has which is decided on the host.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        logits: &Tensor,
        rec: &mut OpRecorder,
    ) -> Result<Tensor> {
        let n = logits.elem_count();
        let rows = rec.op(Op::movement("to_host", n, n), || logits.to_vec2::<f32>())?;
        let shares = self.shares(&rows);
        let mut sum = run(rec, Op::movement("zeros", 0, x.elem_count()), || x.zeros_like())?;
        for (expert, share) in self.experts.iter().zip(shares) {
            if !share.tokens.is_empty() {
                sum = add_share(expert, x, &sum, share, rec)?;
            }
        }
        Ok(sum)
    }

    fn shares(&self, rows: &[Vec<f32>]) -> Vec<Share> {
        let mut shares = vec![Share::default(); self.experts.len()];
        for (token, row) in (0_u32..).zip(rows) {
            for (expert, weight) in route(row, self.top_k) {
                shares[expert].tokens.push(token);
                shares[expert].weights.push(weight);
            }
        }
        shares
    }
}

/// The `top_k` experts of a token, best first, the first of equals; their weights are the softmax
/// over them.
pub(crate) fn route(logits: &[f32], top_k: usize) -> Vec<(usize, f32)> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    order.truncate(top_k);
    let most = order.first().map_or(0.0, |&best| logits[best]);
    let exps: Vec<f32> = order.iter().map(|&expert| (logits[expert] - most).exp()).collect();
    let sum: f32 = exps.iter().sum();
    order.into_iter().zip(exps).map(|(expert, exp)| (expert, exp / sum)).collect()
}

fn add_share(
    expert: &Mlp,
    x: &Tensor,
    sum: &Tensor,
    share: Share,
    rec: &mut OpRecorder,
) -> Result<Tensor> {
    let (device, rows) = (x.device(), share.tokens.len());
    let ids = Tensor::from_vec(share.tokens, rows, device)?;
    let weights = column(share.weights, device)?;
    let n = rows * x.dim(1)?;
    let own = run(rec, Op::movement("gather", rows + n, n), || x.index_select(&ids, 0))?;
    let answer = expert.forward(&own, rec)?;
    let weigh = Op::elementwise("weigh", 1, n + rows, n);
    let answer = run(rec, weigh, || answer.broadcast_mul(&weights))?;
    run(rec, Op::elementwise("scatter_add", 1, 2 * n, n), || sum.index_add(&ids, &answer, 0))
}

fn column(values: Vec<f32>, device: &Device) -> candle_core::Result<Tensor> {
    let rows = values.len();
    Tensor::from_vec(values, (rows, 1), device)
}

#[cfg(test)]
mod tests {
    use super::route;

    #[test]
    fn a_token_goes_to_the_experts_that_its_router_likes_best() {
        let routed = route(&[0.0, 2.0, 1.0, 2.0], 3);
        assert_eq!(routed.iter().map(|&(expert, _)| expert).collect::<Vec<_>>(), [1, 3, 2]);
        let sum: f32 = routed.iter().map(|&(_, weight)| weight).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        assert!((routed[0].1 / routed[2].1 - 1_f32.exp()).abs() < 1e-5);
    }
}
