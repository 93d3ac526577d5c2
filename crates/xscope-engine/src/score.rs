//! The arithmetic of scores. Logits in, probabilities out; no I/O.

/// Log-probabilities of `labels` under the softmax of `logits`; `None` if the logits are not
/// numbers to speak of (a NaN, an infinity).
///
/// Exponentials are taken in f32, as the logits are, and summed in f64: the error of the sum then
/// does not grow with the vocabulary.
pub(crate) fn label_logprobs(logits: &[f32], labels: &[u32]) -> Option<Vec<f64>> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from((logit - max).exp())).sum();
    let log_total = f64::from(max) + sum.ln();
    if !log_total.is_finite() {
        return None;
    }
    labels
        .iter()
        .map(|&label| {
            let logit = usize::try_from(label).ok().and_then(|label| logits.get(label))?;
            Some(f64::from(*logit) - log_total)
        })
        .collect()
}

/// What an answer carries for one item: the labels' probabilities under the whole vocabulary, or
/// among the labels alone (`softmax`).
pub(crate) fn scores(logprobs: &[f64], softmax: bool) -> Vec<f64> {
    if !softmax {
        return logprobs.iter().map(|logprob| logprob.exp()).collect();
    }
    let max = logprobs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logprobs.iter().map(|logprob| (logprob - max).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_those_of_the_definition() {
        let logits = [1.0_f32, 2.0, 3.0, 1000.0_f32.ln()];
        let total = 1_f64.exp() + 2_f64.exp() + 3_f64.exp() + 1000.0;
        let logprobs = label_logprobs(&logits, &[2, 0, 2]).unwrap();
        let expected = [3_f64.exp() / total, 1_f64.exp() / total, 3_f64.exp() / total];
        for (found, expected) in scores(&logprobs, false).iter().zip(expected) {
            assert!((found - expected).abs() < 1e-7, "{found} {expected}");
        }
        let softmax = scores(&logprobs, true);
        assert!((softmax.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!((softmax[0] / softmax[1] - 2_f64.exp()).abs() < 1e-5);
    }

    #[test]
    fn large_logits_do_not_overflow_and_broken_ones_are_noticed() {
        assert_eq!(label_logprobs(&[3e38, 0.0], &[0]), Some(vec![0.0]));
        assert_eq!(label_logprobs(&[f32::NAN, 0.0], &[1]), None);
        assert_eq!(label_logprobs(&[f32::INFINITY, 0.0], &[1]), None);
        assert_eq!(label_logprobs(&[f32::NEG_INFINITY], &[0]), None);
    }
}
