//! Tables: their columns and cells, as text for terminals and as Markdown.

use unicode_width::UnicodeWidthStr as _;

use crate::colour::{Text, Tone};
use crate::text::bar;

/// How text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Terminal,
    Markdown,
}

/// A column of a table: its heading and what it holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Column {
    Text(&'static str),
    Number(&'static str),
    /// Percentages of a whole, which a page draws.
    Share(&'static str),
    /// Bars for terminals, without a heading; a page has none.
    Drawing,
}

impl Column {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Text(name) | Self::Number(name) | Self::Share(name) => name,
            Self::Drawing => "",
        }
    }

    pub(crate) fn is_number(self) -> bool {
        matches!(self, Self::Number(_) | Self::Share(_))
    }
}

/// What stands in a row and a column: one line, whatever names hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    /// A cell that is something as a whole.
    pub(crate) fn of(tone: Tone, text: impl Into<String>) -> Self {
        Self { tone: Some(tone), ..text.into().into() }
    }

    /// A share, drawn so many letters wide.
    pub(crate) fn bar(share: f64, width: u8) -> Self {
        Self::of(Tone::Drawing, bar(share, width))
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn tone(&self) -> Option<Tone> {
        self.tone
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        let text = match text.contains(char::is_control) {
            true => text.replace(char::is_control, "\u{fffd}"),
            false => text,
        };
        Self { text, tone: None }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<&String> for Cell {
    fn from(text: &String) -> Self {
        text.clone().into()
    }
}

/// A row of cells, each of what becomes one.
macro_rules! row {
    ($($cell:expr),* $(,)?) => { vec![$($crate::grid::Cell::from($cell)),*] };
}
pub(crate) use row;

/// A titled table.
#[derive(Debug, Clone)]
pub(crate) struct Grid {
    pub title: String,
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Cell>>,
}

impl Grid {
    pub(crate) fn new(
        title: impl Into<String>,
        columns: impl Into<Vec<Column>>,
        rows: impl IntoIterator<Item = Vec<Cell>>,
    ) -> Self {
        let rows = rows.into_iter().collect();
        Self { title: title.into(), columns: columns.into(), rows }
    }

    /// The table without a column.
    pub(crate) fn without(mut self, name: &str) -> Self {
        if let Some(at) = self.columns.iter().position(|column| column.name() == name) {
            self.columns.remove(at);
            self.rows.iter_mut().for_each(|row| drop(row.remove(at)));
        }
        self
    }

    /// The table below its title; nothing if it has no rows.
    pub(crate) fn render(&self, style: Style) -> Text {
        let mut out = Text::default();
        if self.rows.is_empty() {
            return out;
        }
        out += "\n";
        match style {
            Style::Terminal => out.line(Tone::Title.of(&self.title)),
            Style::Markdown => out.line(format!("### {}\n", self.title)),
        }
        out += table(&self.columns, &self.rows, style);
        out
    }
}

/// Columns of text, then of numbers.
pub(crate) fn columns(texts: &[&'static str], numbers: &[&'static str]) -> Vec<Column> {
    let texts = texts.iter().map(|&name| Column::Text(name));
    texts.chain(numbers.iter().map(|&name| Column::Number(name))).collect()
}

/// A table without a title.
pub(crate) fn table(columns: &[Column], rows: &[Vec<Cell>], style: Style) -> Text {
    match style {
        Style::Terminal => aligned(columns, rows),
        Style::Markdown => markdown_table(columns, rows).into(),
    }
}

/// A table without borders, two spaces between columns.
fn aligned(columns: &[Column], rows: &[Vec<Cell>]) -> Text {
    let heads: Vec<Cell> = columns.iter().map(|column| column.name().into()).collect();
    let rows = || std::iter::once(&heads).chain(rows);
    let width = |index: usize| {
        rows().filter_map(|row| Some(row.get(index)?.text.width())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut out = Text::default();
    for row in rows() {
        let mut line = Text::default();
        for ((cell, column), width) in row.iter().zip(columns).zip(&widths) {
            let blank = " ".repeat(width - cell.text.width());
            let (before, after) = if column.is_number() { (&*blank, "") } else { ("", &*blank) };
            line += " ";
            line += before;
            line.push(&cell.text, cell.tone);
            line += after;
            line += " ";
        }
        line.trim_end();
        out.line(line);
    }
    out
}

fn markdown_table(columns: &[Column], rows: &[Vec<Cell>]) -> String {
    let marks = columns.iter().map(|column| if column.is_number() { "---:" } else { "---" });
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut out = row(columns.iter().map(|column| column.name().to_owned()).collect());
    out += &row(marks.map(str::to_owned).collect());
    for cells in rows {
        out += &row(cells.iter().map(|cell| markdown(&cell.text)).collect());
    }
    out
}

/// Text as a cell of Markdown that shows it as it is: names of kernels hold `<`, `*` and `_`, those
/// of layers begin with spaces.
fn markdown(text: &str) -> String {
    let mut out = String::new();
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(letter) = rest.next() {
        let after = rest.peek().copied().unwrap_or(' ');
        match letter {
            ' ' if out.chars().all(|shown| shown == '\u{a0}') => out.push('\u{a0}'),
            // Between letters it is no mark.
            '_' if before.is_alphanumeric() && after.is_alphanumeric() => out.push('_'),
            '|' | '\\' | '`' | '*' | '_' | '<' | '[' | ']' | '~' | '$' => {
                out.extend(['\\', letter]);
            }
            _ => out.push(letter),
        }
        before = letter;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Cell, Column, Grid, Style, Tone, markdown};

    #[test]
    fn names_of_kernels_and_layers_stay_as_they_are_in_markdown() {
        for (text, expected) in [
            ("void f<A*, B*>(x|y)", r"void f\<A\*, B\*>(x\|y)"),
            ("__init__ (a_b.py)", r"\_\_init\_\_ (a_b.py)"),
            ("  layer_0", "\u{a0}\u{a0}layer_0"),
            ("$a.py:1 f[0]", r"\$a.py:1 f\[0\]"),
        ] {
            assert_eq!(markdown(text), expected);
        }
    }

    #[test]
    fn cells_line_up_and_are_painted_for_what_they_are() {
        let columns = [Column::Text("name"), Column::Number("n"), Column::Drawing];
        let rows = [
            row!["FAIL: 表\n", "7", Cell::bar(0.5, 4)],
            row!["a", "1234", Cell::of(Tone::Bad, "INVALID")],
        ];
        let grid = Grid::new("Rows", columns, rows);
        let text = grid.render(Style::Terminal);
        let lines = [
            "",
            "Rows",
            " name          n",
            " FAIL: 表\u{fffd}     7  ██",
            " a          1234  INVALID",
        ];
        assert_eq!(text.plain().lines().collect::<Vec<_>>(), lines);
        let painted = text.painted();
        assert!(painted.contains("\n FAIL: ") && painted.contains("\x1b[31mINVALID\x1b[0m\n"));
        assert!(
            painted.contains("\x1b[1mRows\x1b[0m\n") && painted.contains("\x1b[36m██\x1b[0m\n")
        );
        let empty = Grid { rows: Vec::new(), ..grid };
        assert!(empty.render(Style::Terminal).is_empty());
    }
}
