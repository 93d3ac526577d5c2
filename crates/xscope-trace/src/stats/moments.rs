//! Means and deviations.

use crate::stats::as_f64;

/// The mean; `None` of nothing.
pub fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0);
    for value in values {
        sum += value;
        count += 1;
    }
    (count > 0).then(|| sum / as_f64(count))
}

/// Standard deviation of the values themselves (divided by n): what they are a sample of is not asked.
pub fn population_deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values.iter().copied())?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / as_f64(values.len() as u64)).sqrt())
}

/// Mean and unbiased variance; the variance is `None` for fewer than two values.
pub fn moments(values: &[f64]) -> (f64, Option<f64>) {
    let n = as_f64(values.len() as u64);
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (values.len() > 1).then(|| squares / (n - 1.0)))
}

#[cfg(test)]
mod tests {
    use super::{mean, moments, population_deviation};

    #[test]
    fn one_to_a_hundred() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(mean(values.iter().copied()), Some(50.5));
        // Of 1 to n it is the root of (n² - 1) / 12.
        assert_eq!(population_deviation(&values), Some(833.25_f64.sqrt()));
        let (mean_of_all, variance) = moments(&values);
        assert!(
            (mean_of_all - 50.5).abs() < 1e-9 && (variance.unwrap() - 2525.0 / 3.0).abs() < 1e-9
        );
        assert_eq!((mean([]), population_deviation(&[])), (None, None));
        assert_eq!(moments(&[2.0]), (2.0, None));
    }
}
