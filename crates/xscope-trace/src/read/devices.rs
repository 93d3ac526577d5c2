//! Devices of all files: their order, and names that tell them apart.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::ids::IdVec;
use crate::model::{DeviceId, Trace, short_device};
use crate::strings::StrId;

/// Brings devices into the order of their sources and numbers: readers meet them in the order of
/// their first operation.
pub(super) fn sort_devices(trace: &mut Trace) {
    let mut order: Vec<DeviceId> = trace.devices.ids().collect();
    order.sort_by_key(|&id| {
        let device = &trace.devices[id];
        (device.source, device.kind, device.ordinal)
    });
    let mut place = IdVec::filled(&trace.devices, DeviceId(0));
    for (new, &old) in trace.devices.ids().zip(&order) {
        place[old] = new;
    }
    trace.devices = order.iter().map(|&id| trace.devices[id].clone()).collect();
    for device in trace.tracks.iter_mut().filter_map(|track| track.device.as_mut()) {
        *device = place[*device];
    }
}

/// Tells devices of one name apart: by their host, else by the folder of their file, else by their
/// process, else by a number.
pub(super) fn label_devices(trace: &mut Trace) {
    let mut named: BTreeMap<StrId, Vec<DeviceId>> = BTreeMap::new();
    for (id, device) in trace.devices.iter_ids() {
        named.entry(device.name).or_default().push(id);
    }
    let processes = processes(trace);
    for (name, alike) in named.into_iter().filter(|(_, alike)| alike.len() > 1) {
        let source = |&id: &DeviceId| &trace.sources[trace.devices[id].source];
        let hosts: Vec<&str> = alike.iter().map(|id| trace.strings.get(source(id).host)).collect();
        let paths: Vec<&Path> = alike.iter().map(|id| Path::new(&source(id).path)).collect();
        let common = paths[0].ancestors().find(|it| paths.iter().all(|path| path.starts_with(it)));
        let parts = paths.iter().copied().map(|path| {
            let rest = path.strip_prefix(common?).ok()?;
            rest.components().next()?.as_os_str().to_str()
        });
        let parts: Option<Vec<&str>> = parts.collect();
        let numbers: Vec<String> = (1..=alike.len()).map(|number| number.to_string()).collect();
        let numbers = || numbers.iter().map(String::as_str).collect();
        let processes = alike.iter().map(|&id| trace.strings.get(processes[id])).collect();
        let marks = [Some(hosts), parts, Some(processes)];
        let marks = marks.into_iter().flatten().find(|marks| are_distinct(marks));
        let short = short_device(trace.strings.get(name)).to_owned();
        let labels: Vec<String> =
            marks.unwrap_or_else(numbers).iter().map(|mark| format!("{short} of {mark}")).collect();
        for (id, label) in alike.into_iter().zip(labels) {
            trace.devices[id].label = trace.strings.intern(&label);
        }
    }
}

/// The process that the tracks of each device are of.
fn processes(trace: &Trace) -> IdVec<DeviceId, StrId> {
    let mut processes = IdVec::filled(&trace.devices, StrId::EMPTY);
    for track in &trace.tracks {
        if let Some(device) = track.device {
            processes[device] = track.process;
        }
    }
    processes
}

fn are_distinct(names: &[&str]) -> bool {
    let distinct: BTreeSet<&str> = names.iter().copied().filter(|name| !name.is_empty()).collect();
    distinct.len() == names.len()
}
