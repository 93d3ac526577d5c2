//! Lines of comma-separated values, and rows of reports as such.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// Writes one line after the other, cell by cell.
pub(crate) struct Record<W> {
    out: W,
    is_first: bool,
}

impl<W: Write> Record<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, is_first: true }
    }

    pub(crate) fn heading<T: AsRef<str>>(
        &mut self,
        columns: impl IntoIterator<Item = T>,
    ) -> io::Result<()> {
        for column in columns {
            self.number(&quoted(column.as_ref()))?;
        }
        self.end()
    }

    /// A cell as it is.
    pub(crate) fn number(&mut self, text: &str) -> io::Result<()> {
        if !self.is_first {
            self.out.write_all(b",")?;
        }
        self.is_first = false;
        self.out.write_all(text.as_bytes())
    }

    /// A cell with a name of the profile: an apostrophe keeps spreadsheets from taking it for a
    /// formula.
    pub(crate) fn text(&mut self, text: &str) -> io::Result<()> {
        if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
            return self.number(&quoted(&format!("'{text}")));
        }
        self.number(&quoted(text))
    }

    pub(crate) fn end(&mut self) -> io::Result<()> {
        self.is_first = true;
        self.out.write_all(b"\r\n")
    }
}

fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

/// The fields of a JSON object in the order in which they stand, which is that of the report.
struct Fields(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row of a report")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// Writes rows of a report: a column for each field that is one value; lists are left out.
pub(crate) fn records<T: Serialize, W: Write>(
    rows: &[T],
    mut record: Record<W>,
) -> io::Result<u64> {
    let mut has_heading = false;
    for row in rows {
        let cells = cells(serde_json::from_str(&serde_json::to_string(row)?)?);
        if !has_heading {
            record.heading(cells.iter().map(|(name, _)| name))?;
            has_heading = true;
        }
        for (_, value) in cells {
            match value {
                Value::String(text) => record.text(&text)?,
                Value::Null => record.number("")?,
                value => record.number(&value.to_string())?,
            }
        }
        record.end()?;
    }
    Ok(rows.len() as u64)
}

/// Names and values of a row. A metric is its value and its status.
fn cells(Fields(fields): Fields) -> Vec<(String, Value)> {
    let mut cells = Vec::with_capacity(fields.len());
    for (name, value) in fields {
        match value {
            Value::Array(_) => {}
            Value::Object(mut metric) => {
                let mut part = |key| metric.remove(key).unwrap_or_default();
                let (value, status) = (part("value"), part("status"));
                if status.is_string() {
                    cells.push((name.clone(), value));
                    cells.push((format!("{name}_status"), status));
                }
            }
            value => cells.push((name, value)),
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use xscope_trace::Metric;

    use super::{Record, records};

    #[test]
    fn names_are_quoted_and_no_formula() {
        #[derive(Serialize)]
        struct Row {
            name: &'static str,
            us: f64,
            flops: Metric,
            list: Vec<u8>,
        }
        let row = |name, flops| Row { name, us: -1.5, flops, list: vec![1] };
        let rows = [
            row("a,\"b\"\n", Metric::valid(2.0, "FLOP")),
            row("=HYPERLINK(1)", Metric::unavailable("FLOP", "none")),
        ];
        let mut out = Vec::new();
        records(&rows, Record::new(&mut out)).unwrap();
        let expected = "name,us,flops,flops_status\r\n\"a,\"\"b\"\"\n\",-1.5,2.0,valid\r\n\
             '=HYPERLINK(1),-1.5,,unavailable\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
