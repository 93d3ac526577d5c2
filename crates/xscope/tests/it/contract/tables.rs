//! The tables of fields in FORMAT.md, made from the schemas.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use super::Document;
use super::schema::Schema;

/// Values that a cell can hold; of more the schema has the list.
const VALUES: usize = 12;

/// A table for each object of each document. An object that several have stands where it comes first.
pub(super) fn tables(documents: &[Document]) -> String {
    let mut out = String::new();
    let mut known: BTreeMap<String, Value> = BTreeMap::new();
    for document in documents {
        let Document { name, version, place, schema } = document;
        let version = version.map_or_else(String::new, |version| format!(", schema `{version}`"));
        out += &format!("\n### {place}\n\n[schemas/{name}.json](schemas/{name}.json){version}. ");
        let mut queue = VecDeque::new();
        table(Schema::of(schema), name, &mut queue, &mut out);
        while let Some((name, object)) = queue.pop_front() {
            match known.get(name) {
                Some(before) => assert_eq!(before, object.node, "two objects are called {name}"),
                None => {
                    known.insert(name.to_owned(), object.node.clone());
                    out += &format!("\n#### {name}\n\n");
                    table(object, document.name, &mut queue, &mut out);
                }
            }
        }
    }
    out
}

type Queue<'a> = VecDeque<(&'a str, Schema<'a>)>;

/// What is said of an object, and its fields; what these refer to goes to the queue.
fn table<'a>(object: Schema<'a>, document: &str, queue: &mut Queue<'a>, out: &mut String) {
    let sentence = text(object.node);
    *out += &format!("{sentence}\n\n| field | type | unit | meaning |\n|---|---|---|---|\n");
    let required: Vec<&str> = names(&object.node["required"]).collect();
    for (name, field) in object.node["properties"].as_object().into_iter().flatten() {
        let field = object.at(field);
        let mut type_name = described(field, queue);
        if !required.contains(&&**name) {
            type_name += ", may be absent";
        }
        let (unit, mut meaning) = (unit(name, field), text(field.node));
        let values = values(field);
        if values.len() > VALUES {
            meaning +=
                &format!(" One of {} words, listed in schemas/{document}.json.", values.len());
        } else {
            for (value, means) in &values {
                meaning += &format!(" `{value}`");
                meaning += &if means.is_empty() { ".".to_owned() } else { format!(": {means}") };
            }
        }
        *out += &format!("| `{name}` | {type_name} | {unit} | {} |\n", meaning.trim());
    }
    if let Some(others) =
        object.node.get("additionalProperties").filter(|it| **it != Value::Bool(false))
    {
        let others = described(object.at(others), queue);
        *out += &format!("| others | {others} | | |\n");
    }
}

fn names(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// The description of a part of a schema, on one line.
fn text(node: &Value) -> String {
    node["description"].as_str().unwrap_or_default().replace('\n', " ").replace('|', "\\|")
}

/// The type of a field, in words.
fn described<'a>(field: Schema<'a>, queue: &mut Queue<'a>) -> String {
    if let Some((name, referred)) = field.referred() {
        if referred.node.get("properties").is_none() {
            return described(referred, queue);
        }
        if name == "Metric" {
            return "[metric](#metric)".to_owned();
        }
        queue.push_back((name, referred));
        return format!("[{name}](#{})", name.to_lowercase());
    }
    let node = field.node;
    if let Some(options) = node["anyOf"].as_array() {
        let options: Vec<_> = options.iter().map(|one| described(field.at(one), queue)).collect();
        return options.join(" or ");
    }
    let inner = |key: &str, queue: &mut Queue<'a>| match node.get(key) {
        Some(inner) if inner.is_object() => described(field.at(inner), queue),
        _ => "anything".to_owned(),
    };
    let one = |name: &str, queue: &mut Queue<'a>| match name {
        "array" => format!("list of {}", inner("items", queue)),
        "object" => format!("map to {}", inner("additionalProperties", queue)),
        other => other.to_owned(),
    };
    match &node["type"] {
        Value::Array(types) => {
            let types = types.iter().filter_map(Value::as_str);
            types.map(|name| one(name, queue)).collect::<Vec<_>>().join(" or ")
        }
        Value::String(name) => one(name, queue),
        _ if node.get("oneOf").or(node.get("enum")).or(node.get("const")).is_some() => {
            "string".to_owned()
        }
        _ => "anything".to_owned(),
    }
}

/// The words that a field can be, and what each means.
fn values(field: Schema<'_>) -> Vec<(String, String)> {
    if let Some((_, referred)) = field.referred() {
        return values(referred);
    }
    let node = field.node;
    let word = |value: &Value, means: String| Some((value.as_str()?.to_owned(), means));
    let mut found: Vec<(String, String)> =
        names(&node["enum"]).map(|name| (name.to_owned(), String::new())).collect();
    for one in node["oneOf"].as_array().into_iter().flatten() {
        found.extend(one.get("const").and_then(|value| word(value, text(one))));
        found.extend(names(&one["enum"]).map(|name| (name.to_owned(), String::new())));
    }
    for one in node["anyOf"].as_array().into_iter().flatten() {
        found.extend(values(field.at(one)));
    }
    if let Some(items) = node.get("items").filter(|it| it.is_object()) {
        found.extend(values(field.at(items)));
    }
    found
}

/// The unit that a field's name ends with, or that its metrics are in.
fn unit(name: &str, field: Schema<'_>) -> String {
    if let Some(unit) = field.node["properties"]["unit"]["const"].as_str() {
        return unit.to_owned();
    }
    const UNITS: [(&str, &str); 14] = [
        ("per_sec", "1/s"),
        ("ms", "ms"),
        ("us", "µs"),
        ("ns", "ns"),
        ("bytes", "B"),
        ("mb", "MB"),
        ("mib", "MiB"),
        ("percent", "%"),
        ("secs", "s"),
        ("share", "1"),
        ("a_ms", "ms"),
        ("ticks", "kernel's ticks"),
        ("cores", "cores"),
        ("bytes_accessed", "B"),
    ];
    let of_name = |(end, _): &&(&str, &str)| {
        name.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('_'))
    };
    match UNITS.iter().find(of_name) {
        Some((_, unit)) if field.kind().contains("number") || field.kind().contains("integer") => {
            (*unit).to_owned()
        }
        _ if field.kind() == "metric" => "beside it".to_owned(),
        _ => String::new(),
    }
}
