//! The tree of layers as an icicle of text.

use xscope_analysis::layers::LayerNode;

use crate::colour::{Text, Tone};
use crate::text::{duration, percent};

/// Columns of the icicle.
const WIDTH: usize = 100;

/// Rows of the icicle: what lies deeper is narrow or a path without branches.
const ROWS: usize = 10;

/// A cell is at least its edge and two letters wide.
const NARROWEST: usize = 3;

/// The tree, a row for each depth, scopes as wide as their share of the time and below the one they
/// are in. Empty for a tree without time.
pub(crate) fn flame_text(root: &LayerNode) -> Text {
    if root.total_us <= 0.0 {
        return Text::default();
    }
    let mut rows = vec![vec![(' ', None); WIDTH]; ROWS];
    put(&mut rows, &format!("{} {}", root.name, duration(root.total_us)), 0, (0, WIDTH));
    below(root, root.total_us, 0.0, 1, &mut rows);
    let mut out = Text::from("\n");
    out.line(Tone::Title.of("Flame of layers (width is device time)"));
    let lines = rows.iter().map(|row| line(row));
    lines.take_while(|line| !line.is_empty()).for_each(|line| out.line(line));
    out
}

/// A letter, and what it is.
type Place = (char, Option<Tone>);

fn line(row: &[Place]) -> Text {
    let mut line = Text::default();
    for &(letter, tone) in row {
        line.push(letter.encode_utf8(&mut [0; 4]), tone);
    }
    line.trim_end();
    line
}

fn below(node: &LayerNode, whole: f64, start_us: f64, depth: usize, rows: &mut [Vec<Place>]) {
    let mut at = start_us;
    for child in &node.children {
        let cell = (column(at / whole), column((at + child.total_us) / whole));
        if depth < rows.len() && cell.1 - cell.0 >= NARROWEST {
            let share = percent(child.total_us / whole);
            let text = format!("{} {share}", child.name);
            let fits = text.chars().count() < cell.1 - cell.0;
            put(rows, if fits { &text } else { &child.name }, depth, cell);
            below(child, whole, at, depth + 1, rows);
        }
        at += child.total_us;
    }
}

/// Writes an edge and as much of a text as fits into the columns of a cell.
fn put(rows: &mut [Vec<Place>], text: &str, depth: usize, (from, to): (usize, usize)) {
    let shown = |letter: char| if letter.is_control() { '\u{fffd}' } else { letter };
    let letters = text.chars().map(|letter| (shown(letter), None));
    let mut letters: Vec<Place> =
        std::iter::once(('▏', Some(Tone::Drawing))).chain(letters).collect();
    if letters.len() > to - from {
        letters.truncate(to - from - 1);
        letters.push(('…', None));
    }
    rows[depth][from..to].iter_mut().zip(letters).for_each(|(place, letter)| *place = letter);
}

/// The column of a share; edges are rounded alike, so cells meet and lie in the one above.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "clamped to 0..=WIDTH"
)]
fn column(share: f64) -> usize {
    (share.clamp(0.0, 1.0) * WIDTH as f64).round() as usize
}

#[cfg(test)]
mod tests {
    use xscope_analysis::layers::LayerNode;
    use xscope_trace::Picos;

    use super::{WIDTH, flame_text};

    fn node(name: &str, total_us: f64, children: Vec<LayerNode>) -> LayerNode {
        LayerNode { name: name.to_owned(), total_us, self_us: 0.0, children, total: Picos::ZERO }
    }

    #[test]
    fn scopes_lie_below_the_one_they_are_in_and_fit_the_width() {
        let narrow = (0..400).map(|index| node(&format!("n{index}"), 0.01, Vec::new())).collect();
        let root = node(
            "device",
            100.0,
            vec![
                node("layer_0", 60.0, vec![node("mlp", 40.0, Vec::new())]),
                node(
                    "layer_1",
                    36.0,
                    vec![node(
                        "a_very_long_name_that_is_cut_in_the_middle_of_it",
                        20.0,
                        Vec::new(),
                    )],
                ),
                node("rest", 4.0, narrow),
            ],
        );
        let text = flame_text(&root);
        let text = text.plain();
        let lines: Vec<Vec<char>> =
            text.lines().skip(2).map(|line| line.chars().collect()).collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines.iter().all(|line| line.len() <= WIDTH), "{text}");
        let start = |line: &Vec<char>, what: &str| line.iter().collect::<String>().find(what);
        assert_eq!(start(&lines[1], "▏layer_0 60.0 %"), Some(0), "{text}");
        assert_eq!(lines[1][60], '▏', "{text}");
        assert_eq!(lines[2][60], '▏', "{text}");
        assert!(text.contains('…'), "{text}");
        assert!(flame_text(&node("device", 0.0, Vec::new())).is_empty());
    }
}
