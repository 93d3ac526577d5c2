//! One event of a Chrome trace, as it lies in the file.

use super::decimal::picos_from_micros;
use super::json::{Cursor, Parsed, Text, Value, append_compact};
use crate::model::ArgCell;
use crate::strings::{StrId, Strings};

/// How deep objects in arguments are taken apart; what lies deeper is kept as JSON text.
const MAX_FLATTEN: u32 = 8;

/// Longest JSON text that is kept of an array.
const MAX_JSON_TEXT: usize = 64 << 10;

/// A time as it lies in the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Time {
    #[default]
    Missing,
    /// No number.
    Invalid,
    /// Picoseconds since the source's own zero: Unix time in them needs more than 64 bits.
    At(i128),
}

/// An id: of a process, a thread, an asynchronous operation, a flow.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Id<'a> {
    #[default]
    None,
    Number(&'a [u8]),
    Text(Text<'a>),
}

/// One event; its arguments are in an [`Args`].
#[derive(Debug, Default)]
pub(super) struct Event<'a> {
    /// The first letter of `ph`, 0 if there is none.
    pub phase: u8,
    pub name: Text<'a>,
    pub category: Text<'a>,
    pub ts: Time,
    pub dur: Time,
    pub pid: Id<'a>,
    pub tid: Id<'a>,
    pub id: Id<'a>,
    pub local_id: Id<'a>,
    pub global_id: Id<'a>,
    /// What distinguishes ids of different producers.
    pub id_scope: Text<'a>,
    /// Scope of an instant: `g`, `p` or `t`.
    pub scope: Text<'a>,
    pub bind_id: Id<'a>,
    pub flow_in: bool,
    pub flow_out: bool,
    /// A flow ends at the slice around it, not at the next one.
    pub binds_enclosing: bool,
}

/// The arguments of one event, flattened; reused from event to event.
#[derive(Debug, Default)]
pub(super) struct Args {
    pub cells: Vec<(StrId, ArgCell)>,
    /// Whether the arguments were an object.
    pub is_object: bool,
    path: String,
    scratch: String,
}

impl Id<'_> {
    /// The id as text, empty for none.
    pub(super) fn text<'s>(&'s self, scratch: &'s mut String) -> &'s str {
        match self {
            Self::None => "",
            Self::Number(digits) => std::str::from_utf8(digits).unwrap_or_default(),
            Self::Text(text) => text.decode(scratch),
        }
    }
}

/// Reads the event at the cursor, which stands at its opening brace. What `args` held is lost.
pub(super) fn read<'a>(
    cursor: &mut Cursor<'a>,
    args: &mut Args,
    strings: &mut Strings,
) -> Parsed<Event<'a>> {
    args.cells.clear();
    args.is_object = false;
    let mut event = Event::default();
    let Value::Object = cursor.value()? else { return Ok(event) };
    while let Some(key) = cursor.next_key()? {
        match key.raw {
            b"ph" => event.phase = text(cursor)?.raw.first().copied().unwrap_or(0),
            b"name" => event.name = text(cursor)?,
            b"cat" => event.category = text(cursor)?,
            b"ts" => event.ts = time(cursor)?,
            b"dur" => event.dur = time(cursor)?,
            b"pid" => event.pid = id(cursor)?,
            b"tid" => event.tid = id(cursor)?,
            b"args" => args.read(cursor, strings)?,
            b"id" => event.id = id(cursor)?,
            b"id2" => read_id2(cursor, &mut event)?,
            b"scope" => event.id_scope = text(cursor)?,
            b"s" => event.scope = text(cursor)?,
            b"bp" => event.binds_enclosing = text(cursor)?.raw == b"e",
            b"bind_id" => event.bind_id = id(cursor)?,
            b"flow_in" => event.flow_in = flag(cursor)?,
            b"flow_out" => event.flow_out = flag(cursor)?,
            _ => {
                cursor.skip_value()?;
            }
        }
    }
    Ok(event)
}

/// A text value; anything else reads as empty.
fn text<'a>(cursor: &mut Cursor<'a>) -> Parsed<Text<'a>> {
    match id(cursor)? {
        Id::Text(text) => Ok(text),
        Id::Number(_) | Id::None => Ok(Text::default()),
    }
}

fn id<'a>(cursor: &mut Cursor<'a>) -> Parsed<Id<'a>> {
    match cursor.value()? {
        Value::Text(text) => Ok(Id::Text(text)),
        Value::Number(digits) => Ok(Id::Number(digits)),
        Value::Object | Value::Array => cursor.skip_rest().map(|()| Id::None),
        Value::Odd(_) | Value::Bool(_) | Value::Null => Ok(Id::None),
    }
}

/// A time: a number, or text that reads as one.
fn time(cursor: &mut Cursor<'_>) -> Parsed<Time> {
    let digits = match id(cursor)? {
        Id::Number(digits) => digits,
        Id::Text(text) => text.raw.trim_ascii(),
        Id::None => return Ok(Time::Invalid),
    };
    Ok(picos_from_micros(digits).map_or(Time::Invalid, Time::At))
}

fn flag(cursor: &mut Cursor<'_>) -> Parsed<bool> {
    Ok(match cursor.value()? {
        Value::Bool(value) => value,
        Value::Number(digits) => digits != b"0",
        Value::Text(text) => text.raw == b"true",
        Value::Object | Value::Array => cursor.skip_rest().map(|()| false)?,
        Value::Odd(_) | Value::Null => false,
    })
}

fn read_id2<'a>(cursor: &mut Cursor<'a>, event: &mut Event<'a>) -> Parsed<()> {
    match cursor.value()? {
        Value::Object => {}
        Value::Array => return cursor.skip_rest(),
        _ => return Ok(()),
    }
    while let Some(key) = cursor.next_key()? {
        match key.raw {
            b"local" => event.local_id = id(cursor)?,
            b"global" => event.global_id = id(cursor)?,
            _ => {
                cursor.skip_value()?;
            }
        }
    }
    Ok(())
}

impl Args {
    /// Reads the value at the cursor: an object's members by their keys, anything else as `args`.
    fn read(&mut self, cursor: &mut Cursor<'_>, strings: &mut Strings) -> Parsed<()> {
        self.cells.clear();
        self.path.clear();
        match cursor.value()? {
            Value::Object => {
                self.is_object = true;
                self.read_members(cursor, strings, 0)
            }
            value => {
                self.path.push_str("args");
                let key = strings.intern("args");
                self.push(cursor, strings, key, value)
            }
        }
    }

    /// Reads the members of an object whose brace was consumed; the path says where it hangs.
    fn read_members(
        &mut self,
        cursor: &mut Cursor<'_>,
        strings: &mut Strings,
        depth: u32,
    ) -> Parsed<()> {
        let parent = self.path.len();
        while let Some(key) = cursor.next_key()? {
            let value = cursor.value()?;
            if matches!(value, Value::Object) && depth < MAX_FLATTEN {
                self.extend_path(key);
                self.read_members(cursor, strings, depth + 1)?;
                self.path.truncate(parent);
                continue;
            }
            let id = if parent == 0 {
                strings.intern(key.decode(&mut self.scratch))
            } else {
                self.extend_path(key);
                let id = strings.intern(&self.path);
                self.path.truncate(parent);
                id
            };
            self.push(cursor, strings, id, value)?;
        }
        Ok(())
    }

    fn extend_path(&mut self, key: Text<'_>) {
        if !self.path.is_empty() {
            self.path.push('.');
        }
        key.append_to(&mut self.path);
    }

    /// Keeps one value. `null` and empty containers say nothing and are left out.
    fn push(
        &mut self,
        cursor: &mut Cursor<'_>,
        strings: &mut Strings,
        key: StrId,
        value: Value<'_>,
    ) -> Parsed<()> {
        let cell = match value {
            Value::Text(text) => ArgCell::Str(strings.intern(text.decode(&mut self.scratch))),
            Value::Number(digits) => number(digits, strings),
            Value::Odd(value) => ArgCell::Float(value),
            Value::Bool(value) => ArgCell::Int(i64::from(value)),
            Value::Null => return Ok(()),
            Value::Object | Value::Array => {
                let json = cursor.rest_of_container()?;
                self.scratch.clear();
                append_compact(&json[..json.len().min(MAX_JSON_TEXT)], &mut self.scratch);
                if matches!(self.scratch.as_str(), "[]" | "{}") {
                    return Ok(());
                }
                ArgCell::Str(strings.intern(&self.scratch))
            }
        };
        self.cells.push((key, cell));
        Ok(())
    }
}

/// A number as an integer where it is one. An integer that fits no `i64` stays text: an address
/// must not be rounded.
fn number(digits: &[u8], strings: &mut Strings) -> ArgCell {
    let text = std::str::from_utf8(digits).unwrap_or_default();
    if let Ok(value) = text.parse() {
        return ArgCell::Int(value);
    }
    let is_integer = digits.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-');
    match text.parse() {
        Ok(value) if !is_integer => ArgCell::Float(value),
        _ => ArgCell::Str(strings.intern(text)),
    }
}
