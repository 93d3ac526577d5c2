//! The body of a score request: JSON to typed fields, with messages that teach.
//!
//! The body is read into a loose value first, in which a list of integers is one flat vector
//! (as general JSON values, a body of token ids would cost four times as much), and then field
//! by field, so that a message can name the place. Ranges (vocabulary, limits) are not checked
//! here but in [`crate::validate`].

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Text or token ids, as sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Prompt {
    Text(String),
    Ids(Vec<i64>),
}

/// The items of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Items {
    /// `[]`: neither text nor ids.
    Empty,
    /// One string counts as one item.
    Texts(Vec<String>),
    Ids(Vec<Vec<i64>>),
}

/// The fields of a score request; a field that is `null` counts as missing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ScoreBody {
    pub(crate) query: Option<Prompt>,
    pub(crate) items: Option<Items>,
    pub(crate) label_token_ids: Option<Vec<i64>>,
    pub(crate) apply_softmax: Option<bool>,
    pub(crate) item_first: Option<bool>,
    pub(crate) model: Option<String>,
}

/// What is wrong with a body, and in which field if in one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BodyError {
    pub(crate) field: Option<&'static str>,
    pub(crate) message: String,
}

/// Reads a body.
pub(crate) fn parse(bytes: &[u8]) -> Result<ScoreBody, BodyError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(whole(
            "the body is empty: send a JSON object with `query`, `items` and `label_token_ids`"
                .to_owned(),
        ));
    }
    match serde_json::from_slice(bytes) {
        Ok(Loose::Object(fields)) => typed(fields),
        Ok(other) => Err(whole(format!(
            "the body is {other}: send a JSON object with `query`, `items` and `label_token_ids`"
        ))),
        Err(error) => Err(whole(explain(&error))),
    }
}

fn explain(error: &serde_json::Error) -> String {
    let hint = match error.to_string() {
        text if text.starts_with("recursion limit") => {
            "; the deepest a score request goes is a list of lists"
        }
        text if text.starts_with("number out of range") => {
            "; token ids are whole numbers below the vocabulary size"
        }
        _ if error.is_eof() => "; the body ends early: was it cut off?",
        _ => "; JSON has no NaN, no Infinity, no comments and no trailing commas",
    };
    format!("the body is not valid JSON: {error}{hint}")
}

fn typed(fields: Vec<(String, Loose)>) -> Result<ScoreBody, BodyError> {
    let mut body = ScoreBody::default();
    for (name, value) in fields {
        match name.as_str() {
            "query" => set(&mut body.query, "query", prompt(value)?)?,
            "items" => set(&mut body.items, "items", items(value)?)?,
            "label_token_ids" => set(&mut body.label_token_ids, "label_token_ids", labels(value)?)?,
            "apply_softmax" => {
                set(&mut body.apply_softmax, "apply_softmax", flag("apply_softmax", &value)?)?;
            }
            "item_first" => set(&mut body.item_first, "item_first", flag("item_first", &value)?)?,
            "model" => set(&mut body.model, "model", name_of_model(value)?)?,
            _ => {}
        }
    }
    Ok(body)
}

fn set<T>(slot: &mut Option<T>, field: &'static str, value: Option<T>) -> Result<(), BodyError> {
    if slot.is_some() {
        return Err(wrong(field, format!("`{field}` is given twice: give it once")));
    }
    *slot = value;
    Ok(())
}

fn prompt(value: Loose) -> Result<Option<Prompt>, BodyError> {
    match value {
        Loose::Null => Ok(None),
        Loose::Text(text) => Ok(Some(Prompt::Text(text))),
        Loose::Ints(ids) => Ok(Some(Prompt::Ids(ids))),
        Loose::List(list) => Err(bad_id("query", "query", &list)),
        other => Err(wrong(
            "query",
            format!("`query` is {other}: it must be a string or a list of token ids"),
        )),
    }
}

fn items(value: Loose) -> Result<Option<Items>, BodyError> {
    const KINDS: &str = "a string, a list of strings, or a list of lists of token ids";
    match value {
        Loose::Null => Ok(None),
        Loose::Text(text) => Ok(Some(Items::Texts(vec![text]))),
        Loose::Ints(ids) if ids.is_empty() => Ok(Some(Items::Empty)),
        Loose::Ints(ids) => Err(wrong(
            "items",
            format!(
                "`items[0]` is the number {id}: each item is a string or a list of token ids; for \
                 one item of token ids send \"items\": [[{id}, ...]]",
                id = ids[0]
            ),
        )),
        Loose::List(list) => item_list(list).map(Some),
        other => Err(wrong("items", format!("`items` is {other}: it must be {KINDS}"))),
    }
}

fn item_list(list: Vec<Loose>) -> Result<Items, BodyError> {
    let mut items = Items::Empty;
    for (index, item) in list.into_iter().enumerate() {
        items = match (items, item) {
            (Items::Empty, Loose::Text(text)) => Items::Texts(vec![text]),
            (Items::Empty, Loose::Ints(ids)) => Items::Ids(vec![ids]),
            (Items::Texts(mut texts), Loose::Text(text)) => {
                texts.push(text);
                Items::Texts(texts)
            }
            (Items::Ids(mut lists), Loose::Ints(ids)) => {
                lists.push(ids);
                Items::Ids(lists)
            }
            (_, Loose::List(list)) => {
                return Err(bad_id("items", &format!("items[{index}]"), &list));
            }
            (Items::Texts(_), Loose::Ints(_)) | (Items::Ids(_), Loose::Text(_)) => {
                return Err(wrong(
                    "items",
                    format!(
                        "`items[{index}]` is of another kind than the items before it: send all \
                         items as strings or all as lists of token ids"
                    ),
                ));
            }
            (_, other) => {
                return Err(wrong(
                    "items",
                    format!(
                        "`items[{index}]` is {other}: each item is a string or a list of token ids"
                    ),
                ));
            }
        };
    }
    Ok(items)
}

fn labels(value: Loose) -> Result<Option<Vec<i64>>, BodyError> {
    const FIELD: &str = "label_token_ids";
    match value {
        Loose::Null => Ok(None),
        Loose::Ints(ids) => Ok(Some(ids)),
        Loose::List(list) => Err(bad_id(FIELD, FIELD, &list)),
        other => Err(wrong(FIELD, format!("`{FIELD}` is {other}: it must be a list of token ids"))),
    }
}

fn flag(field: &'static str, value: &Loose) -> Result<Option<bool>, BodyError> {
    match value {
        Loose::Null => Ok(None),
        Loose::Bool(flag) => Ok(Some(*flag)),
        other => Err(wrong(field, format!("`{field}` is {other}: it must be true or false"))),
    }
}

fn name_of_model(value: Loose) -> Result<Option<String>, BodyError> {
    match value {
        Loose::Null => Ok(None),
        Loose::Text(name) => Ok(Some(name)),
        other => Err(wrong("model", format!("`model` is {other}: it must be a string"))),
    }
}

/// Names the first element of a list that is no token id.
fn bad_id(field: &'static str, path: &str, list: &[Loose]) -> BodyError {
    let bad = list.iter().enumerate().find(|(_, value)| !matches!(value, Loose::Int(_)));
    let message = match bad {
        Some((index, value)) => format!(
            "`{path}[{index}]` is {value}: a token id is a whole number from 0 to the vocabulary \
             size - 1"
        ),
        None => format!("`{path}` is not a list of token ids"),
    };
    wrong(field, message)
}

fn wrong(field: &'static str, message: String) -> BodyError {
    BodyError { field: Some(field), message }
}

fn whole(message: String) -> BodyError {
    BodyError { field: None, message }
}

/// Any JSON value, as far as a score request can use it.
#[derive(Debug)]
enum Loose {
    Null,
    Bool(bool),
    Int(i64),
    /// A number that is no `i64`.
    Number(f64),
    Text(String),
    /// A list of integers only (the empty list too).
    Ints(Vec<i64>),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

/// As a message names it: quoted and short, whatever was sent.
impl fmt::Display for Loose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "the number {value}"),
            Self::Number(value) => write!(f, "the number {value:?}"),
            Self::Text(text) => write!(f, "the string {}", shorten(text)),
            Self::Ints(_) | Self::List(_) => f.write_str("a list"),
            Self::Object(_) => f.write_str("an object"),
        }
    }
}

/// A string for a message: quoted, cut to what a reader needs to recognise it.
pub(crate) fn shorten(text: &str) -> String {
    let mut cut: String = text.chars().take(40).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    format!("{cut:?}")
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseVisitor)
    }
}

struct LooseVisitor;

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Loose;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Loose, E> {
        Ok(Loose::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Loose, E> {
        Ok(Loose::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Loose, E> {
        Ok(Loose::Int(value))
    }

    #[expect(clippy::cast_precision_loss, reason = "only shown in a message")]
    fn visit_u64<E>(self, value: u64) -> Result<Loose, E> {
        Ok(i64::try_from(value).map_or(Loose::Number(value as f64), Loose::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Loose, E> {
        Ok(Loose::Number(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Loose, E> {
        Ok(Loose::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Loose, E> {
        Ok(Loose::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Loose, A::Error> {
        let mut ints = Vec::new();
        while let Some(value) = seq.next_element()? {
            match value {
                Loose::Int(int) => ints.push(int),
                other => {
                    let mut list: Vec<Loose> = ints.into_iter().map(Loose::Int).collect();
                    list.push(other);
                    while let Some(value) = seq.next_element()? {
                        list.push(value);
                    }
                    return Ok(Loose::List(list));
                }
            }
        }
        Ok(Loose::Ints(ints))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Loose, A::Error> {
        const KNOWN: [&str; 6] =
            ["query", "items", "label_token_ids", "apply_softmax", "item_first", "model"];
        let mut fields = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            if KNOWN.contains(&key.as_str()) {
                fields.push((key, map.next_value()?));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Loose::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &str) -> String {
        parse(body.as_bytes()).expect_err(body).message
    }

    #[test]
    fn reads_text_and_token_ids() {
        let body = parse(br#"{"query":"q","items":"i","label_token_ids":[1,2],"x":[{}]}"#).unwrap();
        assert_eq!(
            body,
            ScoreBody {
                query: Some(Prompt::Text("q".to_owned())),
                items: Some(Items::Texts(vec!["i".to_owned()])),
                label_token_ids: Some(vec![1, 2]),
                ..ScoreBody::default()
            }
        );
        let body = parse(br#"{"query":[1],"items":[[2],[]],"item_first":null}"#).unwrap();
        assert_eq!(body.query, Some(Prompt::Ids(vec![1])));
        assert_eq!(body.items, Some(Items::Ids(vec![vec![2], vec![]])));
        assert_eq!(parse(br#"{"items":[]}"#).unwrap().items, Some(Items::Empty));
    }

    #[test]
    fn messages_name_the_place_and_the_value() {
        for (body, expected) in [
            ("", "the body is empty"),
            ("[1]", "the body is a list"),
            ("{", "cut off"),
            (r#"{"query": NaN}"#, "no NaN"),
            (r#"{"query": 1e999}"#, "number out of range"),
            (r#"{"query":[1,2.5]}"#, "`query[1]` is the number 2.5"),
            (r#"{"query":[99999999999999999999]}"#, "`query[0]` is the number 1e20"),
            (r#"{"query":7}"#, "`query` is the number 7"),
            (r#"{"query":[[1]]}"#, "`query[0]` is a list"),
            (r#"{"items":[1]}"#, "send \"items\": [[1, ...]]"),
            (r#"{"items":["a",[1]]}"#, "`items[1]` is of another kind"),
            (r#"{"items":[[1],"a"]}"#, "`items[1]` is of another kind"),
            (r#"{"items":[[1,"a"]]}"#, "`items[0][1]` is the string \"a\""),
            (r#"{"items":["a",null]}"#, "`items[1]` is null"),
            (r#"{"items":{}}"#, "`items` is an object"),
            (r#"{"label_token_ids":"1"}"#, "`label_token_ids` is the string \"1\""),
            (r#"{"label_token_ids":[true]}"#, "`label_token_ids[0]` is true"),
            (r#"{"apply_softmax":1}"#, "`apply_softmax` is the number 1"),
            (r#"{"model":[]}"#, "`model` is a list"),
            (r#"{"query":"a","query":"b"}"#, "`query` is given twice"),
        ] {
            let found = message(body);
            assert!(found.contains(expected), "{body}: {found}");
        }
        let deep = format!("{{\"query\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
        assert!(message(&deep).contains("list of lists"), "{}", message(&deep));
    }
}
