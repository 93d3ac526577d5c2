//! Writes a pprof profile: device time by scope, and what memory profiles of the trace say.
//!
//! Each sample has two values, `device_time` in nanoseconds and `space` in bytes, one of them 0.
//! Device time stands below its device and scope, as in [`folded`](super::folded); memory keeps
//! the stack and labels of the code that allocated it, below a frame that names its profile.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::model::{StackProfile, Trace, TrackKind};
use crate::strings::{StrId, Strings};
use crate::wire_write::{put_bytes, put_int, put_uint, put_varint};
use crate::write::facts::{Written, unix_zero};
use crate::write::stacks::{Stacks, root_of};

/// Field numbers of `Profile`.
mod profile {
    pub(super) const SAMPLE_TYPE: u32 = 1;
    pub(super) const SAMPLE: u32 = 2;
    pub(super) const LOCATION: u32 = 4;
    pub(super) const FUNCTION: u32 = 5;
    pub(super) const STRING: u32 = 6;
    pub(super) const TIME_NANOS: u32 = 9;
    pub(super) const DURATION_NANOS: u32 = 10;
    pub(super) const DEFAULT_SAMPLE_TYPE: u32 = 14;
}

/// Writes `trace` to `out`.
///
/// # Errors
/// Those of `out`.
pub fn write(trace: &Trace, out: &mut impl Write) -> io::Result<Written> {
    let mut encoder = Encoder { out, tables: Tables::default(), buffer: Vec::new() };
    encoder.header(trace)?;
    let written = encoder.device_time(trace)?;
    for memory in &trace.profiles {
        encoder.memory(trace, memory)?;
    }
    encoder.tables()?;
    Ok(written)
}

/// A function, its file, and a line in it.
type Frame = (StrId, StrId, i64);

/// What samples refer to, written behind them.
#[derive(Default)]
struct Tables {
    strings: Strings,
    /// Strings in the order of their first use, which is not that of their interning.
    texts: BTreeMap<StrId, u64>,
    /// Ids count from 1; a function is a name in a file, a location a line in a function.
    functions: BTreeMap<(StrId, StrId), u64>,
    locations: BTreeMap<Frame, u64>,
}

impl Tables {
    fn text(&mut self, text: &str) -> u64 {
        let id = self.strings.intern(text);
        self.text_of(id)
    }

    fn text_of(&mut self, id: StrId) -> u64 {
        // Text 0 is the empty one, in every profile.
        if id.is_empty() {
            return 0;
        }
        let next = self.texts.len() as u64 + 1;
        *self.texts.entry(id).or_insert(next)
    }

    fn location(&mut self, function: &str, file: &str, line: i64) -> u64 {
        let frame = (self.strings.intern(function), self.strings.intern(file), line);
        let next = self.functions.len() as u64 + 1;
        self.functions.entry((frame.0, frame.1)).or_insert(next);
        let next = self.locations.len() as u64 + 1;
        *self.locations.entry(frame).or_insert(next)
    }
}

struct Encoder<'a, W> {
    out: &'a mut W,
    tables: Tables,
    buffer: Vec<u8>,
}

impl<W: Write> Encoder<'_, W> {
    fn header(&mut self, trace: &Trace) -> io::Result<()> {
        for (name, unit) in [("device_time", "nanoseconds"), ("space", "bytes")] {
            let (name, unit) = (self.tables.text(name), self.tables.text(unit));
            self.message(profile::SAMPLE_TYPE, |out| {
                put_uint(out, 1, name);
                put_uint(out, 2, unit);
            })?;
        }
        let has_devices = trace.tracks.iter().any(|track| track.kind == TrackKind::Ops);
        let default = self.tables.text(if has_devices { "device_time" } else { "space" });
        let mut fields = Vec::new();
        put_uint(&mut fields, profile::DEFAULT_SAMPLE_TYPE, default);
        if let Some(zero) = unix_zero(trace) {
            put_int(&mut fields, profile::TIME_NANOS, zero);
        }
        if let Some((first, last)) = trace.extent() {
            put_int(&mut fields, profile::DURATION_NANOS, (last - first).0.div_euclid(1000));
        }
        self.out.write_all(&fields)
    }

    fn device_time(&mut self, trace: &Trace) -> io::Result<Written> {
        let mut stacks = Stacks::default();
        let mut written = Written::default();
        for track in trace.tracks.iter().filter(|track| track.kind == TrackKind::Ops) {
            let Some(name) = root_of(trace, track) else { continue };
            let root = stacks.child(0, &name);
            stacks.add(trace, track, root);
            written.slices += track.slices.len() as u64;
        }
        for node in (1..stacks.nodes.len()).filter(|&node| stacks.nodes[node].own >= 1000) {
            let frames = stacks.frames(node).into_iter().rev();
            let locations: Vec<u64> =
                frames.map(|name| self.tables.location(stacks.strings.get(name), "", 0)).collect();
            self.sample(&locations, [stacks.nodes[node].own / 1000, 0], &[])?;
        }
        Ok(written)
    }

    fn memory(&mut self, trace: &Trace, memory: &StackProfile) -> io::Result<()> {
        let text = |id| trace.strings.get(id);
        let Some(bytes) = memory.types.iter().rposition(|kind| text(kind.unit) == "bytes") else {
            return Ok(());
        };
        let source = memory.source.and_then(|id| trace.sources.get(id));
        let owner = source.map_or("memory", |source| source.path.as_str());
        for sample in 0..memory.len() {
            let frames = memory.frames_of(sample);
            let mut locations: Vec<u64> = frames
                .map(|it| self.tables.location(text(it.function), text(it.file), it.line))
                .collect();
            locations.push(self.tables.location(owner, "", 0));
            let labels = memory.labels_of(sample).iter();
            let labels: Vec<(u64, u64, i64)> = labels
                .map(|it| {
                    (self.tables.text(text(it.key)), self.tables.text(text(it.text)), it.number)
                })
                .collect();
            self.sample(&locations, [0, memory.value(sample, bytes)], &labels)?;
        }
        Ok(())
    }

    /// A sample: its stack, innermost first, and its labels.
    fn sample(
        &mut self,
        locations: &[u64],
        values: [i64; 2],
        labels: &[(u64, u64, i64)],
    ) -> io::Result<()> {
        self.message(profile::SAMPLE, |out| {
            put_packed(out, 1, locations.iter().copied());
            put_packed(out, 2, values.into_iter().map(i64::cast_unsigned));
            for &(key, text, number) in labels {
                let mut label = Vec::new();
                put_uint(&mut label, 1, key);
                put_uint(&mut label, 2, text);
                put_int(&mut label, 3, number);
                put_bytes(out, 3, &label);
            }
        })
    }

    fn tables(mut self) -> io::Result<()> {
        let locations = std::mem::take(&mut self.tables.locations);
        for ((function, file, line), id) in locations {
            let function = self.tables.functions[&(function, file)];
            self.message(profile::LOCATION, |out| {
                let mut at = Vec::new();
                put_uint(&mut at, 1, function);
                put_int(&mut at, 2, line);
                put_uint(out, 1, id);
                put_bytes(out, 4, &at);
            })?;
        }
        let functions = std::mem::take(&mut self.tables.functions);
        for ((name, file), id) in functions {
            let (name, file) = (self.tables.text_of(name), self.tables.text_of(file));
            self.message(profile::FUNCTION, |out| {
                put_uint(out, 1, id);
                put_uint(out, 2, name);
                put_uint(out, 4, file);
            })?;
        }
        let mut texts: Vec<(u64, StrId)> =
            self.tables.texts.iter().map(|(&id, &place)| (place, id)).collect();
        texts.sort_unstable();
        let mut fields = Vec::new();
        put_bytes(&mut fields, profile::STRING, b"");
        for (_, id) in texts {
            put_bytes(&mut fields, profile::STRING, self.tables.strings.get(id).as_bytes());
        }
        self.out.write_all(&fields)
    }

    fn message(&mut self, field: u32, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut message = Vec::new();
        write(&mut message);
        self.buffer.clear();
        put_bytes(&mut self.buffer, field, &message);
        self.out.write_all(&self.buffer)
    }
}

fn put_packed(out: &mut Vec<u8>, field: u32, numbers: impl Iterator<Item = u64>) {
    let mut packed = Vec::new();
    numbers.for_each(|number| put_varint(&mut packed, number));
    put_bytes(out, field, &packed);
}
