//! Puts events into columns as they are read.

use rustc_hash::FxHashMap;

use super::columns::{
    Binding, Class, FlowEnd, FlowKey, FlowPoint, Mark, Place, ProcessEntry, Rows, Series, Tally,
    Thread, base_of, keep_args, picos_since,
};
use super::decimal::picos_from_micros;
use super::event::{Args, Event, Id, Time};
use super::json::Text;
use crate::model::ArgCell;
use crate::model::{EventMeta, MetaId, Program, ProgramId, SourceId};
use crate::naming::{PlaneKind, classify, strip_op_type};
use crate::strings::{StrId, Strings};
use crate::time::Picos;

/// Tracks of one thread that are looked up in a list; honest files have at most three.
const MAX_LISTED: usize = 8;

/// Numbers for processes and threads that are named instead of numbered count down from here.
const NAMED_IDS_BELOW: i64 = -0x8000_0000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct MetaKey {
    name: StrId,
    category: StrId,
    module: StrId,
    op: StrId,
    scope: StrId,
    bytes: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct AsyncKey {
    process: Option<i64>,
    category: StrId,
    id: StrId,
    id_scope: StrId,
    /// Only events of the older kind (`S`, `T`, `F`) must agree in their names.
    name: StrId,
}

/// Arguments that decide where an event belongs.
#[derive(Debug, Default)]
struct Roles {
    run: i64,
    device: Option<i64>,
    hlo_op: StrId,
    hlo_module: StrId,
    device_ordinal: i64,
    tf_op: StrId,
    hlo_category: StrId,
    bytes_accessed: Option<u64>,
    /// Whether it is a host's call to a GPU, which names the operation that it launches.
    is_launch: bool,
}

/// The names of those arguments, in the order of [`Builder::roles`].
const ROLE_NAMES: [&str; 9] = [
    "run_id",
    "device",
    "hlo_op",
    "hlo_module",
    "device_ordinal",
    "tf_op",
    "hlo_category",
    "bytes_accessed",
    "correlation_id",
];

/// The categories of what a GPU ran, as Kineto writes them.
const GPU_CATEGORIES: [&str; 3] = ["kernel", "gpu_memcpy", "gpu_memset"];

/// Categories of PyTorch before 1.12, and what Kineto calls the same today.
const OLD_CATEGORIES: [(&str, &str); 5] = [
    ("Kernel", "kernel"),
    ("Memcpy", "gpu_memcpy"),
    ("Memset", "gpu_memset"),
    ("Operator", "cpu_op"),
    ("Runtime", "cuda_runtime"),
];

/// Everything that events are read into.
pub(super) struct Builder {
    pub strings: Strings,
    pub source: SourceId,
    pub metas: Vec<EventMeta>,
    first_meta: usize,
    pub programs: Vec<Program>,
    first_program: usize,
    pub processes: Vec<ProcessEntry>,
    pub threads: Vec<Thread>,
    pub rows: Vec<Rows>,
    pub series: Vec<Series>,
    pub flows: Vec<FlowPoint>,
    pub tally: Tally,
    /// What is subtracted from all times, once the first is known.
    pub base: Option<i128>,
    role_keys: [StrId; ROLE_NAMES.len()],
    gpu_categories: [StrId; 3],
    gpu_annotation: StrId,
    old_categories: [(StrId, StrId); OLD_CATEGORIES.len()],
    name_key: StrId,
    labels_key: StrId,
    meta_ids: FxHashMap<MetaKey, MetaId>,
    program_ids: FxHashMap<StrId, ProgramId>,
    pub process_ids: FxHashMap<i64, usize>,
    thread_ids: FxHashMap<(i64, i64), u32>,
    last_thread: Option<((i64, i64), u32)>,
    named_ids: FxHashMap<StrId, i64>,
    /// Tracks of threads that have too many for a list.
    crowded: FxHashMap<(u32, Class), u32>,
    places: FxHashMap<Place, u32>,
    asyncs: FxHashMap<AsyncKey, (u32, u32)>,
    series_ids: FxHashMap<(i64, StrId, StrId, StrId), usize>,
    scratch: String,
}

impl Builder {
    /// A builder whose first meta and program will get these indices in the trace.
    pub(super) fn new(
        mut strings: Strings,
        source: SourceId,
        first_meta: usize,
        first_program: usize,
    ) -> Self {
        Self {
            role_keys: ROLE_NAMES.map(|name| strings.intern(name)),
            gpu_categories: GPU_CATEGORIES.map(|name| strings.intern(name)),
            gpu_annotation: strings.intern("gpu_user_annotation"),
            old_categories: OLD_CATEGORIES
                .map(|(old, new)| (strings.intern(old), strings.intern(new))),
            name_key: strings.intern("name"),
            labels_key: strings.intern("labels"),
            strings,
            source,
            metas: Vec::new(),
            first_meta,
            programs: Vec::new(),
            first_program,
            processes: Vec::new(),
            threads: Vec::new(),
            rows: Vec::new(),
            series: Vec::new(),
            flows: Vec::new(),
            tally: Tally::default(),
            base: None,
            meta_ids: FxHashMap::default(),
            program_ids: FxHashMap::default(),
            process_ids: FxHashMap::default(),
            thread_ids: FxHashMap::default(),
            last_thread: None,
            named_ids: FxHashMap::default(),
            crowded: FxHashMap::default(),
            places: FxHashMap::default(),
            asyncs: FxHashMap::default(),
            series_ids: FxHashMap::default(),
            scratch: String::new(),
        }
    }

    /// Adds one event that has a phase; `offset` is where it starts in the file.
    pub(super) fn add(&mut self, event: &Event<'_>, args: &Args, offset: u64) {
        if event.phase == b'M' {
            self.tally.metadata += 1;
            self.add_metadata(event, args);
            return;
        }
        self.tally.events += 1;
        let at = match event.ts {
            Time::At(at) => at,
            Time::Missing => return self.tally.bad(offset, "an event without `ts`"),
            Time::Invalid => return self.tally.bad(offset, "a `ts` that is no number"),
        };
        let base = *self.base.get_or_insert_with(|| base_of(at));
        let Some(at) = picos_since(base, at) else { return self.tally.far(offset, at) };
        let result = match event.phase {
            b'X' => self.add_complete(event, args, at),
            b'B' | b'E' => self.add_half(event, args, at),
            b'b' | b'e' | b'n' | b'S' | b'T' | b'p' | b'F' => self.add_async(event, args, at),
            b'i' | b'I' | b'R' => self.add_instant(event, args, at),
            b'C' => self.add_counter(event, args, at),
            b's' | b't' | b'f' => self.add_flow_event(event, at),
            _ => {
                self.tally.ignored += 1;
                Ok(())
            }
        };
        if let Err(what) = result {
            self.tally.bad(offset, what);
        }
    }

    fn add_complete(&mut self, event: &Event<'_>, args: &Args, at: Picos) -> Outcome {
        let dur = match event.dur {
            Time::At(dur) => i64::try_from(dur).map_err(|_out_of_range| "a `dur` of 100 days"),
            Time::Missing => Err("a complete event without `dur`"),
            Time::Invalid => Err("a `dur` that is no number"),
        }?;
        let dur = if dur < 0 { Err("a `dur` below zero")? } else { Picos(dur) };
        let thread = self.thread(event);
        let (meta, track, run) = self.describe_on_thread(event, args, thread);
        self.rows[track as usize].push((at, dur), meta, run, args);
        self.add_bound_flow(event, thread, at, meta);
        Ok(())
    }

    fn add_half(&mut self, event: &Event<'_>, args: &Args, at: Picos) -> Outcome {
        let thread = self.thread(event);
        if event.phase == b'E' {
            let track = self.thread_track(thread, Class::Plain);
            self.push_end(track, event, args, at, 0);
            return Ok(());
        }
        let roles = self.roles(args);
        let meta = self.meta(event, &roles);
        let track = self.thread_track(thread, Class::Plain);
        self.push_begin(track, (meta, roles.run), event, args, (at, 0));
        self.add_bound_flow(event, thread, at, meta);
        Ok(())
    }

    fn add_async(&mut self, event: &Event<'_>, args: &Args, at: Picos) -> Outcome {
        let pid = self.pid(event);
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut intern = |id: Id<'_>| self.strings.intern(id.text(&mut scratch));
        let (id, global, local) =
            (intern(event.id), intern(event.global_id), intern(event.local_id));
        self.scratch = scratch;
        let (process, id) = match (id.is_empty(), global.is_empty(), local.is_empty()) {
            (false, ..) => (None, id),
            (true, false, _) => (None, global),
            (true, true, false) => (Some(pid), local),
            (true, true, true) => return Err("an asynchronous event without an id"),
        };
        let name = self.intern(event.name);
        let is_older = matches!(event.phase, b'S' | b'T' | b'p' | b'F');
        let key = AsyncKey {
            process,
            category: self.intern(event.category),
            id,
            id_scope: self.intern(event.id_scope),
            name: if is_older { name } else { StrId::EMPTY },
        };
        let next = u32::try_from(self.asyncs.len() + 1).unwrap_or(u32::MAX);
        let (track, stack) = match self.asyncs.get(&key) {
            Some(&known) => known,
            None => {
                let track = self.track_at(Place::Async(process, name));
                self.asyncs.insert(key, (track, next));
                (track, next)
            }
        };
        match event.phase {
            b'e' | b'F' => self.push_end(track, event, args, at, stack),
            phase => {
                let roles = self.roles(args);
                let meta = self.meta(event, &roles);
                if matches!(phase, b'b' | b'S') {
                    self.push_begin(track, (meta, roles.run), event, args, (at, stack));
                } else {
                    self.rows[track as usize].push((at, Picos::ZERO), meta, roles.run, args);
                }
            }
        }
        Ok(())
    }

    fn add_instant(&mut self, event: &Event<'_>, args: &Args, at: Picos) -> Outcome {
        let place = match event.scope.raw {
            b"" | b"t" => Place::Thread(self.thread(event)),
            b"p" => Place::Process(self.pid(event)),
            b"g" => Place::Global,
            _ => return Err("an instant of unknown scope"),
        };
        let (meta, track, run) = match place {
            Place::Thread(thread) => self.describe_on_thread(event, args, thread),
            place => {
                let roles = self.roles(args);
                (self.meta(event, &roles), self.track_at(place), roles.run)
            }
        };
        self.rows[track as usize].push((at, Picos::ZERO), meta, run, args);
        Ok(())
    }

    fn add_counter(&mut self, event: &Event<'_>, args: &Args, at: Picos) -> Outcome {
        if !args.is_object {
            return Err("a counter without values");
        }
        let pid = self.pid(event);
        let name = self.intern(event.name);
        let mut scratch = std::mem::take(&mut self.scratch);
        let id = self.strings.intern(event.id.text(&mut scratch));
        self.scratch = scratch;
        let mut result = Ok(());
        for &(key, cell) in &args.cells {
            let Some(value) = counter_value(cell, &self.strings) else {
                result = Err("a counter's value that is no number");
                continue;
            };
            let index = match self.series_ids.get(&(pid, name, id, key)) {
                Some(&index) => index,
                None => self.new_series((pid, name, id, key)),
            };
            self.series[index].samples.push((at, value));
        }
        result
    }

    fn new_series(&mut self, key: (i64, StrId, StrId, StrId)) -> usize {
        let (pid, name, id, arg) = key;
        let mut text = self.strings.get(name).to_owned();
        if !id.is_empty() {
            text.push_str(" id: ");
            text.push_str(self.strings.get(id));
        }
        text.push(' ');
        text.push_str(self.strings.get(arg));
        let name = self.strings.intern(&text);
        self.series.push(Series { pid, name, samples: Vec::new() });
        self.series_ids.insert(key, self.series.len() - 1);
        self.series.len() - 1
    }

    fn add_flow_event(&mut self, event: &Event<'_>, at: Picos) -> Outcome {
        let thread = self.thread(event);
        let id = self.flow_id(event.id).ok_or("a flow without an id")?;
        let key =
            FlowKey { id, category: self.intern(event.category), name: self.intern(event.name) };
        let (end, binding) = match event.phase {
            b's' => (FlowEnd::Start, Binding::Enclosing),
            b't' => (FlowEnd::Step, Binding::Enclosing),
            _ if event.binds_enclosing => (FlowEnd::Finish, Binding::Enclosing),
            _ => (FlowEnd::Finish, Binding::Next),
        };
        self.flows.push(FlowPoint { key, at, thread, end, binding });
        Ok(())
    }

    /// The flow that a slice names itself, with `bind_id`.
    fn add_bound_flow(&mut self, event: &Event<'_>, thread: u32, at: Picos, meta: MetaId) {
        let end = match (event.flow_in, event.flow_out) {
            (false, false) => return,
            (false, true) => FlowEnd::Start,
            (true, true) => FlowEnd::Step,
            (true, false) => FlowEnd::Finish,
        };
        let Some(id) = self.flow_id(event.bind_id) else { return };
        let key = FlowKey { id, category: StrId::EMPTY, name: StrId::EMPTY };
        self.flows.push(FlowPoint { key, at, thread, end, binding: Binding::Own(meta) });
    }

    /// Flow ids are numbers or hexadecimal text; other text counts as itself.
    fn flow_id(&mut self, id: Id<'_>) -> Option<u64> {
        match id {
            Id::None => None,
            Id::Number(digits) => {
                // Numbers of 2^63 and more are none of `i64`.
                let number = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
                number.or_else(|| Some(whole_number(digits)?.cast_unsigned()))
            }
            Id::Text(text) => {
                let raw = text.raw.strip_prefix(b"0x").unwrap_or(text.raw);
                let hex = std::str::from_utf8(raw).ok().filter(|raw| !raw.is_empty());
                let number = hex.and_then(|raw| u64::from_str_radix(raw, 16).ok());
                number.or_else(|| {
                    let id = self.intern(text);
                    (!id.is_empty()).then_some(u64::from(id.0) | 1 << 63)
                })
            }
        }
    }

    fn add_metadata(&mut self, event: &Event<'_>, args: &Args) {
        let text_of = |key: StrId| {
            let found = args.cells.iter().find(|(found, _)| *found == key);
            found.and_then(|(_, cell)| match cell {
                ArgCell::Str(id) => Some(*id),
                ArgCell::Int(_) | ArgCell::Float(_) => None,
            })
        };
        match event.name.raw {
            b"process_name" => {
                let pid = self.pid(event);
                let process = self.process(pid);
                if let Some(name) = text_of(self.name_key) {
                    self.name_process(process, name);
                }
            }
            b"process_labels" => {
                let pid = self.pid(event);
                let process = self.process(pid);
                if let Some(labels) = text_of(self.labels_key) {
                    self.processes[process].labels = labels;
                }
            }
            b"thread_name" => {
                let thread = self.thread(event);
                if let Some(name) = text_of(self.name_key) {
                    self.threads[thread as usize].name = name;
                }
            }
            _ => {}
        }
    }

    fn name_process(&mut self, process: usize, name: StrId) {
        let (plane, ordinal) = classify(self.strings.get(name));
        let process = &mut self.processes[process];
        (process.name, process.plane, process.ordinal) = (name, plane, ordinal);
    }

    pub(super) fn intern(&mut self, text: Text<'_>) -> StrId {
        self.strings.intern(text.decode(&mut self.scratch))
    }

    /// The number of an event's process; 0 if it names none.
    fn pid(&mut self, event: &Event<'_>) -> i64 {
        match event.pid {
            Id::None => 0,
            Id::Number(digits) => whole_number(digits).unwrap_or(0),
            Id::Text(text) => {
                let name = self.intern(text);
                let pid = self.named_id(name);
                let process = self.process(pid);
                if self.processes[process].name.is_empty() {
                    self.name_process(process, name);
                }
                pid
            }
        }
    }

    /// A number for what has only a name.
    fn named_id(&mut self, name: StrId) -> i64 {
        let next = NAMED_IDS_BELOW - i64::try_from(self.named_ids.len()).unwrap_or(0);
        *self.named_ids.entry(name).or_insert(next)
    }

    pub(super) fn process(&mut self, pid: i64) -> usize {
        *self.process_ids.entry(pid).or_insert_with(|| {
            let (plane, ordinal) = (PlaneKind::Other, 0);
            let (name, labels) = (StrId::EMPTY, StrId::EMPTY);
            self.processes.push(ProcessEntry { pid, name, labels, plane, ordinal });
            self.processes.len() - 1
        })
    }

    /// The thread of an event; without a number it is the process's main thread.
    fn thread(&mut self, event: &Event<'_>) -> u32 {
        let pid = self.pid(event);
        let (tid, name) = match event.tid {
            Id::None => (pid, StrId::EMPTY),
            Id::Number(digits) => (whole_number(digits).unwrap_or(pid), StrId::EMPTY),
            Id::Text(text) => {
                let name = self.intern(text);
                (self.named_id(name), name)
            }
        };
        if let Some((key, thread)) = self.last_thread
            && key == (pid, tid)
        {
            return thread;
        }
        let next = u32::try_from(self.threads.len()).unwrap_or(u32::MAX);
        let thread = *self.thread_ids.entry((pid, tid)).or_insert(next);
        if thread == next {
            self.process(pid);
            self.threads.push(Thread { pid, tid, name, tracks: Vec::new() });
        }
        self.last_thread = Some(((pid, tid), thread));
        thread
    }

    fn thread_track(&mut self, thread: u32, class: Class) -> u32 {
        let known = &self.threads[thread as usize].tracks;
        if let Some((_, track)) = known.iter().find(|(known, _)| *known == class) {
            return *track;
        }
        if let Some(&track) = self.crowded.get(&(thread, class)) {
            return track;
        }
        let track = self.new_track(Place::Thread(thread), class);
        if self.threads[thread as usize].tracks.len() < MAX_LISTED {
            self.threads[thread as usize].tracks.push((class, track));
        } else {
            self.crowded.insert((thread, class), track);
        }
        track
    }

    fn track_at(&mut self, place: Place) -> u32 {
        if let Some(&track) = self.places.get(&place) {
            return track;
        }
        if let Place::Process(pid) | Place::Async(Some(pid), _) = place {
            self.process(pid);
        }
        let track = self.new_track(place, Class::Plain);
        self.places.insert(place, track);
        track
    }

    fn new_track(&mut self, place: Place, class: Class) -> u32 {
        self.rows.push(Rows::new(place, class));
        u32::try_from(self.rows.len() - 1).unwrap_or(u32::MAX)
    }

    fn roles(&self, args: &Args) -> Roles {
        let mut roles = Roles::default();
        let text = |cell| match cell {
            ArgCell::Str(id) => id,
            ArgCell::Int(_) | ArgCell::Float(_) => StrId::EMPTY,
        };
        let int = |cell| int_value(cell, &self.strings);
        for &(key, cell) in &args.cells {
            match self.role_keys.iter().position(|&role| role == key) {
                Some(0) => roles.run = int(cell).unwrap_or(0),
                Some(1) => roles.device = int(cell),
                Some(2) => roles.hlo_op = text(cell),
                Some(3) => roles.hlo_module = text(cell),
                Some(4) => roles.device_ordinal = int(cell).unwrap_or(0),
                Some(5) => roles.tf_op = text(cell),
                Some(6) => roles.hlo_category = text(cell),
                Some(7) => roles.bytes_accessed = int(cell).and_then(|n| u64::try_from(n).ok()),
                Some(8) => roles.is_launch = true,
                _ => {}
            }
        }
        roles
    }

    /// What an event on a thread is, the track that it goes to, and its execution.
    fn describe_on_thread(
        &mut self,
        event: &Event<'_>,
        args: &Args,
        thread: u32,
    ) -> (MetaId, u32, i64) {
        let roles = self.roles(args);
        let pid = self.threads[thread as usize].pid;
        let category = self.category(event);
        let process = self.process(pid);
        let plane = self.processes[process].plane;
        let device = roles.device.unwrap_or(pid);
        let class = if matches!(plane, PlaneKind::Device(_)) {
            Class::Plain
        } else if self.gpu_categories.contains(&category) {
            Class::GpuOps(device)
        } else if category == self.gpu_annotation {
            Class::GpuDerived(device)
        } else if plane == PlaneKind::Host && !roles.hlo_op.is_empty() && !roles.is_launch {
            Class::CpuOps(roles.device_ordinal)
        } else {
            Class::Plain
        };
        let meta = self.meta_in(event, category, &roles);
        (meta, self.thread_track(thread, class), roles.run)
    }

    /// An event's category, as Kineto calls it today.
    fn category(&mut self, event: &Event<'_>) -> StrId {
        let written = self.intern(event.category);
        let renamed = self.old_categories.iter().find(|(old, _)| *old == written);
        renamed.map_or(written, |(_, new)| *new)
    }

    fn meta(&mut self, event: &Event<'_>, roles: &Roles) -> MetaId {
        let category = self.category(event);
        self.meta_in(event, category, roles)
    }

    fn meta_in(&mut self, event: &Event<'_>, category: StrId, roles: &Roles) -> MetaId {
        let name = self.intern(event.name);
        let key = MetaKey {
            name,
            category: if category.is_empty() { roles.hlo_category } else { category },
            module: roles.hlo_module,
            op: if roles.hlo_op == name { StrId::EMPTY } else { roles.hlo_op },
            scope: roles.tf_op,
            bytes: roles.bytes_accessed,
        };
        if let Some(&meta) = self.meta_ids.get(&key) {
            return meta;
        }
        let id = self.first_meta + self.metas.len();
        let meta = MetaId(u32::try_from(id).unwrap_or(u32::MAX));
        let scope = strip_op_type(key.scope, &mut self.strings);
        let program = (!key.module.is_empty()).then(|| self.program(key.module));
        self.metas.push(EventMeta {
            name,
            category: key.category,
            program,
            op: key.op,
            scope,
            bytes: key.bytes,
            ..EventMeta::default()
        });
        self.meta_ids.insert(key, meta);
        meta
    }

    /// The program of this name; JSON carries nothing else of it.
    fn program(&mut self, name: StrId) -> ProgramId {
        *self.program_ids.entry(name).or_insert_with(|| {
            let source = Some(self.source);
            let id = self.first_program + self.programs.len();
            self.programs.push(Program { name, source, ..Program::default() });
            ProgramId(u32::try_from(id).unwrap_or(u32::MAX))
        })
    }

    fn push_begin(
        &mut self,
        track: u32,
        (meta, run): (MetaId, i64),
        event: &Event<'_>,
        args: &Args,
        (at, stack): (Picos, u32),
    ) {
        let (name, category) = (self.intern(event.name), self.intern(event.category));
        let rows = &mut self.rows[track as usize];
        let row = Some(u32::try_from(rows.slices.len()).unwrap_or(u32::MAX));
        rows.push((at, Picos::UNFINISHED), meta, run, args);
        rows.marks.push(Mark { at, stack, row, name, category, args: (0, 0) });
    }

    fn push_end(&mut self, track: u32, event: &Event<'_>, args: &Args, at: Picos, stack: u32) {
        let (name, category) = (self.intern(event.name), self.intern(event.category));
        let rows = &mut self.rows[track as usize];
        let args = keep_args(&mut rows.args, args);
        rows.marks.push(Mark { at, stack, row: None, name, category, args });
    }
}

/// Why an event could not be kept.
type Outcome = Result<(), &'static str>;

/// A whole number, also where it is written `12.0`.
fn whole_number(digits: &[u8]) -> Option<i64> {
    if let Some(value) = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()) {
        return Some(value);
    }
    i64::try_from(picos_from_micros(digits)? / 1_000_000).ok()
}

/// An integer, also where it is written as text: XLA writes all its arguments so.
fn int_value(cell: ArgCell, strings: &Strings) -> Option<i64> {
    match cell {
        ArgCell::Int(value) => Some(value),
        ArgCell::Float(_) => None,
        ArgCell::Str(id) => {
            let text = strings.get(id);
            text.parse().ok().or_else(|| Some(text.parse::<u64>().ok()?.cast_signed()))
        }
    }
}

/// A finite number, also where it is written as text.
fn counter_value(cell: ArgCell, strings: &Strings) -> Option<f64> {
    let value = match cell {
        #[expect(clippy::cast_precision_loss, reason = "counters are f64 in every consumer")]
        ArgCell::Int(value) => value as f64,
        ArgCell::Float(value) => value,
        ArgCell::Str(id) => strings.get(id).parse().ok()?,
    };
    value.is_finite().then_some(value)
}
