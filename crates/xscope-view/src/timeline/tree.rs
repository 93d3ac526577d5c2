//! What is shown from top to bottom: requests, then each host with its devices and processes.

use std::collections::{BTreeMap, BTreeSet};

use xscope_trace::Trace;
use xscope_trace::ids::{Id as _, IdVec};
use xscope_trace::model::{DeviceId, SourceId, Track, TrackId, TrackKind};
use xscope_trace::strings::StrId;

/// One line of the list; a track has as many rows of slices as it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub kind: ItemKind,
}

/// What an [`Item`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemKind {
    /// Everything up to the next host is on it.
    Host(String),
    /// Everything up to the next group or host is in it: a device, a process.
    Group(String),
    /// A track, by its number.
    Track(TrackId),
    /// A counter, by its place in [`Trace::counters`].
    Counter(u32),
}

impl ItemKind {
    /// As a client is told.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Host(_) => 0,
            Self::Group(_) => 1,
            Self::Track(_) => 2,
            Self::Counter(_) => 3,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub items: Vec<Item>,
    /// Where each track stands.
    pub item_of_track: IdVec<TrackId, u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Device(DeviceId),
    Process(i64, StrId),
}

/// What a track or a counter is sorted by.
type Place = (usize, Group, Order);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    Track(u8, i64, TrackId),
    Counter(u32),
}

impl Tree {
    pub(crate) fn of(trace: &Trace, overlay: &Trace) -> Self {
        let mut tree = Self {
            items: Vec::new(),
            item_of_track: vec![0; trace.tracks.len() + overlay.tracks.len()].into(),
        };
        let own = trace.tracks.len()..trace.tracks.len() + overlay.tracks.len();
        if !own.is_empty() {
            tree.push(ItemKind::Group("Requests".to_owned()));
        }
        for track in own {
            tree.push(ItemKind::Track(TrackId::at(track)));
        }
        tree.add_hosts(trace);
        tree
    }

    fn push(&mut self, kind: ItemKind) {
        if let ItemKind::Track(track) = kind {
            let item = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
            self.item_of_track[track] = item;
        }
        self.items.push(Item { kind });
    }

    fn add_hosts(&mut self, trace: &Trace) {
        let hosts = hosts(trace);
        let names = process_names(trace);
        let mut places = places(trace, &hosts);
        places.sort_unstable();
        let mut before: Option<(usize, Group)> = None;
        for (host, group, order) in places {
            if hosts.len() > 1 && before.is_none_or(|(known, _)| known != host) {
                let name = trace.strings.get(hosts[host]);
                let name = if name.is_empty() { "unnamed host" } else { name };
                self.push(ItemKind::Host(name.to_owned()));
            }
            if before != Some((host, group)) {
                self.push(ItemKind::Group(group_name(trace, host, group, &names)));
            }
            before = Some((host, group));
            self.push(match order {
                Order::Track(_, _, track) => ItemKind::Track(track),
                Order::Counter(counter) => ItemKind::Counter(counter),
            });
        }
    }

    pub(crate) fn name(&self, item: &Item, trace: &Trace, overlay: &Trace) -> (String, String) {
        match &item.kind {
            ItemKind::Host(name) | ItemKind::Group(name) => (name.clone(), String::new()),
            ItemKind::Track(track) => match trace.tracks.get(*track) {
                Some(track) => track_name(trace, track),
                None => match overlay_track(trace, overlay, *track) {
                    Some(track) => (overlay.strings.get(track.name).to_owned(), String::new()),
                    None => Default::default(),
                },
            },
            ItemKind::Counter(counter) => match trace.counters.get(*counter as usize) {
                Some(counter) => (
                    trace.strings.get(counter.name).to_owned(),
                    trace.strings.get(counter.unit).to_owned(),
                ),
                None => Default::default(),
            },
        }
    }
}

/// Hosts in the order in which they are met; sources that name none are on the first.
fn hosts(trace: &Trace) -> Vec<StrId> {
    let mut hosts: Vec<StrId> = Vec::new();
    let mut known = BTreeSet::new();
    for source in trace.sources.iter().filter(|source| !source.host.is_empty()) {
        if known.insert(source.host) {
            hosts.push(source.host);
        }
    }
    if hosts.is_empty() {
        hosts.push(StrId::EMPTY);
    }
    hosts
}

fn places(trace: &Trace, hosts: &[StrId]) -> Vec<Place> {
    let place_of: BTreeMap<StrId, usize> =
        hosts.iter().enumerate().map(|(index, &host)| (host, index)).collect();
    let host_of = |source: SourceId| {
        let source = trace.sources.get(source);
        source.and_then(|source| place_of.get(&source.host)).copied().unwrap_or(0)
    };
    // A process that a source has no number for goes by its name.
    let process = |pid: i64, name: StrId| match pid {
        Track::NO_PROCESS => Group::Process(pid, name),
        _ => Group::Process(pid, StrId::EMPTY),
    };
    let mut places = Vec::with_capacity(trace.tracks.len() + trace.counters.len());
    for (id, track) in trace.tracks.iter_ids() {
        // An empty row would only be something to scroll over.
        if track.slices.is_empty() {
            continue;
        }
        let group = match track.device {
            Some(device) => Group::Device(device),
            None => process(track.pid, track.process),
        };
        places.push((host_of(track.source), group, Order::Track(rank(track.kind), track.tid, id)));
    }
    for (counter, index) in trace.counters.iter().zip(0_u32..) {
        let group = process(counter.pid, StrId::EMPTY);
        places.push((host_of(counter.source), group, Order::Counter(index)));
    }
    places
}

/// A track of the overlay, which are numbered behind those of the trace.
pub(super) fn overlay_track<'o>(
    trace: &Trace,
    overlay: &'o Trace,
    track: TrackId,
) -> Option<&'o Track> {
    overlay.tracks.get(TrackId::at(track.index().checked_sub(trace.tracks.len())?))
}

fn rank(kind: TrackKind) -> u8 {
    match kind {
        TrackKind::Steps => 0,
        TrackKind::Modules => 1,
        TrackKind::Ops => 2,
        TrackKind::AsyncOps => 3,
        TrackKind::Derived => 4,
        TrackKind::HostThread => 5,
        TrackKind::Other => 6,
    }
}

/// Names of processes: what their threads say, else what a source says.
fn process_names(trace: &Trace) -> BTreeMap<i64, StrId> {
    let mut names = BTreeMap::new();
    // Rows of a device lie under the device, whatever process recorded them.
    let threads = trace.tracks.iter().filter(|track| track.device.is_none());
    for track in threads.filter(|track| !track.process.is_empty()) {
        names.entry(track.pid).or_insert(track.process);
    }
    for process in trace.processes.iter().filter(|process| !process.name.is_empty()) {
        names.entry(process.pid).or_insert(process.name);
    }
    names
}

fn group_name(trace: &Trace, host: usize, group: Group, names: &BTreeMap<i64, StrId>) -> String {
    match group {
        Group::Device(id) => {
            let Some(device) = trace.devices.get(id) else {
                return format!("device {} of host {host}", id.0);
            };
            let (name, model) = (trace.device_label(id), trace.strings.get(device.model));
            if model.is_empty() { name.to_owned() } else { format!("{name} ({model})") }
        }
        Group::Process(pid, name) => {
            let name =
                if name.is_empty() { names.get(&pid).copied().unwrap_or_default() } else { name };
            match (trace.strings.get(name), pid) {
                ("", Track::NO_PROCESS) => "the whole trace".to_owned(),
                ("", pid) => format!("process {pid}"),
                (name, Track::NO_PROCESS) => name.to_owned(),
                (name, pid) => format!("{name} (pid {pid})"),
            }
        }
    }
}

fn track_name(trace: &Trace, track: &Track) -> (String, String) {
    let name = trace.strings.get(track.name);
    let name = if name.is_empty() { format!("thread {}", track.tid) } else { name.to_owned() };
    let note = match track.kind {
        TrackKind::Ops => "operations",
        TrackKind::AsyncOps => "in flight",
        TrackKind::Derived => "derived",
        _ => "",
    };
    (name, note.to_owned())
}
