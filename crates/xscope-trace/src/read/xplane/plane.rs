//! The tables of one plane: what its numbers stand for, and where its lines are.

use std::sync::Arc;

use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};

use crate::model::{ArgValue, EventMeta, StatNames};
use crate::naming::{PlaneKind, amd_chip, classify, number_in, strip_op_type};
use crate::read::xplane::local_meta::LocalMeta;
use crate::read::xplane::roles::{Role, Roles};
use crate::read::xplane::stat::{StatValue, decode_stats, split_stat};
use crate::strings::{StrId, Strings};
use crate::wire::{Message, WireError};

/// How much text the stats of a plane may refer to, besides twice its own size.
const FACTS_LIMIT: usize = 64 << 10;

/// One event metadata entry.
pub(super) struct EventEntry {
    pub meta: EventMeta,
    /// The program that the metadata names, 0 for none.
    pub program: i64,
}

/// An HLO proto that a plane carries.
pub(super) struct ProgramEntry<'a> {
    pub id: i64,
    pub name: StrId,
    pub hlo: Message<'a>,
}

/// Everything of a plane except the events of its lines.
pub(super) struct PlaneTables<'a> {
    pub name: StrId,
    pub kind: PlaneKind,
    pub ordinal: i64,
    pub process_id: i64,
    pub device_model: StrId,
    pub peak_flops: Option<f64>,
    pub peak_bytes: Option<f64>,
    pub lines: Vec<Message<'a>>,
    pub events: FxHashMap<i64, EventEntry>,
    pub stat_names: StatNames,
    /// The stats that decide where an event belongs.
    pub roles: Roles,
    /// The events that are kept on host threads; all if `None`.
    pub host_events: Option<FxHashSet<i64>>,
    pub programs: Vec<ProgramEntry<'a>>,
    pub session_start: Option<i64>,
    pub session_stop: Option<i64>,
    pub monotonic_start: Option<i64>,
    pub facts: Vec<(String, String)>,
    pub damage: Option<WireError>,
}

/// The parts of a plane as they lie in the file; metadata may come after the lines that use it.
#[derive(Default)]
struct Parts<'a> {
    name: &'a [u8],
    lines: Vec<Message<'a>>,
    events: Vec<Message<'a>>,
    stat_metas: Vec<Message<'a>>,
    damage: Option<WireError>,
}

/// Reads the tables of one plane.
pub(super) fn scan<'a>(
    message: Message<'a>,
    needed: Option<fn(&str) -> bool>,
    strings: &mut Strings,
) -> PlaneTables<'a> {
    let mut parts = Parts::default();
    for field in message.fields() {
        match field {
            Ok((2, value)) => parts.name = value.bytes(),
            Ok((3, value)) => parts.lines.extend(value.message()),
            Ok((4, value)) => parts.events.extend(value.message()),
            Ok((5, value)) => parts.stat_metas.extend(value.message()),
            Ok(_) => {}
            Err(error) => parts.damage = Some(error),
        }
    }
    // Real entries are longer than this; what is shorter may be the same one again and again.
    let room = |entries: &[Message<'_>]| entries.len().min(message.bytes.len() / 16);
    strings.reserve(room(&parts.events) + room(&parts.stat_metas));
    let name = strings.intern_bytes(parts.name);
    let text = String::from_utf8_lossy(parts.name);
    let (kind, ordinal) = classify(&text);
    let stat_names = Arc::new(stat_names(&parts.stat_metas, strings));
    let mut tables = PlaneTables {
        name,
        kind,
        ordinal,
        process_id: 0,
        device_model: StrId::EMPTY,
        peak_flops: None,
        peak_bytes: None,
        lines: parts.lines,
        events: FxHashMap::with_capacity_and_hasher(room(&parts.events), FxBuildHasher),
        roles: roles(&stat_names, strings),
        host_events: None,
        stat_names,
        programs: Vec::new(),
        session_start: None,
        session_stop: None,
        monotonic_start: None,
        facts: Vec::new(),
        damage: parts.damage,
    };
    tables.read_plane_stats(message, strings);
    for &entry in &parts.events {
        tables.read_event(entry, text.starts_with("/host:metadata"), strings);
    }
    if let (PlaneKind::Host, Some(needed)) = (kind, needed) {
        tables.host_events = Some(tables.events_where(needed, strings));
    }
    tables
}

fn roles(stat_names: &FxHashMap<i64, StrId>, strings: &Strings) -> Roles {
    let role = |(&id, &name): (&i64, &StrId)| Some((id, Role::of(strings.get(name))?));
    Roles::new(stat_names.iter().filter_map(role))
}

/// Names of stats by id. A `ref_value` refers to a stat metadata whose name is the string, so this
/// table resolves those too.
fn stat_names(entries: &[Message<'_>], strings: &mut Strings) -> FxHashMap<i64, StrId> {
    let mut names = FxHashMap::default();
    for &entry in entries {
        let (mut id, mut name) = (None, StrId::EMPTY);
        for (number, value) in entry.fields().flatten() {
            match number {
                1 => id = id.or(Some(value.int())),
                2 => {
                    for (number, value) in value.message().iter().flat_map(|m| m.fields().flatten())
                    {
                        match number {
                            1 => id = Some(value.int()),
                            2 => name = strings.intern_bytes(value.bytes()),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        names.insert(id.unwrap_or(0), name);
    }
    names
}

impl<'a> PlaneTables<'a> {
    /// Whether events of this id are kept where they are no operations.
    pub(super) fn keeps(&self, event: i64) -> bool {
        self.host_events.as_ref().is_none_or(|events| events.contains(&event))
    }

    /// The program that an event or its metadata names, 0 for none.
    pub(super) fn program_of(&self, meta: LocalMeta) -> i64 {
        match meta.program {
            0 => self.events.get(&meta.event).map_or(0, |event| event.program),
            program => program,
        }
    }

    fn events_where(&self, needed: fn(&str) -> bool, strings: &Strings) -> FxHashSet<i64> {
        let is_named = |entry: &EventEntry| {
            let meta = &entry.meta;
            let label = if meta.display.is_empty() { meta.name } else { meta.display };
            needed(strings.get(label))
        };
        self.events.iter().filter(|(_, entry)| is_named(entry)).map(|(&id, _)| id).collect()
    }

    fn read_plane_stats(&mut self, message: Message<'_>, strings: &mut Strings) {
        let stats = decode_stats(message, 6, &self.stat_names, strings, FACTS_LIMIT);
        let mut model = None;
        let (mut is_amd, mut capability, mut units, mut memory) = (false, (0, 0), 0, 0);
        let mut clock_khz = 0;
        for (key, value) in stats {
            let int = || match value {
                ArgValue::Int(value) => Some(value),
                ArgValue::Uint(value) => Some(value.cast_signed()),
                _ => None,
            };
            match key {
                "profile_start_time" => self.session_start = int(),
                "profile_stop_time" => self.session_stop = int(),
                "xscope_monotonic_start_ns" => self.monotonic_start = int(),
                "process_id" => self.process_id = int().unwrap_or(0),
                "peak_teraflops_per_second" => self.peak_flops = value.as_f64().map(|v| v * 1e12),
                "peak_hbm_bw_gigabytes_per_second" => {
                    self.peak_bytes = value.as_f64().map(|v| v * 1e9);
                }
                "memory_bandwidth" => self.peak_bytes = value.as_f64(),
                "device_type_string" | "gpu_device_name" => {
                    if let ArgValue::Text(text) = &value {
                        model = Some(text.clone());
                    }
                }
                "device_vendor" => is_amd = matches!(&value, ArgValue::Text(text) if text == "AMD"),
                "compute_cap_major" => capability.0 = int().unwrap_or(0),
                "compute_cap_minor" => capability.1 = int().unwrap_or(0),
                "core_count" => units = int().unwrap_or(0),
                "memory_size" => memory = int().unwrap_or(0),
                "clock_rate" => clock_khz = int().unwrap_or(0),
                _ => {}
            }
            let text = match value {
                ArgValue::Int(value) => value.to_string(),
                ArgValue::Uint(value) => value.to_string(),
                ArgValue::Float(value) => value.to_string(),
                ArgValue::Text(text) => text,
                ArgValue::Bytes(_) => continue,
            };
            self.facts.push((key.to_owned(), text));
        }
        let by_figures = || amd_chip(capability, units, memory, clock_khz).filter(|_| is_amd);
        if let Some(model) = model.as_deref().or_else(by_figures) {
            self.device_model = strings.intern(model);
        }
    }

    /// Reads one event metadata entry: a map entry of key and message.
    fn read_event(&mut self, entry: Message<'a>, holds_programs: bool, strings: &mut Strings) {
        let (mut id, mut message) = (0, None);
        for (number, value) in entry.fields().flatten() {
            match number {
                1 => id = value.int(),
                2 => message = value.message(),
                _ => {}
            }
        }
        let Some(message) = message else { return };
        let mut meta = EventMeta::default();
        let mut program = 0;
        let mut stats = Vec::new();
        for (number, value) in message.fields().flatten() {
            match number {
                2 => meta.name = strings.intern_bytes(value.bytes()),
                4 => meta.display = strings.intern_bytes(value.bytes()),
                5 => stats.extend(value.message()),
                _ => {}
            }
        }
        if holds_programs {
            self.programs.extend(self.read_program(id, meta.name, &stats, strings));
            return;
        }
        for stat in stats {
            self.read_event_stat(stat, &mut meta, &mut program, strings);
        }
        self.events.insert(id, EventEntry { meta, program });
    }

    /// The program of one entry of `/host:metadata`.
    ///
    /// Its id is the `program_id` stat; else the number in the name's parentheses; else the map
    /// key, which libtpu 0.0.37 fills with something else.
    fn read_program(
        &self,
        key: i64,
        name: StrId,
        stats: &[Message<'a>],
        strings: &Strings,
    ) -> Option<ProgramEntry<'a>> {
        let mut hlo = None;
        let mut id = None;
        for (stat, value) in stats.iter().filter_map(|&stat| split_stat(stat)) {
            let stat = self.stat_names.get(&stat).map_or("", |&name| strings.get(name));
            match (stat, value) {
                ("program_id", value) => id = value.as_uint().map(u64::cast_signed),
                (stat, StatValue::Bytes(message)) if stat.eq_ignore_ascii_case("hlo proto") => {
                    hlo = Some(message);
                }
                _ => {}
            }
        }
        let id = id.or_else(|| number_in(strings.get(name))).unwrap_or(key);
        Some(ProgramEntry { id, name, hlo: hlo? })
    }

    fn read_event_stat(
        &self,
        stat: Message<'_>,
        meta: &mut EventMeta,
        program: &mut i64,
        strings: &mut Strings,
    ) {
        let Some((id, value)) = split_stat(stat) else { return };
        let Some(&name) = self.stat_names.get(&id) else { return };
        let text = |strings: &mut Strings| match value {
            StatValue::Ref(id) => self.stat_names.get(&id).copied().unwrap_or_default(),
            StatValue::Text(bytes) => strings.intern_bytes(bytes),
            _ => StrId::EMPTY,
        };
        match strings.get(name) {
            "hlo_category" => meta.category = text(strings),
            "tf_op" => {
                let raw = text(strings);
                meta.scope = strip_op_type(raw, strings);
            }
            "flops" => meta.flops = value.as_uint(),
            "bytes_accessed" => meta.bytes = value.as_uint(),
            "program_id" => *program = value.as_uint().unwrap_or(0).cast_signed(),
            _ => {}
        }
    }
}
