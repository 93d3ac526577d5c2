//! A table as lines of comma-separated values, and rows of reports as such.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};

use csv::{QuoteStyle, Terminator, Writer, WriterBuilder};
use serde::Serialize;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use xscope_analysis::AnalyzeReport;
use xscope_trace::{Picos, Trace};

/// A table that can be written.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    name: &'static str,
    write: fn(&Trace, &AnalyzeReport, &mut Rows<'_>) -> io::Result<u64>,
}

impl Table {
    /// `write` writes its heading and its rows and says how many these are; nothing at all if none.
    pub(crate) const fn new(
        name: &'static str,
        write: fn(&Trace, &AnalyzeReport, &mut Rows<'_>) -> io::Result<u64>,
    ) -> Self {
        Self { name, write }
    }

    /// What its file is called.
    pub fn file_name(&self) -> String {
        format!("{}.csv", self.name)
    }

    /// Writes the rows below a heading and says how many there are; nothing at all if none.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(
        &self,
        trace: &Trace,
        report: &AnalyzeReport,
        out: &mut dyn Write,
    ) -> io::Result<u64> {
        let mut rows = Rows::new(out);
        let count = (self.write)(trace, report, &mut rows)?;
        rows.0.flush()?;
        Ok(count)
    }
}

/// Lines that are written cell by cell.
pub(crate) struct Rows<'a>(Writer<&'a mut dyn Write>);

impl<'a> Rows<'a> {
    fn new(out: &'a mut dyn Write) -> Self {
        let mut builder = WriterBuilder::new();
        builder.terminator(Terminator::CRLF).quote_style(QuoteStyle::Necessary);
        Self(builder.from_writer(out))
    }

    pub(crate) fn heading<T: AsRef<[u8]>>(
        &mut self,
        columns: impl IntoIterator<Item = T>,
    ) -> io::Result<()> {
        Ok(self.0.write_record(columns)?)
    }

    /// A cell as it is.
    pub(crate) fn number(&mut self, text: &str) -> io::Result<()> {
        Ok(self.0.write_field(text)?)
    }

    /// A cell with a name of the profile: an apostrophe keeps spreadsheets from taking it for a
    /// formula.
    pub(crate) fn text(&mut self, text: &str) -> io::Result<()> {
        match text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
            true => self.number(&format!("'{text}")),
            false => self.number(text),
        }
    }

    pub(crate) fn end(&mut self) -> io::Result<()> {
        Ok(self.0.write_record(None::<&[u8]>)?)
    }

    /// Writes rows of a report: a column for each field that is one value in any of them; lists are left
    /// out.
    pub(crate) fn all<T: Serialize>(&mut self, rows: &[T]) -> io::Result<u64> {
        let cells = |row: &T| -> io::Result<Vec<(String, Value)>> {
            Ok(cells(serde_json::from_str(&serde_json::to_string(row)?)?))
        };
        let mut columns: Vec<String> = Vec::new();
        for row in rows {
            // A field that this row has and others lack stands behind the one before it.
            let mut behind = 0;
            for (name, _) in cells(row)? {
                behind = match columns.iter().position(|column| *column == name) {
                    Some(place) => place + 1,
                    None => {
                        columns.insert(behind, name);
                        behind + 1
                    }
                };
            }
        }
        if !columns.is_empty() {
            self.heading(&columns)?;
        }
        for row in rows {
            let mut row: BTreeMap<String, Value> = cells(row)?.into_iter().collect();
            for column in &columns {
                match row.remove(column).unwrap_or_default() {
                    Value::String(text) => self.text(&text)?,
                    Value::Null => self.number("")?,
                    value => self.number(&value.to_string())?,
                }
            }
            self.end()?;
        }
        Ok(rows.len() as u64)
    }
}

/// Lines of cells, the first one of headings.
pub(crate) fn lines(rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut writer = Writer::from_writer(Vec::new());
    for row in rows {
        // Memory takes any number of lines, and all have as many cells.
        writer.write_record(row).unwrap_or_default();
    }
    String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
}

/// Microseconds, exactly.
pub(crate) fn micros(time: Picos) -> String {
    decimal(time, 6)
}

/// Picoseconds as a decimal number with so many digits behind the point.
pub(crate) fn decimal(time: Picos, digits: u32) -> String {
    let (sign, ps) = (if time.0 < 0 { "-" } else { "" }, time.0.unsigned_abs());
    let unit = 10_u64.pow(digits);
    format!("{sign}{}.{:0width$}", ps / unit, ps % unit, width = digits as usize)
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
    use xscope_trace::{Metric, Picos};

    use super::{Rows, micros};

    #[test]
    fn times_keep_their_picoseconds() {
        for (ps, expected) in [
            (0, "0.000000"),
            (1, "0.000001"),
            (-1_500_000, "-1.500000"),
            (i64::MAX, "9223372036854.775807"),
        ] {
            assert_eq!(micros(Picos(ps)), expected);
        }
    }

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
        Rows::new(&mut out).all(&rows).unwrap();
        let expected = "name,us,flops,flops_status\r\n\"a,\"\"b\"\"\n\",-1.5,2.0,valid\r\n\
             '=HYPERLINK(1),-1.5,,unavailable\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn what_some_rows_lack_is_empty_in_them() {
        #[derive(Serialize)]
        struct Row {
            a: u8,
            #[serde(skip_serializing_if = "Option::is_none")]
            b: Option<u8>,
            c: u8,
        }
        let mut out = Vec::new();
        let rows = [Row { a: 1, b: None, c: 3 }, Row { a: 4, b: Some(5), c: 6 }];
        assert_eq!(Rows::new(&mut out).all(&rows).unwrap(), 2);
        assert_eq!(String::from_utf8(out).unwrap(), "a,b,c\r\n1,,3\r\n4,5,6\r\n");
    }
}
