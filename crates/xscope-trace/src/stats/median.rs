//! The median, and the interval that holds it.

use crate::stats::as_f64;

/// How surely [`median_interval`] holds the median.
pub const MEDIAN_CONFIDENCE: f64 = 0.95;

/// Below this many values even the whole range holds the median less surely than that.
pub const FEWEST_FOR_INTERVAL: usize = 6;

/// From this many values on, single sequences of coins are too unlikely for a float to hold.
const MANY: usize = 1000;

/// The median; of an even number of values the mean of the middle two.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// The interval that holds the median of what `values` are drawn from with [`MEDIAN_CONFIDENCE`],
/// whatever its distribution: from one order statistic to another. Needs 6 values.
pub fn median_interval(values: &[f64]) -> Option<[f64; 2]> {
    if values.len() < FEWEST_FOR_INTERVAL {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let lowest = lowest_rank(sorted.len());
    Some([sorted[lowest], sorted[sorted.len() - 1 - lowest]])
}

/// How many of so many values lie outside on each side: values below the median are as many as heads
/// of as many fair coins.
fn lowest_rank(count: usize) -> usize {
    let tail = (1.0 - MEDIAN_CONFIDENCE) / 2.0;
    let coins = as_f64(count as u64);
    let mut outside = 0;
    if count > MANY {
        // Normal, to which so many coins come close.
        let half_width = 1.96 * coins.sqrt() / 2.0;
        while as_f64(outside as u64 + 1) <= coins / 2.0 - half_width {
            outside += 1;
        }
    } else {
        let (mut below, mut exactly) = (0.0, 0.5_f64.powf(coins));
        while below + exactly <= tail {
            below += exactly;
            outside += 1;
            let heads = as_f64(outside as u64);
            exactly *= (coins - heads + 1.0) / heads;
        }
    }
    outside.max(1) - 1
}

#[cfg(test)]
mod tests {
    use super::{median, median_interval};

    #[test]
    fn the_interval_is_between_order_statistics() {
        let check = |count: i32, expected| {
            let values: Vec<f64> = (1..=count).rev().map(f64::from).collect();
            assert_eq!(median_interval(&values), expected, "{count}");
        };
        // Ranks from tables of the sign test at 5 %, two-sided, and of scipy's `quantile_test`.
        check(5, None);
        check(6, Some([1.0, 6.0]));
        check(8, Some([1.0, 8.0]));
        check(9, Some([2.0, 8.0]));
        check(20, Some([6.0, 15.0]));
        check(100, Some([40.0, 61.0]));
        check(1000, Some([469.0, 532.0]));
    }

    /// 0.5^1075 is 0 as a float.
    #[test]
    fn many_values_have_an_interval_as_well() {
        for count in [1001, 1075, 2000, 4000, 10_000_u32] {
            let values: Vec<f64> = (1..=count).map(f64::from).collect();
            let [low, high] = median_interval(&values).unwrap();
            let (middle, half) = (f64::from(count + 1) / 2.0, f64::from(count).sqrt() * 0.98);
            assert!((middle - low - half).abs() < 2.0, "{count}: {low}");
            assert!((high - middle - half).abs() < 2.0, "{count}: {high}");
        }
    }

    #[test]
    fn the_median_lies_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }
}
