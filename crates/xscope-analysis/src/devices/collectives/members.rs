//! Which devices a collective is among: the replica groups of its program, or the process group that its
//! event names, and which device of the trace is which member of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rustc_hash::FxHashMap;
use xscope_trace::Trace;
use xscope_trace::ids::IdVec;
use xscope_trace::model::{Device, DeviceId, DeviceKind, MetaId, Program, Rank, SourceId};

/// The devices of a trace as members of jobs: programs that run on all of them together.
pub(crate) struct Members {
    /// What a program's assignment calls each device; `None` where that cannot be told.
    ids: IdVec<DeviceId, Option<i64>>,
    /// Sources that are of one job have the same here.
    jobs: IdVec<SourceId, SourceId>,
    /// How many devices run together, where ranks say it.
    world: Option<usize>,
}

impl Members {
    pub(crate) fn of(trace: &Trace) -> Self {
        let alone = trace.devices.iter().map(|device| Some(device.ordinal)).collect();
        let jobs = trace.sources.ids().collect();
        let sources = trace.device_sources();
        let world = world(trace, &sources);
        if sources.len() < 2 {
            return Self { ids: alone, jobs, world };
        }
        let ways = [ordinals(trace), by_rank(trace), by_host(trace, &sources)];
        let Some(ids) = ways.into_iter().flatten().find(are_distinct) else {
            return Self { ids: alone, jobs, world };
        };
        let first = *sources.first().unwrap_or(&SourceId(0));
        let of_job = |id| if sources.contains(&id) { first } else { id };
        Self { ids, jobs: trace.sources.ids().map(of_job).collect(), world }
    }

    /// Whether devices of several sources are of one job.
    pub(crate) fn join_sources(&self) -> bool {
        self.jobs.iter_ids().any(|(source, job)| source != *job)
    }

    /// The job that a source is of, called after its first source.
    pub(super) fn job(&self, source: SourceId) -> SourceId {
        self.jobs[source]
    }

    /// The replica groups of a collective of a program.
    pub(super) fn groups(&self, trace: &Trace, meta: MetaId) -> Groups {
        let Some((program, found)) = trace.meta(meta).program.zip(trace.instruction(meta)) else {
            return Groups { world: self.world, ..Groups::default() };
        };
        let place = places(&trace.programs[program]);
        let mut of_place: FxHashMap<u32, u32> = FxHashMap::default();
        for (group, members) in (0..).zip(&found.groups) {
            of_place.extend(members.iter().map(|&place| (place, group)));
        }
        let group = |id: &Option<i64>| of_place.get(&place(id.as_ref().copied()?)?).copied();
        Groups {
            of_device: match found.groups.is_empty() {
                true => IdVec::default(),
                false => self.ids.iter().map(group).collect(),
            },
            sizes: found.groups.iter().map(Vec::len).collect(),
            world: None,
        }
    }
}

/// Replica groups, and the devices of the trace in them.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// The group of each device; empty if the program says nothing of groups.
    of_device: IdVec<DeviceId, Option<u32>>,
    sizes: Vec<usize>,
    /// How many devices are one group where nothing is said of groups.
    world: Option<usize>,
}

impl Groups {
    /// The group that a device is in; `None` if that is not known.
    pub(super) fn of(&self, device: DeviceId) -> Option<u32> {
        self.of_device.get(device).copied().flatten()
    }

    /// How many devices a group has, or all have together; `None` if that is not known.
    pub(super) fn size(&self, group: Option<u32>) -> Option<usize> {
        match group {
            Some(group) => self.sizes.get(group as usize).copied(),
            None => self.world,
        }
    }

    /// How many devices exchange with each other, 0 if that is not said or differs.
    pub(super) fn common_size(&self) -> u32 {
        let first = self.sizes.first().copied().unwrap_or(0);
        let is_common = self.sizes.iter().all(|size| *size == first);
        if is_common { u32::try_from(first).unwrap_or(u32::MAX) } else { 0 }
    }
}

/// The place of a device in a program's groups, by its id.
fn places(program: &Program) -> impl Fn(i64) -> Option<u32> {
    let assigned: BTreeMap<i64, u32> = program.assignment.iter().copied().zip(0..).collect();
    move |id| match assigned.is_empty() {
        true => u32::try_from(id).ok(),
        false => assigned.get(&id).copied(),
    }
}

/// Devices by what they are called, where that is said of the whole job: processes of JAX's CPU backend
/// number their devices apart.
fn ordinals(trace: &Trace) -> Option<IdVec<DeviceId, Option<i64>>> {
    let is_cpu = trace.devices.iter().all(|device| device.kind == DeviceKind::Cpu);
    is_cpu.then(|| trace.devices.iter().map(|device| Some(device.ordinal)).collect())
}

/// How many devices the ranks of a job have together.
fn world(trace: &Trace, sources: &BTreeSet<SourceId>) -> Option<usize> {
    let worlds = sources.iter().map(|&source| trace.sources[source].rank.as_ref()?.world);
    let world = worlds.collect::<Option<Vec<u32>>>()?.into_iter().max()?;
    let most = local(trace).values().map(Vec::len).max()?;
    (world as usize).checked_mul(most)
}

/// Devices by the rank of their process.
fn by_rank(trace: &Trace) -> Option<IdVec<DeviceId, Option<i64>>> {
    let local = local(trace);
    let most = local.values().map(Vec::len).max().unwrap_or(1);
    let ranks = ranks(trace, local.keys().copied())?;
    let id = |(id, device): (DeviceId, &Device)| {
        let rank = *ranks.get(&device.source)?;
        let at = local[&device.source].iter().position(|other| *other == id)?;
        rank.checked_mul(i64::try_from(most).ok()?)?.checked_add(i64::try_from(at).ok()?)
    };
    let ids: IdVec<DeviceId, Option<i64>> = trace.devices.iter_ids().map(id).collect();
    ids.iter().all(Option::is_some).then_some(ids)
}

/// The number of each source's process: as stated, else by its places along axes.
fn ranks(
    trace: &Trace,
    sources: impl Iterator<Item = SourceId>,
) -> Option<BTreeMap<SourceId, i64>> {
    let ranks = sources.map(|id| Some((id, trace.sources[id].rank.as_ref()?)));
    let ranks: Vec<(SourceId, &Rank)> = ranks.collect::<Option<_>>()?;
    let stated = ranks.iter().map(|&(id, rank)| Some((id, i64::from(rank.global?))));
    if let Some(stated) = stated.collect() {
        return Some(stated);
    }
    let places: BTreeSet<&[(String, u32)]> = ranks.iter().map(|(_, it)| &*it.axes).collect();
    let number: BTreeMap<&[(String, u32)], i64> = places.into_iter().zip(0..).collect();
    Some(ranks.iter().map(|(id, rank)| (*id, number[&*rank.axes])).collect())
}

/// Devices in the order of their hosts' names, if they are as many as a program runs on, or nothing says
/// how many that is and their files are of one capture.
fn by_host(trace: &Trace, sources: &BTreeSet<SourceId>) -> Option<IdVec<DeviceId, Option<i64>>> {
    let size = |program: &Program| match program.assignment.len() {
        0 => {
            let groups = program.instructions.iter().flat_map(|it| it.groups.iter().flatten());
            groups.max().map_or(0, |last| *last as usize + 1)
        }
        assigned => assigned,
    };
    let world = trace.programs.iter().map(size).max().unwrap_or(0);
    let folder = |source: &SourceId| Path::new(&trace.sources[*source].path).parent();
    let folders: BTreeSet<Option<&Path>> = sources.iter().map(folder).collect();
    // One capture of several hosts has its files in one folder.
    let is_one_job = match world {
        0 => folders.len() == 1,
        world => world == trace.devices.len(),
    };
    if !is_one_job {
        return None;
    }
    let mut hosts: Vec<(&str, SourceId)> =
        sources.iter().map(|&it| (trace.strings.get(trace.sources[it].host), it)).collect();
    hosts.sort_by_key(|&(host, _)| natural(host));
    let local = local(trace);
    let mut ids = IdVec::filled(&trace.devices, None);
    let order = hosts.iter().flat_map(|(_, source)| local.get(source).into_iter().flatten());
    for (at, &device) in (0..).zip(order) {
        ids[device] = Some(at);
    }
    Some(ids)
}

/// The devices of each source, in their order.
fn local(trace: &Trace) -> BTreeMap<SourceId, Vec<DeviceId>> {
    let mut local: BTreeMap<SourceId, Vec<DeviceId>> = BTreeMap::new();
    for (id, device) in trace.devices.iter_ids() {
        local.entry(device.source).or_default().push(id);
    }
    for devices in local.values_mut() {
        devices.sort_by_key(|&id| trace.devices[id].ordinal);
    }
    local
}

/// A name so that `host10` comes after `host9`.
fn natural(name: &str) -> Vec<(u64, &str)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let text = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let digits = rest[text..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - text);
        parts.push((0, &rest[..text]));
        parts.push((rest[text..text + digits].parse().unwrap_or(u64::MAX), ""));
        rest = &rest[text + digits..];
    }
    parts
}

fn are_distinct(ids: &IdVec<DeviceId, Option<i64>>) -> bool {
    let known: BTreeSet<i64> = ids.iter().copied().flatten().collect();
    known.len() == ids.len()
}

#[cfg(test)]
mod tests {
    use super::natural;

    #[test]
    fn hosts_are_in_the_order_of_their_numbers() {
        let mut names = ["t1v-w-10", "t1v-w-9", "a", "t1v-w-1"];
        names.sort_by_key(|name| natural(name));
        assert_eq!(names, ["a", "t1v-w-1", "t1v-w-9", "t1v-w-10"]);
    }
}
