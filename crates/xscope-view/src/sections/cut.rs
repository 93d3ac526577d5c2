//! What a page can hold of a section: lists are cut at their ends, as they are in the order of what
//! matters, and what is left out is counted.

use maud::{Markup, html};
use xscope_analysis::layers::LayerNode;

/// Devices are few, but a trace can claim any number.
pub(crate) const DEVICES: usize = 256;

/// Scopes of the layer tree.
pub(crate) const SCOPES: usize = 3000;

/// The title of a table of the first `shown` of `all` rows: says so if these are fewer, and where the others are.
pub(crate) fn titled(title: &str, shown: usize, all: usize) -> String {
    match shown < all {
        true => format!("{title} (the first {shown} of {all}; --json has all)"),
        false => title.to_owned(),
    }
}

/// Below a list of the first `shown` of `all` things: how many more there are, and where.
pub(crate) fn more(what: &str, shown: usize, all: usize, file: &str) -> Markup {
    html! {
        @if shown < all { p.notice { "And " (all - shown) " more " (what) "; " (file) " has all." } }
    }
}

/// Leaves the first `most` rows; how many went.
pub(crate) fn truncate<T>(list: &mut Vec<T>, most: usize) -> usize {
    let left_out = list.len().saturating_sub(most);
    list.truncate(most);
    left_out
}

/// Leaves the `most` scopes with the most time; how many went. Whoever stays has its parents stay,
/// for they have no less time.
pub(crate) fn prune(root: &mut LayerNode, most: usize) -> usize {
    let mut times = Vec::new();
    collect(root, &mut times);
    if times.len() <= most {
        return 0;
    }
    times.sort_by(|a, b| b.total_cmp(a));
    let all = times.len();
    let mut budget = most;
    keep(root, times[most], &mut budget);
    all - (most - budget)
}

fn collect(node: &LayerNode, times: &mut Vec<f64>) {
    for child in &node.children {
        times.push(child.total_us);
        collect(child, times);
    }
}

fn keep(node: &mut LayerNode, above: f64, budget: &mut usize) {
    node.children.retain(|child| child.total_us > above);
    for child in &mut node.children {
        *budget = budget.saturating_sub(1);
        keep(child, above, budget);
    }
}

#[cfg(test)]
mod tests {
    use xscope_analysis::layers::LayerNode;
    use xscope_trace::Picos;

    use super::{collect, prune};

    fn node(total_us: f64, children: Vec<LayerNode>) -> LayerNode {
        let total = Picos::ZERO;
        LayerNode { name: String::new(), total_us, self_us: 0.0, children, total }
    }

    #[test]
    fn a_large_tree_keeps_its_largest_scopes_and_counts_the_rest() {
        let leaves = |from: u32| (0..100).map(|i| node(f64::from(from + i), Vec::new())).collect();
        let mut root = node(1e9, vec![node(1e6, leaves(500)), node(1e5, leaves(100))]);
        let left_out = prune(&mut root, 50);
        let mut kept = Vec::new();
        collect(&root, &mut kept);
        assert_eq!(kept.len() + left_out, 202);
        assert_eq!(kept.len(), 50);
        assert!(kept.iter().all(|&us| us >= 500.0));
    }
}
