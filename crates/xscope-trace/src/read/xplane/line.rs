//! Decodes the events of one line into columns.

use std::ops::Range;

use rustc_hash::FxHashMap;

use crate::bytes::FileBytes;
use crate::model::MetaId;
use crate::naming::PlaneKind;
use crate::read::xplane::local_meta::{LocalMeta, OpRef};
use crate::read::xplane::plane::PlaneTables;
use crate::read::xplane::roles::Role;
use crate::read::xplane::stat::{StatValue, split_stat};
use crate::strings::{StrId, Strings};
use crate::time::{Nanos, Picos};
use crate::wire::{Message, Value, WireError, split_bytes, split_varint};

/// Line times below this are relative to the session's start, in nanoseconds; above, they count
/// from the Unix epoch. 10^15 ns after the epoch is 1970-01-12.
const RELATIVE_BELOW: i64 = 1_000_000_000_000_000;

/// Decoded events that go to one track.
#[derive(Default)]
pub(super) struct Rows {
    pub start: Vec<Picos>,
    pub dur: Vec<Picos>,
    /// Index in the line's metas.
    pub meta: Vec<MetaId>,
    /// Empty until a row has a run; then of all rows.
    pub run: Vec<i64>,
    /// The rows whose events have stats, and where the event's field lies in the line.
    pub at: Vec<(u32, u32)>,
}

/// Events of one line that were counted but not kept.
#[derive(Default)]
pub(super) struct Tally {
    /// Start of the first and end of the last.
    pub extent: Option<(Picos, Picos)>,
    /// How many of each of the line's metas; may be shorter than those.
    pub counts: Vec<u64>,
}

/// One line, decoded.
pub(super) struct DecodedLine<'a> {
    pub plane: usize,
    pub id: i64,
    pub name: &'a [u8],
    /// Rows by the device that they name: `None` for the plane's own device or the host thread.
    pub rows: Vec<(Option<i64>, Rows)>,
    /// What was left out of the rows of the host thread.
    pub dropped: Tally,
    /// Where the line lies in the file.
    pub place: Range<u64>,
    pub metas: Vec<LocalMeta>,
    pub texts: Vec<&'a [u8]>,
    /// Events without a position in time.
    pub aggregated: u64,
    pub damage: Option<WireError>,
}

/// The tag of an event field of a line.
const EVENT: u8 = 0x22;

/// From how many rows their number is forecast.
const FORECAST: usize = 512;

/// Of how many devices the rows of a line are found by looking at all; lines rarely have more.
const NEAR: usize = 4;

/// How much of a file is decoded before its pages are let go.
const RELEASE_EVERY: u64 = 4 << 20;

/// Decodes one line of `plane`, which lies in `file`; `epoch` is the session's start in
/// nanoseconds since the Unix epoch.
pub(super) fn decode<'a>(
    index: usize,
    message: Message<'a>,
    plane: &PlaneTables<'a>,
    epoch: i64,
    file: &FileBytes,
) -> DecodedLine<'a> {
    let mut decoder = Decoder::new(index, message, plane);
    let (mut display, mut timestamp) = (&[][..], 0);
    let mut fields = message.fields();
    let mut released = message.offset;
    loop {
        let at = fields.offset();
        if let Some(event) = fields.next_if(EVENT) {
            decoder.push(event, at);
            if at - released > RELEASE_EVERY {
                file.release(released..at);
                released = at;
            }
            continue;
        }
        match fields.next() {
            Some(Ok((4, Value::Bytes(event)))) => decoder.push(event, at),
            Some(Ok((1, value))) => decoder.line.id = value.int(),
            Some(Ok((2, value))) => decoder.line.name = value.bytes(),
            Some(Ok((3, value))) => timestamp = value.int(),
            Some(Ok((11, value))) => display = value.bytes(),
            Some(Ok(_)) => {}
            Some(Err(error)) => decoder.line.damage = Some(error),
            None => break,
        }
    }
    file.release(released..fields.offset());
    let mut line = decoder.line;
    if line.name.is_empty() {
        line.name = display;
    }
    // The fields of a line come in any order, so its base is known only at its end.
    let relative =
        if timestamp < RELATIVE_BELOW { timestamp } else { timestamp.saturating_sub(epoch) };
    line.shift(Picos::from(Nanos(relative)));
    line
}

/// When a line begins since the Unix epoch, in nanoseconds, if it says so before its events.
pub(super) fn absolute_start(line: Message<'_>) -> Option<i64> {
    let mut fields = line.fields();
    while fields.next_if(EVENT).is_none() {
        if let (3, value) = fields.next()?.ok()? {
            return Some(value.int()).filter(|start| *start >= RELATIVE_BELOW);
        }
    }
    None
}

/// The event whose field starts at `at`.
pub(super) fn event_at(bytes: &[u8], at: u64) -> Option<Message<'_>> {
    let rest = bytes.get(usize::try_from(at).ok()?..)?;
    let field = Message { bytes: rest, offset: at }.fields().next()?;
    field.ok()?.1.message()
}

impl DecodedLine<'_> {
    /// The name that a reference of this line stands for.
    pub(super) fn resolve(
        &self,
        reference: OpRef,
        plane: &PlaneTables<'_>,
        strings: &mut Strings,
    ) -> StrId {
        match reference {
            OpRef::None => StrId::EMPTY,
            OpRef::Stat(id) => plane.stat_names.get(&id).copied().unwrap_or_default(),
            OpRef::Text(index) => strings.intern_bytes(self.texts[index as usize]),
        }
    }

    fn new(plane: usize) -> Self {
        Self {
            plane,
            id: 0,
            name: &[],
            rows: Vec::new(),
            dropped: Tally::default(),
            place: 0..0,
            metas: Vec::new(),
            texts: Vec::new(),
            aggregated: 0,
            damage: None,
        }
    }

    /// Adds the time that the line's events count from.
    fn shift(&mut self, base: Picos) {
        for start in self.rows.iter_mut().flat_map(|(_, rows)| &mut rows.start) {
            *start = start.saturating_add(base);
        }
        if let Some((first, last)) = &mut self.dropped.extent {
            (*first, *last) = (first.saturating_add(base), last.saturating_add(base));
        }
    }
}

struct Decoder<'a, 'p> {
    plane: &'p PlaneTables<'a>,
    is_host: bool,
    /// Length of the line message.
    len: usize,
    known: FxHashMap<LocalMeta, u32>,
    /// The kind that an event id had last, by id: 0 for none, else its index and 1. An id nearly
    /// always has one kind, so this saves a look into `known`.
    recent: Vec<u32>,
    /// Whether events of a kind are kept on the track of the host thread, by kind.
    kept: Vec<bool>,
    text_index: FxHashMap<&'a [u8], u32>,
    /// Index in the line's rows of each device.
    device_index: FxHashMap<Option<i64>, usize>,
    line: DecodedLine<'a>,
}

/// One event, with the stats that matter here.
#[derive(Default)]
struct Event<'a> {
    id: i64,
    offset: i64,
    dur: i64,
    is_aggregated: bool,
    has_stats: bool,
    is_launch: bool,
    op: Option<StatValue<'a>>,
    module: Option<StatValue<'a>>,
    annotation: Option<StatValue<'a>>,
    program: i64,
    run: i64,
    ordinal: i64,
}

impl<'a> Event<'a> {
    /// Reads an event that is laid out as all recorders do it: known fields of the usual types.
    /// `None` for any other; this is [`Self::read_any`] at half the cost.
    #[inline]
    fn read_usual(message: Message<'a>, plane: &PlaneTables<'_>) -> Option<Self> {
        let mut event = Self::default();
        let mut rest = message.bytes;
        while let Some((&tag, tail)) = rest.split_first() {
            if tag == 0x22 {
                let (stat, tail) = split_bytes(tail)?;
                event.has_stats = true;
                match plane.roles.of_usual(stat) {
                    Some(None) => {}
                    Some(Some((role, value))) => event.set(role, value),
                    None => event.read_stat(Message { bytes: stat, offset: 0 }, plane),
                }
                rest = tail;
                continue;
            }
            let (value, tail) = split_varint(tail)?;
            match tag {
                0x08 => event.id = value.cast_signed(),
                0x10 => event.offset = value.cast_signed(),
                0x18 => event.dur = value.cast_signed(),
                0x28 => event.is_aggregated = true,
                _ => return None,
            }
            rest = tail;
        }
        Some(event)
    }

    fn read_any(message: Message<'a>, plane: &PlaneTables<'_>) -> Result<Self, WireError> {
        let mut event = Self::default();
        for field in message.fields() {
            match field? {
                (1, value) => event.id = value.int(),
                (2, value) => event.offset = value.int(),
                (3, value) => event.dur = value.int(),
                (4, Value::Bytes(stat)) => {
                    event.has_stats = true;
                    event.read_stat(stat, plane);
                }
                (5, _) => event.is_aggregated = true,
                _ => {}
            }
        }
        Ok(event)
    }

    fn read_stat(&mut self, stat: Message<'a>, plane: &PlaneTables<'_>) {
        // The id comes first in every writer's output, so most stats are left after one field.
        let Some(Ok((1, id))) = stat.fields().next() else { return };
        let Some(role) = plane.roles.get(id.int()) else { return };
        let Some((_, value)) = split_stat(stat) else { return };
        self.set(role, value);
    }

    #[inline]
    fn set(&mut self, role: Role, value: StatValue<'a>) {
        let int = value.as_uint().unwrap_or(0).cast_signed();
        match role {
            Role::HloOp => self.op = Some(value),
            Role::HloModule => self.module = Some(value),
            Role::ProgramId => self.program = int,
            Role::RunId => self.run = int,
            Role::DeviceOrdinal => self.ordinal = int,
            Role::CorrelationId => self.is_launch = true,
            Role::Annotation => self.annotation = Some(value),
        }
    }
}

impl Rows {
    /// Makes room for as many rows as the first `read` of `len` bytes let expect, so that columns
    /// are not moved while they grow.
    fn reserve(&mut self, len: u64, read: u64) {
        let rows = FORECAST as u64 * len / read.max(1);
        let more = usize::try_from(rows).unwrap_or(0).saturating_sub(FORECAST);
        let more = more + more / 32;
        self.start.reserve_exact(more);
        self.dur.reserve_exact(more);
        self.meta.reserve_exact(more);
        if !self.run.is_empty() {
            self.run.reserve_exact(more);
        }
    }

    fn push(&mut self, event: &Event<'_>, meta: u32, at: Option<u32>) {
        let before = self.start.len();
        self.start.push(Picos(event.offset));
        self.dur.push(Picos(event.dur.max(0)));
        self.meta.push(MetaId(meta));
        if event.run != 0 || !self.run.is_empty() {
            self.run.resize(before, 0);
            self.run.push(event.run);
        }
        if event.has_stats {
            self.at.extend(u32::try_from(before).ok().zip(at));
        }
    }
}

impl Tally {
    fn add(&mut self, event: &Event<'_>, meta: u32) {
        let start = Picos(event.offset);
        let end = start.saturating_add(Picos(event.dur.max(0)));
        let (first, last) = self.extent.unwrap_or((start, end));
        self.extent = Some((first.min(start), last.max(end)));
        let meta = meta as usize;
        if meta >= self.counts.len() {
            self.counts.resize(meta + 1, 0);
        }
        self.counts[meta] += 1;
    }
}

impl<'a, 'p> Decoder<'a, 'p> {
    fn new(index: usize, message: Message<'a>, plane: &'p PlaneTables<'a>) -> Self {
        let mut line = DecodedLine::new(index);
        line.place = message.offset..message.offset + message.bytes.len() as u64;
        Self {
            plane,
            is_host: plane.kind == PlaneKind::Host,
            len: message.bytes.len(),
            known: FxHashMap::default(),
            recent: Vec::new(),
            kept: Vec::new(),
            text_index: FxHashMap::default(),
            device_index: FxHashMap::default(),
            line,
        }
    }

    fn push(&mut self, message: Message<'a>, at: u64) {
        let event = match Event::read_usual(message, self.plane) {
            Some(event) => event,
            None => match Event::read_any(message, self.plane) {
                Ok(event) => event,
                Err(error) => {
                    self.line.damage = Some(error);
                    return;
                }
            },
        };
        if event.is_aggregated {
            self.line.aggregated += 1;
            return;
        }
        let op = self.op_ref(event.op);
        let module = self.op_ref(event.module.filter(|_| event.program != 0));
        // A program says more of its operations than an annotation does.
        let annotation = event.annotation.filter(|_| op == OpRef::None && !self.is_host);
        let annotation = self.op_ref(annotation);
        let meta = LocalMeta { event: event.id, program: event.program, module, op, annotation };
        let meta = self.local_meta(meta);
        // On the CPU backend operations run on host threads and say which device they belong to.
        let is_host_op = self.is_host && op != OpRef::None && !event.is_launch;
        let device = is_host_op.then_some(event.ordinal);
        let keep = device.is_some() || self.kept[meta as usize];
        let at = u32::try_from(at - self.line.place.start).ok();
        let (len, read) = (self.len as u64, message.offset - self.line.place.start);
        let rows = self.rows_of(device);
        match keep {
            true => {
                rows.push(&event, meta, at);
                if rows.start.len() == FORECAST {
                    rows.reserve(len, read);
                }
            }
            false => self.line.dropped.add(&event, meta),
        }
    }

    fn op_ref(&mut self, value: Option<StatValue<'a>>) -> OpRef {
        match value {
            Some(StatValue::Ref(id)) => OpRef::Stat(id),
            Some(StatValue::Text(text)) => OpRef::Text(self.text(text)),
            _ => OpRef::None,
        }
    }

    fn local_meta(&mut self, key: LocalMeta) -> u32 {
        let slot = usize::try_from(key.event).unwrap_or(usize::MAX);
        if let Some(&recent) = self.recent.get(slot)
            && let Some(index) = recent.checked_sub(1)
            && self.line.metas[index as usize] == key
        {
            return index;
        }
        let (metas, kept) = (&mut self.line.metas, &mut self.kept);
        let index = *self.known.entry(key).or_insert_with(|| {
            metas.push(key);
            kept.push(self.plane.keeps(key.event));
            index_of(metas.len())
        });
        // Bounded by the line, for lines are many and ids may be any number.
        if slot < self.len / 4 {
            if slot >= self.recent.len() {
                self.recent.resize(slot + 1, 0);
            }
            self.recent[slot] = index.saturating_add(1);
        }
        index
    }

    fn rows_of(&mut self, device: Option<i64>) -> &mut Rows {
        let rows = &mut self.line.rows;
        let near = rows.iter().take(NEAR).position(|(known, _)| *known == device);
        let index = near.unwrap_or_else(|| {
            *self.device_index.entry(device).or_insert_with(|| {
                rows.push((device, Rows::default()));
                rows.len() - 1
            })
        });
        &mut rows[index].1
    }

    fn text(&mut self, text: &'a [u8]) -> u32 {
        let texts = &mut self.line.texts;
        *self.text_index.entry(text).or_insert_with(|| {
            texts.push(text);
            index_of(texts.len())
        })
    }
}

/// The index of the last of `len` entries. A line holds fewer than 2^32 events: at two bytes each
/// they would be larger than any file that the profiler can write.
fn index_of(len: usize) -> u32 {
    u32::try_from(len - 1).unwrap_or(u32::MAX)
}
