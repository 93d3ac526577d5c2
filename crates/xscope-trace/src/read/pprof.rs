//! Reads pprof profiles (`perftools.profiles.Profile`): the device memory profiles of JAX and the
//! CPU profiles of other tools.
//!
//! Samples become columns; their stacks refer to locations, and locations to frames, so what
//! repeats is stored once and the size of the trace is bounded by that of the file. References
//! that lead nowhere read as unknown and are counted.

use rustc_hash::FxHashMap;

use crate::error::{Error, Result};
use crate::model::{
    Clock, Format, Source, SourceId, StackFrame, StackLabel, StackProfile, StackValue, Trace,
};
use crate::quality::{Code, Finding};
use crate::strings::StrId;
use crate::time::Bytes;
use crate::wire::{Fields, Message, Value, WireError};

/// Most kinds of values of a sample that are read; real profiles have four at most.
const MOST_TYPES: usize = 16;

/// Whether the bytes are a profile: it starts with types of samples, which are pairs of small
/// numbers, where an XSpace starts with planes, which have names; or with samples.
pub(crate) fn is_pprof(bytes: &[u8]) -> bool {
    let Some(Ok((1, value))) = (Message { bytes, offset: 0 }).fields().next() else { return false };
    let Some(message) = value.message() else { return false };
    let mut fields = message.fields().peekable();
    fields.peek().is_some()
        && fields
            .all(|field| matches!(field, Ok((1 | 2, Value::Varint(number))) if number < 1 << 32))
}

/// Whether the bytes are a CPU profile of gperftools' older kind: words 0, 3, 0, of 32 or 64 bits.
pub(crate) fn is_gperftools(bytes: &[u8]) -> bool {
    let words = |width: usize| {
        let mut at = bytes
            .chunks_exact(width)
            .map(|word| word.iter().rev().fold(0_u64, |value, &byte| value << 8 | u64::from(byte)));
        (at.next(), at.next(), at.next())
    };
    let is_header = |words| matches!(words, (Some(0), Some(3), Some(0 | 1)));
    is_header(words(8)) || is_header(words(4))
}

/// Reads one profile into `trace`.
///
/// # Errors
/// [`Error::Damaged`] if it has no type of samples, so that no number means anything; lesser
/// damage is a finding.
pub(crate) fn read(path: &str, bytes: &[u8], trace: &mut Trace) -> Result<()> {
    let parts = Parts::scan(Message { bytes, offset: 0 });
    if parts.types.is_empty() {
        return Err(Error::Damaged {
            path: path.into(),
            offset: parts.damage.map_or(0, |damage| damage.offset),
            what: "a pprof profile without types of samples".to_owned(),
            hint: "no number in it has a meaning; capture or copy the file again".to_owned(),
        });
    }
    let source = trace.sources.next_id();
    let mut tables = Tables::default();
    tables.read_strings(&parts, trace);
    let profile = tables.profile(source, &parts, trace);
    report(path, &parts, &tables, &profile, trace);
    trace.sources.push(Source {
        path: path.to_owned(),
        format: Format::Pprof,
        size: Bytes(bytes.len() as u64),
        host: StrId::EMPTY,
        server: StrId::EMPTY,
        rank: None,
        // When it was taken is no zero that anything counts from.
        clock: Clock::default(),
        facts: vec![("time_unix_nanos".to_owned(), parts.time_nanos.to_string())],
    });
    trace.profiles.push(profile);
    Ok(())
}

fn report(
    path: &str,
    parts: &Parts<'_>,
    tables: &Tables,
    profile: &StackProfile,
    trace: &mut Trace,
) {
    if let Some(damage) = parts.damage {
        let message = format!(
            "{path} is damaged or cut off at byte {}: {}; what lies before it was read",
            damage.offset, damage.what
        );
        trace.findings.push(Finding::new(Code::PprofTruncated, message));
    }
    if tables.dangling > 0 {
        let message = format!("{path}: references lead nowhere; what they mean reads as unknown");
        let finding = Finding::new(Code::PprofDangling, message);
        trace.findings.push(finding.times(tables.dangling));
    }
    if profile.is_empty() {
        let message = format!(
            "{path} holds no samples: the profile was taken before anything was allocated or ran"
        );
        trace.findings.push(Finding::new(Code::PprofEmpty, message));
    }
}

/// The fields of a profile as they lie in the file, which may be in any order.
#[derive(Default)]
struct Parts<'a> {
    types: Vec<Message<'a>>,
    samples: Vec<Message<'a>>,
    locations: Vec<Message<'a>>,
    functions: Vec<Message<'a>>,
    strings: Vec<&'a [u8]>,
    time_nanos: i64,
    default_type: u64,
    damage: Option<WireError>,
}

impl<'a> Parts<'a> {
    fn scan(message: Message<'a>) -> Self {
        let mut parts = Self::default();
        for field in message.fields() {
            match field {
                Ok((1, value)) => parts.types.extend(value.message()),
                Ok((2, value)) => parts.samples.extend(value.message()),
                Ok((4, value)) => parts.locations.extend(value.message()),
                Ok((5, value)) => parts.functions.extend(value.message()),
                Ok((6, value)) => parts.strings.push(value.bytes()),
                Ok((9, value)) => parts.time_nanos = value.int(),
                Ok((14, value)) => parts.default_type = value.uint(),
                Ok(_) => {}
                Err(error) => parts.damage = Some(error),
            }
        }
        parts
    }
}

/// What the numbers of one profile stand for.
#[derive(Default)]
struct Tables {
    strings: Vec<StrId>,
    functions: FxHashMap<u64, (StrId, StrId)>,
    locations: FxHashMap<u64, u32>,
    dangling: u64,
}

impl Tables {
    fn read_strings(&mut self, parts: &Parts<'_>, trace: &mut Trace) {
        self.strings =
            parts.strings.iter().map(|bytes| trace.strings.intern_bytes(bytes)).collect();
    }

    fn string(&mut self, index: u64) -> StrId {
        let found = usize::try_from(index).ok().and_then(|index| self.strings.get(index)).copied();
        self.dangling += u64::from(found.is_none() && index != 0);
        found.unwrap_or_default()
    }

    fn profile(&mut self, source: SourceId, parts: &Parts<'_>, trace: &mut Trace) -> StackProfile {
        let mut profile = StackProfile { source: Some(source), ..StackProfile::default() };
        for &message in parts.types.iter().take(MOST_TYPES) {
            let (name, unit) = (self.string(uint(message, 1)), self.string(uint(message, 2)));
            profile.types.push(StackValue { name, unit });
        }
        let default = self.string(parts.default_type);
        profile.default_type = match profile.types.iter().position(|it| it.name == default) {
            Some(index) if !default.is_empty() => index,
            // The last one, as pprof has it.
            _ => profile.types.len() - 1,
        };
        for &message in &parts.functions {
            let (mut name, file) = (self.string(uint(message, 2)), self.string(uint(message, 4)));
            if name.is_empty() {
                name = self.string(uint(message, 3));
            }
            self.functions.insert(uint(message, 1), (name, file));
        }
        for &message in &parts.locations {
            self.location(message, &mut profile, trace);
        }
        for &message in &parts.samples {
            self.sample(message, &mut profile);
        }
        profile
    }

    fn location(&mut self, message: Message<'_>, profile: &mut StackProfile, trace: &mut Trace) {
        let first = profile.frames.len();
        for (_, line) in message.fields().flatten().filter(|(number, _)| *number == 4) {
            let Some(line) = line.message() else { continue };
            let function = uint(line, 1);
            let known = self.functions.get(&function).copied();
            self.dangling += u64::from(known.is_none() && function != 0);
            let (function, file) = known.unwrap_or_default();
            profile.frames.push(StackFrame { function, file, line: uint(line, 2).cast_signed() });
        }
        if profile.frames.len() == first {
            // A location without symbols has its address for a name.
            let address = format!("0x{:x}", uint(message, 3));
            let function = trace.strings.intern(&address);
            profile.frames.push(StackFrame { function, ..StackFrame::default() });
        }
        let index = u32::try_from(profile.locations.len()).unwrap_or(u32::MAX);
        let (first, last) = (index_of(first), index_of(profile.frames.len()));
        profile.locations.push(first..last);
        self.locations.insert(uint(message, 1), index);
    }

    fn sample(&mut self, message: Message<'_>, profile: &mut StackProfile) {
        // One that says nothing would still take its place in every column.
        if message.bytes.is_empty() {
            return;
        }
        let values = profile.values.len();
        for (number, value) in message.fields().flatten() {
            match number {
                1 => each_number(value, &mut |id| match self.locations.get(&id) {
                    Some(&location) => profile.stack.push(location),
                    None => self.dangling += 1,
                }),
                2 => each_number(value, &mut |value| profile.values.push(value.cast_signed())),
                3 => {
                    let Some(label) = value.message() else { continue };
                    let key = self.string(uint(label, 1));
                    let text = self.string(uint(label, 2));
                    let number = uint(label, 3).cast_signed();
                    profile.labels.push(StackLabel { key, text, number });
                }
                _ => {}
            }
        }
        // One value for each type, whatever the file has.
        profile.values.resize(values + profile.types.len(), 0);
        profile.stack_ends.push(index_of(profile.stack.len()));
        profile.label_ends.push(index_of(profile.labels.len()));
    }
}

/// Positions in columns; a file of 2^32 references would be larger than any profile.
fn index_of(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// The last value of an integer field; 0 if it is not there.
fn uint(message: Message<'_>, field: u32) -> u64 {
    let values = message.fields().flatten().filter(|(number, _)| *number == field);
    values.last().map_or(0, |(_, value)| value.uint())
}

/// The numbers of a repeated field, packed or not.
fn each_number(value: Value<'_>, visit: &mut dyn FnMut(u64)) {
    match value {
        Value::Bytes(message) => Fields::varints(message).for_each(visit),
        number => visit(number.uint()),
    }
}
