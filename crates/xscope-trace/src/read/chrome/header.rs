//! What a file says besides its events.

use super::json::{Cursor, Parsed, Value};
use crate::model::{Clock, Format, Source};
use crate::naming::host_from_path;
use crate::strings::StrId;
use crate::time::{Bytes, Nanos};

/// Longest text and largest number of facts that are kept.
const MAX_FACT_TEXT: usize = 1024;
const MAX_FACTS: usize = 512;

/// What a fact's name must not contain, in lower case: traces get mailed and published.
const SECRETS: [&str; 6] = ["token", "secret", "password", "passwd", "credential", "api_key"];

/// Times between 2001 and 2100 in nanoseconds since 1970 are taken for Unix time.
const UNIX_NANOS: std::ops::Range<i64> = 1_000_000_000_000_000_000..4_102_444_800_000_000_000;

/// What a file says besides its events.
#[derive(Debug, Default)]
pub(super) struct Header {
    facts: Vec<(String, String)>,
    /// Keys of the outermost object, the first few.
    pub keys: Vec<String>,
    /// Model names of GPUs by their number.
    pub models: Vec<(i64, String)>,
    /// When the source's zero was, in nanoseconds since 1970.
    base_nanos: Option<i64>,
    pub has_events: bool,
    pub is_array: bool,
}

/// What one member of the outermost object says.
#[derive(Debug, Default)]
pub(super) struct HeaderValues {
    facts: Vec<(String, String)>,
    models: Vec<(i64, String)>,
}

/// Reads the value of the member `key`. Kept are the value itself and its direct members, where
/// they are plain: what lies deeper (one recorder puts its whole environment there, with its
/// secrets) is left out.
pub(super) fn read_value(cursor: &mut Cursor<'_>, key: &str) -> Parsed<HeaderValues> {
    let mut values = HeaderValues::default();
    match cursor.value()? {
        Value::Object => values.facts = read_members(cursor, key)?,
        Value::Array if key == "deviceProperties" => values.models = read_models(cursor)?,
        Value::Array => cursor.skip_rest()?,
        value => values.facts.extend(plain_text(value).map(|text| (key.to_owned(), text))),
    }
    Ok(values)
}

/// The plain members of an object whose brace was consumed.
fn read_members(cursor: &mut Cursor<'_>, prefix: &str) -> Parsed<Vec<(String, String)>> {
    let mut members = Vec::new();
    while let Some(name) = cursor.next_key()? {
        let value = cursor.value()?;
        if matches!(value, Value::Object | Value::Array) {
            cursor.skip_rest()?;
        } else if let Some(text) = plain_text(value)
            && members.len() < MAX_FACTS
        {
            let mut key = prefix.to_owned();
            if !key.is_empty() {
                key.push('.');
            }
            name.append_to(&mut key);
            members.push((key, text));
        }
    }
    Ok(members)
}

fn plain_text(value: Value<'_>) -> Option<String> {
    match value {
        Value::Text(text) => {
            let mut out = String::new();
            text.append_to(&mut out);
            Some(out)
        }
        Value::Number(digits) => Some(String::from_utf8_lossy(digits).into_owned()),
        Value::Odd(value) => Some(value.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Null | Value::Object | Value::Array => None,
    }
}

/// The names of Kineto's `deviceProperties`, an array of objects, by their `id`.
fn read_models(cursor: &mut Cursor<'_>) -> Parsed<Vec<(i64, String)>> {
    let mut models = Vec::new();
    while cursor.next_item()? {
        match cursor.value()? {
            Value::Object => {}
            Value::Array => {
                cursor.skip_rest()?;
                continue;
            }
            _ => continue,
        }
        let members = read_members(cursor, "")?;
        let find = |name: &str| {
            members.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
        };
        let id = find("id").and_then(|id| id.parse().ok());
        models.extend(id.zip(find("name").map(str::to_owned)));
    }
    Ok(models)
}

impl Header {
    pub(super) fn keep(&mut self, values: HeaderValues) {
        let room = MAX_FACTS.saturating_sub(self.models.len());
        self.models.extend(values.models.into_iter().take(room));
        for (key, text) in values.facts {
            if key == "baseTimeNanoseconds" {
                self.base_nanos = text.parse().ok();
            }
            let name = key.to_ascii_lowercase();
            let is_secret = SECRETS.iter().any(|secret| name.contains(secret));
            if !is_secret && text.len() <= MAX_FACT_TEXT && self.facts.len() < MAX_FACTS {
                self.facts.push((key, text));
            }
        }
    }

    /// The model of GPU `ordinal`. Kineto numbers devices as the process sees them and events as
    /// the machine does, so a number that is not described gets the name that all others share.
    pub(super) fn model_of(&self, ordinal: i64) -> &str {
        if let Some((_, model)) = self.models.iter().find(|(number, _)| *number == ordinal) {
            return model;
        }
        match self.models.as_slice() {
            [(_, first), rest @ ..] if rest.iter().all(|(_, model)| model == first) => first,
            _ => "",
        }
    }

    /// The source, given what was subtracted from its times (`base`, in picoseconds).
    pub(super) fn into_source(self, path: &str, size: Bytes, host: StrId, base: i128) -> Source {
        let base = i64::try_from(base / 1000).unwrap_or(0);
        let unix_epoch = match self.base_nanos {
            _ if UNIX_NANOS.contains(&base) => Some(base),
            Some(nanos) => nanos.checked_add(base),
            None => None,
        };
        let mut facts = self.facts;
        facts.sort();
        facts.dedup();
        Source {
            path: path.to_owned(),
            format: Format::ChromeJson,
            size,
            host,
            server: StrId::EMPTY,
            rank: None,
            clock: Clock {
                unix_epoch: unix_epoch.map(Nanos),
                base: Nanos(base),
                ..Clock::default()
            },
            facts,
        }
    }
}

/// The host of JAX's `<host>.trace.json.gz`; Kineto's names say other things, and empty is none.
pub(super) fn host_of(path: &str) -> &str {
    match path.ends_with(".pt.trace.json") || path.ends_with(".pt.trace.json.gz") {
        true => "",
        false => host_from_path(path, ".trace.json"),
    }
}
