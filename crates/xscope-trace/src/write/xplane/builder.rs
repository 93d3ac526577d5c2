//! Planes in the making.

use rustc_hash::FxHashMap;

use crate::time::{Nanos, Picos};
use crate::wire_write::{put_bytes, put_double, put_header, put_int, put_uint};

/// The plane that says when the session ran: stats [`START_TIME`] and [`STOP_TIME`].
pub const TASK_ENVIRONMENT: &str = "Task Environment";

/// Stat of [`TASK_ENVIRONMENT`]: nanoseconds since the Unix epoch, as [`StatValue::U64`].
pub const START_TIME: &str = "profile_start_time";

/// Stat of [`TASK_ENVIRONMENT`]: nanoseconds since the Unix epoch, as [`StatValue::U64`].
pub const STOP_TIME: &str = "profile_stop_time";

/// Stat of [`TASK_ENVIRONMENT`], xscope's own: [`START_TIME`] on the monotonic clock, in
/// nanoseconds, as [`StatValue::I64`]. It joins the file with the spans of the same machine.
pub const MONOTONIC_START: &str = "xscope_monotonic_start_ns";

/// A value of a stat.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum StatValue<'a> {
    F64(f64),
    U64(u64),
    I64(i64),
    Str(&'a str),
    Bytes(&'a [u8]),
    /// The id of a stat whose *name* is the text: how XPlane interns strings.
    Ref(StatId),
}

/// The id of a kind of stat, or of an interned text, in one plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StatId(i64);

/// The id of a kind of event in one plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(i64);

/// A line of one [`PlaneBuilder`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LineKey(usize);

/// What all events of a kind share.
#[derive(Debug, Clone, Copy, Default)]
pub struct EventMeta<'a> {
    /// On an `XLA Ops` line: the whole HLO text, or the op's name.
    pub name: &'a str,
    /// A short name; empty to show `name`.
    pub display_name: &'a str,
    pub stats: &'a [(StatId, StatValue<'a>)],
}

/// One event: a stretch of time on a line.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    pub id: EventId,
    /// After the line's timestamp.
    pub offset: Picos,
    pub dur: Picos,
    pub stats: &'a [(StatId, StatValue<'a>)],
}

/// A plane under construction: it remembers ids, and holds the events since the last chunk.
#[derive(Debug)]
pub struct PlaneBuilder {
    id: i64,
    name: String,
    stat_ids: FxHashMap<Box<str>, StatId>,
    stat_entries: Entries,
    event_entries: Entries,
    lines: Vec<Line>,
    /// Encoded stats of the plane that no chunk has carried.
    stats: Vec<u8>,
    scratch: Scratch,
}

/// The metadata entries of one kind, and which of them the next chunk must carry.
#[derive(Debug, Default)]
struct Entries {
    all: Vec<Entry>,
    /// Indices. A chunk costs what it carries, however many entries a long capture has made.
    pending: Vec<usize>,
}

/// A metadata entry, encoded as the field of its plane.
#[derive(Debug)]
struct Entry {
    id: i64,
    field: Vec<u8>,
    /// The stats that it uses.
    uses: Vec<StatId>,
    is_pending: bool,
}

#[derive(Debug)]
struct Line {
    id: i64,
    /// Fields 1 to 3, encoded.
    head: Vec<u8>,
    /// Event fields, encoded.
    events: Vec<u8>,
}

#[derive(Debug, Default)]
struct Scratch {
    message: Vec<u8>,
    stat: Vec<u8>,
}

impl PlaneBuilder {
    /// A plane; `id` and `name` are the same in all chunks.
    pub fn new(id: i64, name: &str) -> Self {
        Self {
            id,
            name: name.to_owned(),
            stat_ids: FxHashMap::default(),
            stat_entries: Entries::default(),
            event_entries: Entries::default(),
            lines: Vec::new(),
            stats: Vec::new(),
            scratch: Scratch::default(),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id of the stats of this name, or of this text for [`StatValue::Ref`].
    pub fn stat_id(&mut self, name: &str) -> StatId {
        if let Some(&id) = self.stat_ids.get(name) {
            return id;
        }
        let id = self.stat_entries.next_id();
        let mut message = Vec::new();
        put_int(&mut message, 1, id);
        put_bytes(&mut message, 2, name.as_bytes());
        let id = StatId(id);
        self.stat_entries.push(Entry::new(5, id.0, &message, Vec::new()));
        self.stat_ids.insert(name.into(), id);
        id
    }

    /// Defines a kind of event. Each call defines another one: keep the id.
    pub fn event(&mut self, meta: EventMeta<'_>) -> EventId {
        let id = self.event_entries.next_id();
        self.event_with_id(id, meta)
    }

    /// Defines a kind of event under an id of the caller's choice: on `/host:metadata` XProf
    /// takes the id for the program's. Do not mix with [`Self::event`] in one plane.
    pub fn event_with_id(&mut self, id: i64, meta: EventMeta<'_>) -> EventId {
        let mut message = Vec::new();
        put_int(&mut message, 1, id);
        put_bytes(&mut message, 2, meta.name.as_bytes());
        if !meta.display_name.is_empty() {
            put_bytes(&mut message, 4, meta.display_name.as_bytes());
        }
        put_stats(&mut message, 5, meta.stats, &mut self.scratch.stat);
        let uses = meta.stats.iter().flat_map(|(id, value)| used_stats(*id, value)).collect();
        self.event_entries.push(Entry::new(4, id, &message, uses));
        EventId(id)
    }

    /// Sets a stat of the plane itself. Set each once.
    pub fn plane_stat(&mut self, id: StatId, value: StatValue<'_>) {
        put_stats(&mut self.stats, 6, &[(id, value)], &mut self.scratch.stat);
        self.mark_stats(&[(id, value)]);
    }

    /// The line of this id, made the first time. `timestamp` is in nanoseconds since the start of
    /// the session (or, in all lines of a file, of the Unix epoch); events count from it.
    pub fn line(&mut self, id: i64, name: &str, timestamp: Nanos) -> LineKey {
        if let Some(index) = self.lines.iter().position(|line| line.id == id) {
            return LineKey(index);
        }
        let mut head = Vec::new();
        put_int(&mut head, 1, id);
        put_bytes(&mut head, 2, name.as_bytes());
        put_int(&mut head, 3, timestamp.0);
        self.lines.push(Line { id, head, events: Vec::new() });
        LineKey(self.lines.len() - 1)
    }

    /// Adds an event to a line. Events of a line may nest but should not overlap.
    ///
    /// # Panics
    ///
    /// `line` is of another plane.
    pub fn push(&mut self, line: LineKey, event: &Event<'_>) {
        let message = &mut self.scratch.message;
        message.clear();
        put_int(message, 1, event.id.0);
        put_int(message, 2, event.offset.0);
        put_int(message, 3, event.dur.0);
        put_stats(message, 4, event.stats, &mut self.scratch.stat);
        put_bytes(&mut self.lines[line.0].events, 4, message);
        self.event_entries.mark(event.id.0);
        self.mark_stats(event.stats);
    }

    /// Bytes of the events that wait for the next chunk: a measure for when to write one.
    pub fn pending_bytes(&self) -> usize {
        self.lines.iter().map(|line| line.events.len()).sum()
    }

    /// Appends what was defined and pushed since the last call as one `planes` field of an
    /// XSpace, and forgets the events. Appends nothing if there was nothing.
    pub fn encode_into(&mut self, out: &mut Vec<u8>) {
        let idle = self.pending_bytes() == 0
            && self.stats.is_empty()
            && self.event_entries.pending.is_empty()
            && self.stat_entries.pending.is_empty();
        if idle {
            return;
        }
        let mut plane = Vec::with_capacity(self.pending_bytes() + 4096);
        put_int(&mut plane, 1, self.id);
        put_bytes(&mut plane, 2, self.name.as_bytes());
        for entry in self.event_entries.take_pending() {
            plane.extend_from_slice(&entry.field);
            for &StatId(id) in &entry.uses {
                self.stat_entries.mark(id);
            }
        }
        for entry in self.stat_entries.take_pending() {
            plane.extend_from_slice(&entry.field);
        }
        plane.append(&mut self.stats);
        for line in self.lines.iter_mut().filter(|line| !line.events.is_empty()) {
            put_header(&mut plane, 3, (line.head.len() + line.events.len()) as u64);
            plane.extend_from_slice(&line.head);
            plane.append(&mut line.events);
        }
        put_bytes(out, 1, &plane);
    }
}

impl PlaneBuilder {
    fn mark_stats(&mut self, stats: &[(StatId, StatValue<'_>)]) {
        for (id, value) in stats {
            for StatId(id) in used_stats(*id, value) {
                self.stat_entries.mark(id);
            }
        }
    }
}

impl Entries {
    fn next_id(&self) -> i64 {
        i64::try_from(self.all.len() + 1).unwrap_or(i64::MAX)
    }

    fn push(&mut self, entry: Entry) {
        self.pending.push(self.all.len());
        self.all.push(entry);
    }

    /// Has the next chunk carry the entry. Ids count from 1 in the order of the entries, but for
    /// those of the caller's choice.
    fn mark(&mut self, id: i64) {
        let has_id = |index: &usize| self.all.get(*index).is_some_and(|entry| entry.id == id);
        let index = usize::try_from(id - 1)
            .ok()
            .filter(has_id)
            .or_else(|| self.all.iter().position(|entry| entry.id == id));
        if let Some(index) = index
            && !self.all[index].is_pending
        {
            self.all[index].is_pending = true;
            self.pending.push(index);
        }
    }

    /// What the next chunk must carry, in the order of definition; then nothing is pending.
    fn take_pending(&mut self) -> impl Iterator<Item = &Entry> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.sort_unstable();
        for &index in &pending {
            self.all[index].is_pending = false;
        }
        pending.into_iter().map(|index| &self.all[index])
    }
}

impl Entry {
    fn new(field: u32, id: i64, message: &[u8], uses: Vec<StatId>) -> Self {
        let mut entry = Vec::with_capacity(message.len() + 16);
        put_int(&mut entry, 1, id);
        put_bytes(&mut entry, 2, message);
        let mut encoded = Vec::with_capacity(entry.len() + 8);
        put_bytes(&mut encoded, field, &entry);
        Self { id, field: encoded, uses, is_pending: true }
    }
}

fn used_stats(id: StatId, value: &StatValue<'_>) -> impl Iterator<Item = StatId> + use<> {
    let text = if let StatValue::Ref(text) = value { Some(*text) } else { None };
    std::iter::once(id).chain(text)
}

/// Appends stats as fields numbered `field`.
fn put_stats(
    out: &mut Vec<u8>,
    field: u32,
    stats: &[(StatId, StatValue<'_>)],
    scratch: &mut Vec<u8>,
) {
    for (StatId(id), value) in stats {
        scratch.clear();
        put_int(scratch, 1, *id);
        match *value {
            StatValue::F64(value) => put_double(scratch, 2, value),
            StatValue::U64(value) => put_uint(scratch, 3, value),
            StatValue::I64(value) => put_int(scratch, 4, value),
            StatValue::Str(text) => put_bytes(scratch, 5, text.as_bytes()),
            StatValue::Bytes(bytes) => put_bytes(scratch, 6, bytes),
            StatValue::Ref(StatId(id)) => put_int(scratch, 7, id),
        }
        put_bytes(out, field, scratch);
    }
}
