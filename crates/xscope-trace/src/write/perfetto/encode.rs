//! Packets: what is interned, what stands in each, and where they go.

use std::io::{self, Write};

use crate::model::ArgValue;
use crate::model::{MetaId, Trace};
use crate::strings::{StrId, Strings};
use crate::time::Picos;
use crate::wire_write::{put_bytes, put_double, put_fixed64, put_int, put_uint};
use crate::write::facts::{Common, hosts, monotonic_zero, origin, unix_zero};

/// Packets are handed on when they are this many bytes.
const FLUSH_ABOVE: usize = 64 << 10;

/// Sequence flags of the first packet of a machine, and of those that use what it interned.
const STATE_CLEARED: u64 = 1;
const NEEDS_STATE: u64 = 2;

/// Perfetto's numbers of clocks.
const REALTIME: u64 = 1;
const MONOTONIC: u64 = 3;
const BOOTTIME: u64 = 6;

/// Field numbers of `TracePacket`.
mod packet {
    pub(super) const CLOCK_SNAPSHOT: u32 = 6;
    pub(super) const TIMESTAMP: u32 = 8;
    pub(super) const SEQUENCE: u32 = 10;
    pub(super) const TRACK_EVENT: u32 = 11;
    pub(super) const INTERNED: u32 = 12;
    pub(super) const FLAGS: u32 = 13;
    pub(super) const SYSTEM_INFO: u32 = 45;
    pub(super) const TRACK: u32 = 60;
    pub(super) const MACHINE: u32 = 98;
}

/// Fields of `InternedData`, each with its own numbering.
#[derive(Debug, Clone, Copy)]
enum Table {
    Categories,
    Names,
    Keys,
    Texts,
}

impl Table {
    fn field(self) -> u32 {
        match self {
            Self::Categories => 1,
            Self::Names => 2,
            Self::Keys => 3,
            Self::Texts => 29,
        }
    }
}

/// Where an event is shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub host: usize,
    pub track: u64,
}

/// What an event says besides its name: encoded debug annotations, and arrows.
#[derive(Debug, Default)]
pub(super) struct Annotations {
    encoded: Vec<u8>,
    pub flows: Vec<u64>,
    pub ended_flows: Vec<u64>,
}

/// Writes packets.
#[derive(Debug)]
pub(super) struct Encoder<'a, W> {
    out: W,
    strings: &'a Strings,
    /// For each machine and table, the strings that it knows: bits by their number.
    known: Vec<[Vec<u64>; 4]>,
    /// Entries that the next packet brings along.
    pending: Vec<u8>,
    hosts: Vec<StrId>,
    unix_zero: Option<i64>,
    monotonic_zero: Option<i64>,
    origin: Picos,
    buffer: Vec<u8>,
    packet: Vec<u8>,
}

impl<'a, W: Write> Encoder<'a, W> {
    pub(super) fn new(trace: &'a Trace, out: W) -> Self {
        Self {
            out,
            strings: &trace.strings,
            known: Vec::new(),
            pending: Vec::new(),
            hosts: hosts(trace),
            unix_zero: unix_zero(trace),
            monotonic_zero: monotonic_zero(trace),
            origin: origin(trace),
            buffer: Vec::new(),
            packet: Vec::new(),
        }
    }

    /// The first packets of a machine: its clocks (the first one's are those of all), its name.
    pub(super) fn start_machine(&mut self, host: usize) -> io::Result<()> {
        self.known.push(Default::default());
        let name = self.hosts.get(host).map_or("", |&name| self.strings.get(name));
        let mut system = Vec::new();
        put_bytes(&mut system, 17, name.as_bytes());
        self.packet.clear();
        put_uint(&mut self.packet, packet::FLAGS, STATE_CLEARED);
        put_bytes(&mut self.packet, packet::SYSTEM_INFO, &system);
        self.finish(host)?;
        if host > 0 {
            return Ok(());
        }
        let mut snapshot = Vec::new();
        let zero = self.nanos(Picos::ZERO);
        let clocks = [
            (BOOTTIME, Some(0)),
            (REALTIME, self.unix_zero.filter(|&at| at > 0)),
            (MONOTONIC, self.monotonic_zero.filter(|&at| at > 0)),
        ];
        for (clock, at) in clocks {
            let Some(at) = at else { continue };
            let mut reading = Vec::new();
            put_uint(&mut reading, 1, clock);
            let at = if clock == BOOTTIME { zero } else { at.cast_unsigned() };
            put_uint(&mut reading, 2, at);
            put_bytes(&mut snapshot, 1, &reading);
        }
        put_uint(&mut snapshot, 2, BOOTTIME);
        self.packet.clear();
        put_uint(&mut self.packet, packet::TIMESTAMP, zero);
        put_bytes(&mut self.packet, packet::CLOCK_SNAPSHOT, &snapshot);
        self.finish(host)
    }

    /// A `TrackDescriptor`.
    pub(super) fn descriptor(&mut self, host: usize, track: &[u8]) -> io::Result<()> {
        self.packet.clear();
        put_bytes(&mut self.packet, packet::TRACK, track);
        self.finish(host)
    }

    pub(super) fn begin(
        &mut self,
        place: Place,
        at: Picos,
        (name, category): (StrId, StrId),
        notes: &Annotations,
    ) -> io::Result<()> {
        let mut event = Vec::with_capacity(64 + notes.encoded.len());
        if !category.is_empty() {
            let category = self.intern(place.host, Table::Categories, category);
            put_uint(&mut event, 3, category);
        }
        let name = self.intern(place.host, Table::Names, name);
        event.extend_from_slice(&notes.encoded);
        put_uint(&mut event, 9, 1);
        put_uint(&mut event, 10, name);
        put_uint(&mut event, 11, place.track);
        for &flow in &notes.flows {
            put_fixed64(&mut event, 47, flow);
        }
        for &flow in &notes.ended_flows {
            put_fixed64(&mut event, 48, flow);
        }
        self.event(place, at, &event)
    }

    /// A slice whose name and category the trace does not have.
    pub(super) fn begin_named(
        &mut self,
        place: Place,
        at: Picos,
        (name, category): (&str, &str),
        notes: &Annotations,
    ) -> io::Result<()> {
        let mut event = Vec::with_capacity(64 + notes.encoded.len());
        put_bytes(&mut event, 22, category.as_bytes());
        put_bytes(&mut event, 23, name.as_bytes());
        event.extend_from_slice(&notes.encoded);
        put_uint(&mut event, 9, 1);
        put_uint(&mut event, 11, place.track);
        self.event(place, at, &event)
    }

    pub(super) fn end(&mut self, place: Place, at: Picos) -> io::Result<()> {
        let mut event = Vec::with_capacity(16);
        put_uint(&mut event, 9, 2);
        put_uint(&mut event, 11, place.track);
        self.event(place, at, &event)
    }

    pub(super) fn sample(&mut self, place: Place, at: Picos, value: f64) -> io::Result<()> {
        let mut event = Vec::with_capacity(32);
        put_uint(&mut event, 9, 4);
        put_uint(&mut event, 11, place.track);
        put_double(&mut event, 44, value);
        self.event(place, at, &event)
    }

    fn event(&mut self, place: Place, at: Picos, event: &[u8]) -> io::Result<()> {
        let at = self.nanos(at);
        self.packet.clear();
        put_uint(&mut self.packet, packet::TIMESTAMP, at);
        put_uint(&mut self.packet, packet::FLAGS, NEEDS_STATE);
        put_bytes(&mut self.packet, packet::TRACK_EVENT, event);
        if !self.pending.is_empty() {
            put_bytes(&mut self.packet, packet::INTERNED, &self.pending);
            self.pending.clear();
        }
        self.finish(place.host)
    }

    /// Nanoseconds since the origin, rounded down, so that what nests still nests.
    fn nanos(&self, at: Picos) -> u64 {
        let nanos = (i128::from(at.0) - i128::from(self.origin.0)).div_euclid(1000);
        u64::try_from(nanos).unwrap_or(0)
    }

    fn finish(&mut self, host: usize) -> io::Result<()> {
        put_uint(&mut self.packet, packet::SEQUENCE, host as u64 + 1);
        if host > 0 {
            put_uint(&mut self.packet, packet::MACHINE, host as u64);
        }
        put_bytes(&mut self.buffer, 1, &self.packet);
        if self.buffer.len() < FLUSH_ABOVE {
            return Ok(());
        }
        self.flush()
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// The number of a string in a table of a machine, which learns it if it is new.
    fn intern(&mut self, host: usize, table: Table, id: StrId) -> u64 {
        let bits = &mut self.known[host][table as usize];
        let (word, bit) = (id.0 as usize / 64, id.0 % 64);
        if bits.len() <= word {
            bits.resize(word + 1, 0);
        }
        let number = u64::from(id.0) + 1;
        if bits[word] & (1 << bit) == 0 {
            bits[word] |= 1 << bit;
            let mut entry = Vec::new();
            put_uint(&mut entry, 1, number);
            put_bytes(&mut entry, 2, self.strings.get(id).as_bytes());
            put_bytes(&mut self.pending, table.field(), &entry);
        }
        number
    }

    fn note(&mut self, host: usize, notes: &mut Annotations, key: &str, value: &[u8]) {
        let mut note = Vec::with_capacity(value.len() + 8);
        match self.strings.find(key) {
            Some(id) => put_uint(&mut note, 1, self.intern(host, Table::Keys, id)),
            None => put_bytes(&mut note, 10, key.as_bytes()),
        }
        note.extend_from_slice(value);
        put_bytes(&mut notes.encoded, 4, &note);
    }

    pub(super) fn argument(
        &mut self,
        host: usize,
        notes: &mut Annotations,
        key: &str,
        value: &ArgValue,
    ) {
        // What the file refers to by number is a string of the trace, and repeats.
        if let ArgValue::Text(text) = value
            && let Some(id) = self.strings.find(text).filter(|id| !id.is_empty())
        {
            return self.text(host, notes, key, id);
        }
        let mut encoded = Vec::new();
        match value {
            ArgValue::Int(value) => put_int(&mut encoded, 4, *value),
            ArgValue::Uint(value) => put_uint(&mut encoded, 3, *value),
            ArgValue::Float(value) => put_double(&mut encoded, 5, *value),
            ArgValue::Text(text) => put_bytes(&mut encoded, 6, text.as_bytes()),
            ArgValue::Bytes(len) => put_bytes(&mut encoded, 6, format!("{len} bytes").as_bytes()),
        }
        self.note(host, notes, key, &encoded);
    }

    pub(super) fn number(
        &mut self,
        host: usize,
        notes: &mut Annotations,
        key: &str,
        value: impl Into<i128>,
    ) {
        let value: i128 = value.into();
        let mut encoded = Vec::new();
        match (i64::try_from(value), u64::try_from(value)) {
            (Ok(value), _) => put_int(&mut encoded, 4, value),
            (Err(_), Ok(value)) => put_uint(&mut encoded, 3, value),
            (Err(_), Err(_)) => return,
        }
        self.note(host, notes, key, &encoded);
    }

    /// A text of the trace, which is written once.
    pub(super) fn text(&mut self, host: usize, notes: &mut Annotations, key: &str, text: StrId) {
        if text.is_empty() {
            return;
        }
        let number = self.intern(host, Table::Texts, text);
        let mut encoded = Vec::new();
        put_uint(&mut encoded, 17, number);
        self.note(host, notes, key, &encoded);
    }

    /// What all events of a kind share.
    pub(super) fn common(
        &mut self,
        host: usize,
        notes: &mut Annotations,
        trace: &Trace,
        meta: MetaId,
        common: &Common<'_>,
    ) {
        let event = trace.meta(meta);
        self.text(host, notes, "scope", trace.scope_of(meta));
        if !event.display.is_empty() && event.display != event.name {
            self.text(host, notes, "long_name", event.name);
        }
        if let Some(id) = trace.strings.find(common.program) {
            self.text(host, notes, "program", id);
        }
        let costs = [("flops", common.flops), ("bytes", common.bytes)];
        for (key, value) in costs.into_iter().filter_map(|(key, value)| Some((key, value?))) {
            self.number(host, notes, key, value);
        }
    }
}
