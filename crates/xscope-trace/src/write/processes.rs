//! Which process each track and counter is shown under, with a number that is its own.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::IdVec;
use crate::model::{DeviceId, Rank, SourceId, Trace, Track, TrackId};
use crate::strings::StrId;
use crate::write::facts::hosts;

/// How tracks are grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grouping {
    /// Each device is a process of its own, whatever process its rows were recorded in.
    Devices,
    /// As the recorder had it.
    Recorded,
}

/// A process as it is written.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    /// Unique in the file, and the recorder's where that is possible.
    pub pid: i32,
    pub name: String,
    pub labels: StrId,
    /// Index in [`super::hosts`].
    pub host: usize,
    pub device: Option<DeviceId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Device(DeviceId),
    /// Host and pid: sources of one process meet here.
    Pid(usize, i64),
    /// Source, pid and name.
    Named(SourceId, i64, StrId),
}

/// The processes of a trace.
#[derive(Debug)]
pub(super) struct Processes {
    /// Devices first, then by source.
    pub shown: Vec<Shown>,
    /// For each track, an index in `shown`.
    pub of_track: IdVec<TrackId, usize>,
    /// For each counter.
    pub of_counter: Vec<usize>,
}

impl Processes {
    pub(super) fn new(trace: &Trace, grouping: Grouping) -> Self {
        let hosts = hosts(trace);
        let keys = Keys { trace, hosts: &hosts, grouping };
        let tracks: Vec<Key> = trace.tracks.iter().map(|track| keys.of_track(track)).collect();
        let named = named_pids(trace);
        let counters: Vec<Key> = trace
            .counters
            .iter()
            .map(|counter| {
                let name = named.get(&(counter.source, counter.pid)).copied();
                keys.of_pid(counter.source, counter.pid, name.unwrap_or_default())
            })
            .collect();
        let listed = trace.processes.iter().map(|it| keys.of_pid(it.source, it.pid, it.name));
        let listed: Vec<Key> = match grouping {
            Grouping::Recorded => listed.collect(),
            // A process that only held device rows would be an empty row.
            Grouping::Devices => Vec::new(),
        };
        let all: BTreeSet<Key> = tracks.iter().chain(&counters).chain(&listed).copied().collect();
        let mut names: BTreeMap<Key, StrId> = BTreeMap::new();
        for (key, track) in tracks.iter().zip(&trace.tracks) {
            names.entry(*key).or_insert(track.process);
        }
        let marked = trace.device_sources().len() > 1;
        let described = Described { keys: &keys, names, several: hosts.len() > 1, marked };
        let mut pids = Pids::default();
        let shown = all.iter().map(|&key| described.shown(key, &mut pids)).collect();
        let order: BTreeMap<Key, usize> =
            all.iter().enumerate().map(|(index, &key)| (key, index)).collect();
        let find = |keys: Vec<Key>| keys.iter().map(|key| order[key]).collect::<Vec<_>>();
        Self { shown, of_track: find(tracks).into(), of_counter: find(counters) }
    }
}

/// The name that tracks give to a pid of a source, if it is one.
fn named_pids(trace: &Trace) -> BTreeMap<(SourceId, i64), StrId> {
    trace.tracks.iter().map(|track| ((track.source, track.pid), track.process)).collect()
}

struct Keys<'a> {
    trace: &'a Trace,
    hosts: &'a [StrId],
    grouping: Grouping,
}

impl Keys<'_> {
    fn host(&self, source: SourceId) -> usize {
        let host = self.trace.sources.get(source).map_or(StrId::EMPTY, |it| it.host);
        self.hosts.iter().position(|&known| known == host).unwrap_or(0)
    }

    fn of_track(&self, track: &Track) -> Key {
        match (self.grouping, track.device) {
            (Grouping::Devices, Some(device)) => Key::Device(device),
            _ => self.of_pid(track.source, track.pid, track.process),
        }
    }

    fn of_pid(&self, source: SourceId, pid: i64, name: StrId) -> Key {
        match self.grouping {
            Grouping::Devices if pid > 0 => Key::Pid(self.host(source), pid),
            _ => Key::Named(source, pid, name),
        }
    }
}

struct Described<'a> {
    keys: &'a Keys<'a>,
    names: BTreeMap<Key, StrId>,
    several: bool,
    /// Whether devices are of several files, so that processes of one name are told apart.
    marked: bool,
}

impl Described<'_> {
    /// What tells processes of several ranks or hosts apart that have one name.
    fn mark(&self, source: SourceId) -> Option<String> {
        let trace = self.keys.trace;
        let found = trace.sources.get(source)?;
        let rank = found.rank.as_ref().map(Rank::mark);
        let host = self.several.then(|| trace.strings.get(found.host).to_owned());
        rank.or(host).filter(|mark| !mark.is_empty())
    }

    fn shown(&self, key: Key, pids: &mut Pids) -> Shown {
        let trace = self.keys.trace;
        let (host, wanted, device) = match key {
            Key::Device(id) => {
                let device = &trace.devices[id];
                (self.keys.host(device.source), 0, Some(id))
            }
            Key::Pid(host, pid) => (host, pid, None),
            Key::Named(source, pid, _) => (self.keys.host(source), pid, None),
        };
        let listed = trace.processes.iter().find(|it| match key {
            Key::Device(_) => false,
            Key::Pid(host, pid) => it.pid == pid && self.keys.host(it.source) == host,
            Key::Named(source, pid, _) => it.pid == pid && it.source == source,
        });
        let own = match key {
            Key::Device(id) => trace.devices[id].name,
            Key::Named(_, _, name) if !name.is_empty() => name,
            _ => match listed {
                Some(process) if !process.name.is_empty() => process.name,
                _ => self.names.get(&key).copied().unwrap_or_default(),
            },
        };
        let mut name = trace.strings.get(own).to_owned();
        if self.several && self.keys.grouping == Grouping::Devices {
            let host = self.keys.hosts.get(host).map_or("", |&host| trace.strings.get(host));
            name = format!("{name} ({host})");
        }
        if self.marked
            && let (Key::Named(source, ..), Grouping::Recorded) = (key, self.keys.grouping)
            && let Some(mark) = self.mark(source)
        {
            name = format!("[{mark}] {name}");
        }
        let labels = listed.map_or(StrId::EMPTY, |process| process.labels);
        Shown { pid: pids.take(wanted, self.keys.grouping), name, labels, host, device }
    }
}

/// Gives out process ids.
#[derive(Default)]
struct Pids {
    taken: BTreeSet<i32>,
    next: i32,
}

impl Pids {
    /// `wanted` if it is free. Perfetto takes process 0 for the kernel's idle task; in Chrome JSON
    /// it is a number like others, but for -1, which stands for no process.
    fn take(&mut self, wanted: i64, grouping: Grouping) -> i32 {
        let lowest = match grouping {
            Grouping::Devices => 1,
            Grouping::Recorded => 0,
        };
        let own = i32::try_from(wanted).ok().filter(|&pid| pid >= lowest || pid < -1);
        let own = own.filter(|&pid| grouping == Grouping::Recorded || pid > 0);
        if let Some(pid) = own.filter(|pid| !self.taken.contains(pid)) {
            self.taken.insert(pid);
            return pid;
        }
        self.next = self.next.max(1_000_000);
        while !self.taken.insert(self.next) {
            self.next += 1;
        }
        self.next
    }
}
