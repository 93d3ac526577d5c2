//! Decodes the events of one line into columns.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::plane::{PlaneTables, StatValue, split_stat};
use crate::naming::PlaneKind;
use crate::time::{Nanos, Picos};
use crate::wire::{Message, Value, WireError};

/// Line times below this are relative to the session's start, in nanoseconds; above, they count
/// from the Unix epoch. 10^15 ns after the epoch is 1970-01-12.
const RELATIVE_BELOW: i64 = 1_000_000_000_000_000;

/// Where an event says which operation of its program it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum OpRef {
    None,
    /// The name of a stat metadata.
    Stat(i64),
    /// A text of this line.
    Text(u32),
}

/// What makes two events of a plane the same kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct LocalMeta {
    pub event: i64,
    /// The program that the event itself names, 0 for none.
    pub program: i64,
    pub op: OpRef,
}

/// Decoded events that go to one track.
#[derive(Default)]
pub(super) struct Rows {
    pub start: Vec<Picos>,
    pub dur: Vec<Picos>,
    /// Index in the line's metas.
    pub meta: Vec<u32>,
    pub run: Vec<i64>,
    pub has_runs: bool,
    /// Offset of the event message in the file.
    pub at: Vec<u64>,
}

/// One line, decoded.
pub(super) struct DecodedLine<'a> {
    pub plane: usize,
    pub id: i64,
    pub name: &'a [u8],
    /// Rows by the device that they name: `None` for the plane's own device or the host thread.
    pub rows: Vec<(Option<i64>, Rows)>,
    pub metas: Vec<LocalMeta>,
    pub texts: Vec<&'a [u8]>,
    /// The module name of each program that events name.
    pub modules: BTreeMap<i64, OpRef>,
    /// Events without a position in time.
    pub aggregated: u64,
    pub damage: Option<WireError>,
}

/// The stats that decide where an event belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    HloOp,
    HloModule,
    ProgramId,
    RunId,
    DeviceOrdinal,
}

impl Role {
    pub(super) fn of(stat: &str) -> Option<Self> {
        match stat {
            "hlo_op" => Some(Self::HloOp),
            "hlo_module" => Some(Self::HloModule),
            "program_id" => Some(Self::ProgramId),
            "run_id" => Some(Self::RunId),
            "device_ordinal" => Some(Self::DeviceOrdinal),
            _ => None,
        }
    }
}

/// Decodes one line of `plane`; `epoch` is the session's start in nanoseconds since the Unix epoch.
pub(super) fn decode<'a>(
    index: usize,
    message: Message<'a>,
    plane: &PlaneTables<'a>,
    epoch: i64,
) -> DecodedLine<'a> {
    let mut decoder = Decoder {
        plane,
        is_host: plane.kind == PlaneKind::Host,
        known: FxHashMap::default(),
        last: None,
        text_index: FxHashMap::default(),
        device_index: FxHashMap::default(),
        line: DecodedLine::new(index),
    };
    let (mut display, mut timestamp) = (&[][..], 0);
    let mut fields = message.fields();
    loop {
        let at = fields.offset();
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
    let mut line = decoder.line;
    if line.name.is_empty() {
        line.name = display;
    }
    // The fields of a line come in any order, so its base is known only at its end.
    let relative =
        if timestamp < RELATIVE_BELOW { timestamp } else { timestamp.saturating_sub(epoch) };
    let base = Picos::from(Nanos(relative));
    for start in line.rows.iter_mut().flat_map(|(_, rows)| &mut rows.start) {
        *start = start.saturating_add(base);
    }
    line
}

/// The event whose field starts at `at`.
pub(super) fn event_at(bytes: &[u8], at: u64) -> Option<Message<'_>> {
    let rest = bytes.get(usize::try_from(at).ok()?..)?;
    let field = Message { bytes: rest, offset: at }.fields().next()?;
    field.ok()?.1.message()
}

impl DecodedLine<'_> {
    fn new(plane: usize) -> Self {
        Self {
            plane,
            id: 0,
            name: &[],
            rows: Vec::new(),
            metas: Vec::new(),
            texts: Vec::new(),
            modules: BTreeMap::new(),
            aggregated: 0,
            damage: None,
        }
    }
}

struct Decoder<'a, 'p> {
    plane: &'p PlaneTables<'a>,
    is_host: bool,
    known: FxHashMap<LocalMeta, u32>,
    /// The kind of the event before, which the next one usually repeats.
    last: Option<(LocalMeta, u32)>,
    text_index: FxHashMap<&'a [u8], u32>,
    /// Index in the line's rows of each device.
    device_index: FxHashMap<Option<i64>, usize>,
    line: DecodedLine<'a>,
}

/// The stats of one event that matter here.
#[derive(Default)]
struct Stats<'a> {
    op: Option<StatValue<'a>>,
    module: Option<StatValue<'a>>,
    program: i64,
    run: i64,
    ordinal: i64,
}

impl<'a> Decoder<'a, '_> {
    fn push(&mut self, event: Message<'a>, at: u64) {
        let (mut id, mut offset, mut dur, mut aggregated) = (0, 0, 0, false);
        let mut stats = Stats::default();
        for field in event.fields() {
            match field {
                Ok((1, value)) => id = value.int(),
                Ok((2, value)) => offset = value.int(),
                Ok((3, value)) => dur = value.int(),
                Ok((4, Value::Bytes(stat))) => self.read_stat(stat, &mut stats),
                Ok((5, _)) => aggregated = true,
                Ok(_) => {}
                Err(error) => {
                    self.line.damage = Some(error);
                    return;
                }
            }
        }
        if aggregated {
            self.line.aggregated += 1;
            return;
        }
        let op = self.op_ref(stats.op);
        let known = self.line.metas.len();
        let meta = self.local_meta(LocalMeta { event: id, program: stats.program, op });
        if self.line.metas.len() > known && stats.program != 0 {
            let module = self.op_ref(stats.module);
            self.line.modules.insert(stats.program, module);
        }
        // On the CPU backend operations run on host threads and say which device they belong to.
        let device = (self.is_host && op != OpRef::None).then_some(stats.ordinal);
        let rows = self.rows_of(device);
        rows.start.push(Picos(offset));
        rows.dur.push(Picos(dur.max(0)));
        rows.meta.push(meta);
        rows.run.push(stats.run);
        rows.has_runs |= stats.run != 0;
        rows.at.push(at);
    }

    fn op_ref(&mut self, value: Option<StatValue<'a>>) -> OpRef {
        match value {
            Some(StatValue::Ref(id)) => OpRef::Stat(id),
            Some(StatValue::Text(text)) => OpRef::Text(self.text(text)),
            _ => OpRef::None,
        }
    }

    fn read_stat(&self, stat: Message<'a>, stats: &mut Stats<'a>) {
        // The id comes first in every writer's output, so most stats are left after one field.
        let Some(Ok((1, id))) = stat.fields().next() else { return };
        let Some(&role) = self.plane.roles.get(&id.int()) else { return };
        let Some((_, value)) = split_stat(stat) else { return };
        let int = value.as_uint().unwrap_or(0).cast_signed();
        match role {
            Role::HloOp => stats.op = Some(value),
            Role::HloModule => stats.module = Some(value),
            Role::ProgramId => stats.program = int,
            Role::RunId => stats.run = int,
            Role::DeviceOrdinal => stats.ordinal = int,
        }
    }

    fn local_meta(&mut self, key: LocalMeta) -> u32 {
        if let Some((last, index)) = self.last
            && last == key
        {
            return index;
        }
        let metas = &mut self.line.metas;
        let index = *self.known.entry(key).or_insert_with(|| {
            metas.push(key);
            index_of(metas.len())
        });
        self.last = Some((key, index));
        index
    }

    fn rows_of(&mut self, device: Option<i64>) -> &mut Rows {
        let rows = &mut self.line.rows;
        let index = *self.device_index.entry(device).or_insert_with(|| {
            rows.push((device, Rows::default()));
            rows.len() - 1
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
