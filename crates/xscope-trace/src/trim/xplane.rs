//! Cuts a stretch of time out of an XPlane file without decoding it.
//!
//! Kept events keep their bytes, and everything that is no event is kept: metadata, stats, HLO,
//! host names, errors. Memory does not grow with the file, which is mapped. Times stay as they
//! are, so what is found at 1.3 s of the result is at 1.3 s of the original; only the end of the
//! session moves to the end of the window.

use std::io::{self, Write};
use std::path::Path;

use rustc_hash::FxHashMap;

use crate::error::{Error, Result};
use crate::naming::{PlaneKind, classify};
use crate::read::input::Input;
use crate::time::{Nanos, Picos};
use crate::trim::slices::{Cut, Noise, Trimmed};
use crate::wire::{FieldBytes, Message, Value};
use crate::wire_write::{field_len, put_bytes, put_header, put_int, put_uint};
use crate::write::xplane::{START_TIME, STOP_TIME, TASK_ENVIRONMENT};

/// Line times below this count from the session's start, as in the reader.
const RELATIVE_BELOW: i64 = 1_000_000_000_000_000;

/// Trims the file at `input` (XPlane, packed or not) into the file at `output`.
///
/// # Errors
/// If `input` cannot be read or has no plane, or `output` not be written; it stays as it was.
pub fn trim_file(input: &Path, output: &Path, cut: &Cut) -> Result<Trimmed> {
    let (bytes, lost) = Input::open(input)?.xplane()?;
    crate::atomic::replace(output, |file| {
        let mut out = io::BufWriter::with_capacity(1 << 20, file);
        let mut trimmed = trim_bytes(&bytes, &mut out, cut)?;
        out.flush()?;
        trimmed.damaged_at = lost.first_at().or(trimmed.damaged_at);
        Ok(trimmed)
    })
    .map_err(|source| Error::Write { path: output.to_owned(), source })
}

/// Trims the XSpace in `bytes`.
///
/// # Errors
/// Those of `out`.
pub fn trim_bytes(bytes: &[u8], out: &mut impl Write, cut: &Cut) -> io::Result<Trimmed> {
    let mut trimmed = Trimmed::default();
    let space = Message { bytes, offset: 0 };
    let planes = space.fields().flatten().filter(|(number, _)| *number == 1);
    let epoch = planes.filter_map(|(_, value)| session_start(value.message()?)).next();
    let mut begin = 0;
    for field in FieldBytes::of(space) {
        match field {
            Some((whole, 1, value)) => {
                if let Some(message) = value.message() {
                    let plane = Plane::scan(message, epoch.unwrap_or(0), cut);
                    plane.write(out, &mut trimmed)?;
                }
                begin += whole.len() as u64;
            }
            Some((whole, ..)) => {
                out.write_all(whole)?;
                begin += whole.len() as u64;
            }
            None => {
                trimmed.damaged_at.get_or_insert(begin);
            }
        }
    }
    Ok(trimmed)
}

/// What decides which events of a plane stay.
struct Plane<'a> {
    message: Message<'a>,
    cut: &'a Cut,
    epoch: i64,
    is_host: bool,
    is_environment: bool,
    /// What each kind of event is dropped as, if it lasts as long as that needs.
    noise: FxHashMap<i64, &'a [u8]>,
    /// Stats that make an event of the host an operation (`true`), or a call to a GPU, which is none.
    operations: FxHashMap<i64, bool>,
    stop: Option<i64>,
}

impl<'a> Plane<'a> {
    fn scan(message: Message<'a>, epoch: i64, cut: &'a Cut) -> Self {
        let mut plane = Self {
            message,
            cut,
            epoch,
            is_host: false,
            is_environment: false,
            noise: FxHashMap::default(),
            operations: FxHashMap::default(),
            stop: None,
        };
        for (number, value) in message.fields().flatten() {
            match number {
                2 => {
                    let name = String::from_utf8_lossy(value.bytes());
                    plane.is_host = classify(&name).0 == PlaneKind::Host;
                    plane.is_environment = name == TASK_ENVIRONMENT;
                }
                4 => {
                    let (id, name) = entry(value);
                    let named = |noise: &Noise| noise.is_named(name, Picos::ZERO);
                    if cut.drop.iter().any(named) {
                        plane.noise.insert(id, name);
                    }
                }
                5 => match entry(value) {
                    (id, b"hlo_op") => drop(plane.operations.insert(id, true)),
                    (id, b"correlation_id") => drop(plane.operations.insert(id, false)),
                    (id, name) if name == STOP_TIME.as_bytes() => plane.stop = Some(id),
                    _ => {}
                },
                _ => {}
            }
        }
        plane
    }

    fn write(&self, out: &mut impl Write, trimmed: &mut Trimmed) -> io::Result<()> {
        let mut len = 0;
        let mut counted = Trimmed::default();
        // The length comes first, so each line is looked through twice; only its length is kept.
        let mut lines = Vec::new();
        self.each_part(&mut |part| {
            len += match part {
                Part::Whole(field) => field.len() as u64,
                Part::New(field) => field.len() as u64,
                Part::Line(line) => {
                    lines.push(line.len(self, &mut counted));
                    lines.last().copied().flatten().map_or(0, |len| field_len(3, len))
                }
                Part::Damage(offset) => {
                    counted.damaged_at.get_or_insert(offset);
                    0
                }
            };
            Ok(())
        })?;
        trimmed.kept += counted.kept;
        trimmed.dropped += counted.dropped;
        trimmed.damaged_at = trimmed.damaged_at.or(counted.damaged_at);
        let mut head = Vec::new();
        put_header(&mut head, 1, len);
        out.write_all(&head)?;
        let mut lines = lines.into_iter();
        self.each_part(&mut |part| match part {
            Part::Whole(field) => out.write_all(field),
            Part::New(field) => out.write_all(&field),
            Part::Line(line) => match lines.next().flatten() {
                Some(len) => line.write(self, len, out),
                None => Ok(()),
            },
            Part::Damage(_) => Ok(()),
        })
    }

    fn each_part(&self, visit: &mut dyn FnMut(Part<'a>) -> io::Result<()>) -> io::Result<()> {
        let mut begin = self.message.offset;
        for field in FieldBytes::of(self.message) {
            let part = match field {
                Some((_, 3, value)) => match value.message() {
                    Some(message) => Part::Line(Line::new(message, self.epoch)),
                    None => continue,
                },
                Some((whole, 6, value)) if self.is_environment => value
                    .message()
                    .and_then(|stat| self.moved_stop(stat))
                    .unwrap_or(Part::Whole(whole)),
                Some((whole, ..)) => Part::Whole(whole),
                None => Part::Damage(begin),
            };
            begin += field.map_or(0, |(whole, ..)| whole.len() as u64);
            visit(part)?;
        }
        Ok(())
    }

    /// The end of the session, if this stat is it and lies behind the window.
    fn moved_stop(&self, stat: Message<'_>) -> Option<Part<'a>> {
        let (_, to) = self.cut.window?;
        let (mut id, mut value) = (0, None);
        for (number, field) in stat.fields().flatten() {
            match number {
                1 => id = field.int(),
                3 | 4 => value = Some((number, field.int())),
                _ => {}
            }
        }
        let (number, stop) = value.filter(|_| Some(id) == self.stop)?;
        let moved = self.epoch.saturating_add(to.0.div_euclid(1000)).min(stop);
        let mut message = Vec::new();
        put_int(&mut message, 1, id);
        put_uint(&mut message, number, moved.cast_unsigned());
        let mut field = Vec::new();
        put_bytes(&mut field, 6, &message);
        Some(Part::New(field))
    }

    fn keeps(&self, event: Message<'_>, base: Picos) -> bool {
        let (mut id, mut offset, mut dur, mut is_aggregated) = (0, 0, 0, false);
        let (mut is_operation, mut is_call) = (false, false);
        for (number, value) in event.fields().flatten() {
            match number {
                1 => id = value.int(),
                2 => offset = value.int(),
                3 => dur = value.int(),
                4 => {
                    let stat = value.message().and_then(|stat| stat.fields().flatten().next());
                    let stat = stat.filter(|(number, _)| *number == 1);
                    match stat.and_then(|(_, id)| self.operations.get(&id.int())) {
                        Some(true) => is_operation = true,
                        Some(false) => is_call = true,
                        None => {}
                    }
                }
                5 => is_aggregated = true,
                _ => {}
            }
        }
        let drops = |noise: &Noise| match noise {
            Noise::Host => self.is_host && (is_call || !is_operation),
            named => {
                let name = self.noise.get(&id);
                name.is_some_and(|name| named.is_named(name, Picos(dur)))
            }
        };
        if self.cut.drop.iter().any(drops) {
            return false;
        }
        let start = base.saturating_add(Picos(offset));
        is_aggregated || self.cut.covers(start, start.saturating_add(Picos(dur.max(0))))
    }
}

/// A part of the plane that is written.
enum Part<'a> {
    Whole(&'a [u8]),
    New(Vec<u8>),
    Line(Line<'a>),
    Damage(u64),
}

#[derive(Clone, Copy)]
struct Line<'a> {
    message: Message<'a>,
    /// What its events count from.
    base: Picos,
}

impl<'a> Line<'a> {
    fn new(message: Message<'a>, epoch: i64) -> Self {
        let stamp = message.fields().flatten().filter(|(number, _)| *number == 3).last();
        let stamp = stamp.map_or(0, |(_, value)| value.int());
        let relative = if stamp < RELATIVE_BELOW { stamp } else { stamp.saturating_sub(epoch) };
        Self { message, base: Picos::from(Nanos(relative)) }
    }

    /// Whole fields of what is kept, and whether each is an event.
    fn kept<'b>(&'b self, plane: &'b Plane<'a>) -> impl Iterator<Item = (&'a [u8], bool)> + 'b {
        let fields = FieldBytes::of(self.message).flatten();
        fields.filter_map(|(whole, number, value)| match (number, value) {
            (4, Value::Bytes(event)) => plane.keeps(event, self.base).then_some((whole, true)),
            _ => Some((whole, false)),
        })
    }

    /// Bytes of the message that is written; `None` if the line has lost all of its events.
    fn len(&self, plane: &Plane<'a>, counted: &mut Trimmed) -> Option<u64> {
        let (mut len, mut kept) = (0, 0);
        for (field, is_event) in self.kept(plane) {
            len += field.len() as u64;
            kept += u64::from(is_event);
        }
        let (mut events, mut damage) = (0, None);
        for field in self.message.fields() {
            match field {
                Ok((number, _)) => events += u64::from(number == 4),
                Err(error) => damage = Some(error.offset),
            }
        }
        counted.kept += kept;
        counted.dropped += events - kept;
        counted.damaged_at = counted.damaged_at.or(damage);
        (kept > 0).then_some(len)
    }

    fn write(&self, plane: &Plane<'a>, len: u64, out: &mut impl Write) -> io::Result<()> {
        let mut head = Vec::new();
        put_header(&mut head, 3, len);
        out.write_all(&head)?;
        self.kept(plane).try_for_each(|(field, _)| out.write_all(field))
    }
}

/// Key and name of a metadata entry.
fn entry(value: Value<'_>) -> (i64, &[u8]) {
    let (mut id, mut name) = (0, &[][..]);
    for (number, value) in value.message().iter().flat_map(|entry| entry.fields().flatten()) {
        match number {
            1 => id = value.int(),
            2 => {
                let fields = value.message();
                let found = fields.iter().flat_map(|message| message.fields().flatten());
                name =
                    found.filter(|(number, _)| *number == 2).last().map_or(&[], |it| it.1.bytes());
            }
            _ => {}
        }
    }
    (id, name)
}

/// When the session began, if this plane says it.
fn session_start(plane: Message<'_>) -> Option<i64> {
    let fields = || plane.fields().flatten();
    let is_start = |(number, value): &(u32, Value<'_>)| {
        *number == 5 && entry(*value).1 == START_TIME.as_bytes()
    };
    let id = fields().find(is_start).map(|(_, value)| entry(value).0)?;
    fields().filter(|(number, _)| *number == 6).find_map(|(_, stat)| {
        let mut fields = stat.message()?.fields().flatten();
        let key = fields.next().filter(|(number, _)| *number == 1)?.1.int();
        let (number, value) = fields.next()?;
        (key == id && matches!(number, 3 | 4)).then(|| value.int())
    })
}
