//! A line through samples, of which some may be far off.

use crate::stats::median;

/// `y = at_zero + slope * x`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    pub slope: f64,
    pub at_zero: f64,
}

impl Line {
    /// The line through pairs of x and y: its slope is the median of those between the lower half of
    /// all x and the upper (Theil and Sen's, of as many pairs as there is use for). `None` if x does
    /// not differ.
    pub fn through(points: &[(f64, f64)]) -> Option<Self> {
        let mut sorted = points.to_vec();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let half = sorted.len() / 2;
        let pairs = sorted[..half].iter().zip(&sorted[sorted.len() - half..]);
        let slopes = pairs.filter(|(a, b)| b.0 > a.0).map(|(a, b)| (b.1 - a.1) / (b.0 - a.0));
        let slope = median(slopes.collect())?;
        let at_zero = median(points.iter().map(|(x, y)| y - slope * x).collect())?;
        Some(Self { slope, at_zero })
    }

    pub fn at(self, x: f64) -> f64 {
        self.at_zero + self.slope * x
    }
}

#[cfg(test)]
mod tests {
    use super::Line;

    #[test]
    fn a_line_is_found_whatever_a_few_samples_say() {
        let mut points: Vec<(f64, f64)> =
            (0..40).map(f64::from).map(|x| (x, 3.0 + 2.0 * x)).collect();
        for far_off in [3, 20, 39] {
            points[far_off].1 = 1e6;
        }
        let line = Line::through(&points).unwrap();
        assert!(
            (line.slope - 2.0).abs() < 1e-9 && (line.at(100.0) - 203.0).abs() < 1e-6,
            "{line:?}"
        );
        assert_eq!(Line::through(&[(1.0, 2.0), (1.0, 3.0)]), None);
        assert_eq!(Line::through(&[]), None);
    }
}
