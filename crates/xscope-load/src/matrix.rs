//! Points that are measured one after the other.

use serde_json::Value;

use crate::backend::Backend;
use crate::error::{LoadError, refused};
use crate::lengths::Lengths;
use crate::plan::Plan;
use crate::point::Point;
use crate::workload::{Ask, Labels, Workload};

/// Workloads with what they have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    /// What the points have in common.
    pub workload: Workload,
    /// Each with its name.
    pub points: Vec<(String, Workload)>,
    pub backend: Backend,
}

impl Matrix {
    /// A score matrix.
    pub fn score(workload: Workload, batch_sizes: &[u32], label_counts: &[u32]) -> Self {
        let points = score_points(&workload, batch_sizes, label_counts);
        Self { workload, points, backend: Backend::Sglang }
    }

    /// Takes from the server what is left open, and checks every point.
    ///
    /// # Errors
    ///
    /// A point cannot be made.
    pub fn fit(&mut self, server_info: Option<&Value>) -> Result<Vec<Point>, LoadError> {
        self.workload = self.workload.clone().fitted(server_info);
        if self.points.is_empty() {
            return refused("points", "is empty: give at least one");
        }
        for (_, workload) in &mut self.points {
            *workload = workload.clone().fitted(server_info);
        }
        let points = self.points.iter();
        let plans = points.map(|(name, workload)| {
            Ok(Point::new(Plan::new(name.as_str(), workload.clone(), self.backend)?))
        });
        plans.collect()
    }
}

/// The points of a score matrix, with their names: batch sizes outermost.
pub fn score_points(
    base: &Workload,
    batch_sizes: &[u32],
    label_counts: &[u32],
) -> Vec<(String, Workload)> {
    let pairs = batch_sizes.iter().flat_map(|&b| label_counts.iter().map(move |&l| (b, l)));
    pairs
        .map(|(batch_size, label_count)| {
            let mut workload = base.clone();
            if let Ask::Score(ask) = &mut workload.ask {
                ask.items = Lengths::Fixed(batch_size);
                ask.labels = match &ask.labels {
                    Labels::Drawn(_) => Labels::Drawn(label_count),
                    Labels::Ids(ids) => {
                        Labels::Ids(ids.iter().copied().take(label_count as usize).collect())
                    }
                };
            }
            (format!("b{batch_size}_l{label_count}"), workload)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::Matrix;

    #[test]
    fn a_matrix_has_labels_that_are_prefixes_of_each_other() {
        let toml = "requests = 1\n[score]\nquery_tokens = 20\nitem_tokens = 4\nlabels = 2";
        let mut matrix = Matrix::score(toml::from_str(toml).unwrap(), &[1, 3], &[2, 4]);
        let points = matrix.fit(None).unwrap();
        let names: Vec<_> = points.iter().map(|point| point.plan().name()).collect();
        assert_eq!(names, ["b1_l2", "b1_l4", "b3_l2", "b3_l4"]);
        let [two, four] = [0, 3].map(|index: usize| points[index].plan().labels());
        assert_eq!(two, &four[..2]);
        assert_eq!(points[3].plan().shape().batch_size, Some(3));
    }
}
