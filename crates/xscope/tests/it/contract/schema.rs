//! A checker of JSON against the schemas of the contract: the keywords that these have, and no others.
//!
//! It is stricter than a client has to be: an object has no fields but those of its schema, so that a
//! field that the tables do not name fails a test.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Keywords that say nothing of what is allowed.
const SAID: &[&str] =
    &["$defs", "$schema", "title", "description", "default", "format", "uniqueItems"];

/// A schema with what its references lead to.
#[derive(Clone, Copy)]
pub(crate) struct Schema<'a> {
    pub root: &'a Value,
    pub node: &'a Value,
}

impl<'a> Schema<'a> {
    pub(crate) fn of(root: &'a Value) -> Self {
        Self { root, node: root }
    }

    pub(crate) fn at(self, node: &'a Value) -> Self {
        Self { node, ..self }
    }

    /// The name of the type that it refers to, and that.
    pub(crate) fn referred(self) -> Option<(&'a str, Self)> {
        let name = self.node["$ref"].as_str()?.strip_prefix("#/$defs/")?;
        Some((name, self.at(&self.root["$defs"][name])))
    }

    /// What is wrong with a value, with where it stands.
    pub(crate) fn violations(self, value: &Value) -> Vec<String> {
        let mut found = Vec::new();
        self.check(value, "", &mut found);
        found
    }

    fn check(self, value: &Value, place: &str, found: &mut Vec<String>) {
        let keywords = match self.node {
            Value::Bool(true) => return,
            Value::Object(keywords) => keywords,
            other => panic!("{other} is no schema"),
        };
        let mut wrong = |what: String| found.push(format!("{place}: {what}: {value}"));
        for (keyword, said) in keywords {
            let holds = match &**keyword {
                "type" => match said {
                    Value::Array(types) => types.iter().any(|it| is(value, it)),
                    one => is(value, one),
                },
                "const" => value == said,
                "enum" => said.as_array().unwrap().contains(value),
                "minimum" => value.as_f64().is_none_or(|number| number >= said.as_f64().unwrap()),
                "maximum" => value.as_f64().is_none_or(|number| number <= said.as_f64().unwrap()),
                "minLength" => {
                    value.as_str().is_none_or(|it| it.len() as u64 >= said.as_u64().unwrap())
                }
                "minItems" => {
                    value.as_array().is_none_or(|it| it.len() as u64 >= said.as_u64().unwrap())
                }
                "maxItems" => {
                    value.as_array().is_none_or(|it| it.len() as u64 <= said.as_u64().unwrap())
                }
                "required" => {
                    let missing = |name: &&Value| value.get(name.as_str().unwrap()).is_none();
                    let missing: Vec<_> = said.as_array().unwrap().iter().filter(missing).collect();
                    value.is_object() && !missing.is_empty() && {
                        wrong(format!("lacks {missing:?}"));
                        false
                    } || missing.is_empty()
                        || !value.is_object()
                }
                "anyOf" | "oneOf" => said
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|one| self.at(one).violations(value).is_empty()),
                "$ref"
                | "allOf"
                | "items"
                | "prefixItems"
                | "properties"
                | "additionalProperties" => true,
                known if SAID.contains(&known) => true,
                other => panic!("the checker of schemas does not know {other}"),
            };
            if !holds && keyword != "required" {
                wrong(format!("not {keyword} {said}"));
            }
        }
        if let Some((_, referred)) = self.referred() {
            referred.check(value, place, found);
        }
        for one in keywords.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            self.at(one).check(value, place, found);
        }
        match value {
            Value::Array(entries) => self.check_entries(entries, place, found),
            Value::Object(fields) => self.check_fields(fields, place, found),
            _ => {}
        }
    }

    fn check_entries(self, entries: &[Value], place: &str, found: &mut Vec<String>) {
        let first = self.node["prefixItems"].as_array().map_or(&[][..], |it| it);
        for (index, entry) in entries.iter().enumerate() {
            if let Some(schema) = first.get(index).or(self.node.get("items")) {
                self.at(schema).check(entry, &format!("{place}[{index}]"), found);
            }
        }
    }

    fn check_fields(self, fields: &Map<String, Value>, place: &str, found: &mut Vec<String>) {
        let known = self.node.get("properties").and_then(Value::as_object);
        let others = self.node.get("additionalProperties");
        for (name, value) in fields {
            let place = format!("{place}.{name}");
            match (known.and_then(|known| known.get(name)), others) {
                (Some(schema), _) => self.at(schema).check(value, &place, found),
                (None, Some(Value::Bool(false))) => found.push(format!("{place} is not allowed")),
                (None, Some(schema)) => self.at(schema).check(value, &place, found),
                // Beside a reference, properties only say more of what it has.
                (None, None) if known.is_some() && self.node.get("$ref").is_none() => {
                    found.push(format!("{place} is in no schema"));
                }
                (None, None) => {}
            }
        }
    }

    /// What a client sees in a field of this schema, whatever else is said of it.
    pub(crate) fn kind(self) -> String {
        if let Some((name, referred)) = self.referred() {
            return if name == "Metric" { "metric".to_owned() } else { referred.kind() };
        }
        let node = self.node;
        if let Some(options) = ["anyOf", "oneOf"].iter().find_map(|it| node.get(it)?.as_array()) {
            let kinds: BTreeSet<String> = options.iter().map(|one| self.at(one).kind()).collect();
            let kinds: Vec<String> = kinds.into_iter().filter(|kind| kind != "null").collect();
            return kinds.join(" or ");
        }
        let types = match &node["type"] {
            Value::Array(types) => types.clone(),
            one => vec![one.clone()],
        };
        let name = types.iter().filter_map(Value::as_str).find(|it| *it != "null");
        match name {
            Some("array") => match node.get("items").filter(|it| it.is_object()) {
                Some(items) => format!("array of {}", self.at(items).kind()),
                None => "array".to_owned(),
            },
            Some("object") if node.get("properties").is_none() => {
                match node.get("additionalProperties").filter(|it| it.is_object()) {
                    Some(values) => format!("map to {}", self.at(values).kind()),
                    None => "map".to_owned(),
                }
            }
            Some(name) => name.to_owned(),
            None if node.get("const").or(node.get("enum")).is_some() => "string".to_owned(),
            None if node["type"] == "null" => "null".to_owned(),
            None => "any".to_owned(),
        }
    }
}

fn is(value: &Value, name: &Value) -> bool {
    match name.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("there is no type {other}"),
    }
}
