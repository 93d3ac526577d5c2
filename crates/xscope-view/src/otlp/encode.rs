//! The messages of OTLP in their JSON encoding: ids in hexadecimal, 64-bit numbers as text.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use xscope_trace::Nanos;

/// The version of the semantic conventions whose names the attributes have.
const CONVENTIONS: &str = "https://opentelemetry.io/schemas/1.37.0";

/// Most spans of one document, so that it stays below what collectors refuse.
const CHUNK: usize = 1000;

pub(crate) const INTERNAL: u8 = 1;
pub(crate) const SERVER: u8 = 2;
pub(crate) const CLIENT: u8 = 3;

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Span {
    pub trace_id: String,
    pub span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_span_id: Option<String>,
    pub name: String,
    pub kind: u8,
    #[serde(rename = "startTimeUnixNano", serialize_with = "text")]
    pub start: Nanos,
    #[serde(rename = "endTimeUnixNano", serialize_with = "text")]
    pub end: Nanos,
    pub attributes: Vec<KeyValue>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// Whose span it is, by its place among the resources.
    #[serde(skip)]
    pub resource: usize,
}

fn text<S: Serializer>(time: &Nanos, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&time.0)
}

/// Where another span is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Link {
    pub trace_id: String,
    pub span_id: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Status {
    code: u8,
}

impl Status {
    pub(crate) fn error() -> Self {
        Self { code: 2 }
    }
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct KeyValue {
    pub key: String,
    value: AnyValue,
}

impl KeyValue {
    /// Takes up the value of another one of the same key.
    pub(crate) fn add(&mut self, other: Self) {
        match &mut self.value {
            AnyValue::List { values } => values.push(other.value),
            one => *one = AnyValue::List { values: vec![one.clone(), other.value] },
        }
    }
}

#[derive(Debug, Clone, Serialize)]
pub(crate) enum AnyValue {
    #[serde(rename = "stringValue")]
    Text(String),
    #[serde(rename = "boolValue")]
    Bool(bool),
    /// As text: the numbers of JSON readers have 53 bits.
    #[serde(rename = "intValue")]
    Int(String),
    #[serde(rename = "doubleValue")]
    Double(f64),
    #[serde(rename = "arrayValue")]
    List { values: Vec<Self> },
}

impl From<String> for AnyValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for AnyValue {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for AnyValue {
    fn from(value: i64) -> Self {
        Self::Int(value.to_string())
    }
}

impl From<f64> for AnyValue {
    fn from(value: f64) -> Self {
        match value.is_finite() {
            true => Self::Double(value),
            false => Self::Text(value.to_string()),
        }
    }
}

impl From<Vec<String>> for AnyValue {
    fn from(texts: Vec<String>) -> Self {
        Self::List { values: texts.into_iter().map(Self::Text).collect() }
    }
}

pub(crate) fn attribute(key: &str, value: impl Into<AnyValue>) -> KeyValue {
    KeyValue { key: key.to_owned(), value: value.into() }
}

/// Requests to a collector that hold all spans, those of one resource together.
pub(crate) fn chunks(resources: &[Vec<KeyValue>], spans: &[Span]) -> Vec<Value> {
    let scope = json!({ "name": "xscope", "version": env!("CARGO_PKG_VERSION") });
    let document = |spans: &[Span]| {
        let mut by_resource: BTreeMap<usize, Vec<&Span>> = BTreeMap::new();
        for span in spans {
            by_resource.entry(span.resource).or_default().push(span);
        }
        let of_one = by_resource.into_iter().map(|(resource, spans)| {
            json!({
                "resource": { "attributes": resources.get(resource).map_or(&[][..], Vec::as_slice) },
                "scopeSpans": [{ "scope": scope, "spans": spans, "schemaUrl": CONVENTIONS }],
                "schemaUrl": CONVENTIONS,
            })
        });
        json!({ "resourceSpans": of_one.collect::<Vec<_>>() })
    };
    spans.chunks(CHUNK).map(document).collect()
}
