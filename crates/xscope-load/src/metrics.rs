//! The text that servers answer `GET /metrics` with, line by line.

/// One sample of Prometheus' text format.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MetricSample<'a> {
    pub name: &'a str,
    labels: &'a str,
    pub value: f64,
}

impl<'a> MetricSample<'a> {
    /// Reads a line; `None` if it is none of a finite sample.
    pub fn of(line: &'a str) -> Option<Self> {
        let (head, value) = match line.rfind('}') {
            Some(end) => (line.get(..end)?, line.get(end + 1..)?),
            None => line.split_once(' ')?,
        };
        let (name, labels) = head.split_once('{').unwrap_or((head, ""));
        let value = value.split_whitespace().next()?.parse::<f64>().ok()?;
        value.is_finite().then_some(Self { name, labels, value })
    }

    /// The value of a label; quotes inside of values are not unescaped, no name here has any.
    pub fn label(&self, key: &str) -> Option<&'a str> {
        self.labels.split("\",").find_map(|part| {
            let (name, value) = part.split_once("=\"")?;
            (name.trim() == key).then(|| value.trim_end_matches('"'))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::MetricSample;

    #[test]
    fn lines_of_any_kind() {
        let sample = MetricSample::of("a:b{x=\"1\",y=\"z w\"} 2.5 17").unwrap();
        assert_eq!((sample.name, sample.value), ("a:b", 2.5));
        assert_eq!((sample.label("y"), sample.label("w")), (Some("z w"), None));
        assert_eq!(MetricSample::of("up 1").map(|sample| sample.value), Some(1.0));
        for line in ["", "# HELP a b", "a NaN", "a{", "}{ x", "\u{0}{le=\"} NaN"] {
            assert_eq!(MetricSample::of(line), None, "{line}");
        }
    }
}
