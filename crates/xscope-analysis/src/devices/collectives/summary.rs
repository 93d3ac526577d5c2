//! What the executions of one collective say.

use std::collections::{BTreeMap, BTreeSet};

use xscope_trace::metric::Status;
use xscope_trace::model::{DeviceId, MetaId};
use xscope_trace::stats::{as_f64, sum};
use xscope_trace::{Metric, Picos, Trace};

use crate::devices::collectives::executions::Executions;
use crate::devices::collectives::members::Groups;
use crate::devices::collectives::messages::{Message, bus_factor};
use crate::devices::collectives::runs::CollectiveRun;
use crate::devices::collectives::waiting::{WaitFrom, Waits};
use crate::devices::collectives::{CollectiveRow, LateRow};

/// The sums over the executions whose devices are all there.
#[derive(Default)]
struct Sums {
    wait: Picos,
    /// Of that, what is no part of the operations themselves.
    before: Picos,
    /// Each device's time from the last arrival on.
    moving: Vec<Picos>,
    late: BTreeMap<DeviceId, (u64, Picos)>,
    /// The weakest of what tells of waiting.
    from: Option<WaitFrom>,
    undecided: u64,
    /// Executions in a group that lack devices.
    incomplete: u64,
}

impl Sums {
    fn of(trace: &Trace, executions: &Executions) -> Self {
        let mut sums = Self::default();
        for execution in executions.each() {
            if let Some(waits) = Waits::in_barrier(execution) {
                sums.add(execution, waits);
                continue;
            }
            for (runs, is_missing) in executions.groups_of(execution) {
                if is_missing {
                    sums.incomplete += 1;
                } else if runs.len() > 1 {
                    sums.add(runs, Waits::of(trace, runs));
                }
            }
        }
        sums
    }

    fn add(&mut self, runs: &[CollectiveRun], waits: Waits) {
        let waited = sum(&waits.waited);
        self.wait = self.wait.saturating_add(waited);
        self.before = self.before.saturating_add(sum(&waits.before));
        let inside = waits.waited.iter().zip(&waits.before);
        let moving = runs.iter().zip(inside).map(|(run, (&all, &before))| run.dur - (all - before));
        self.moving.extend(moving);
        // Devices that came last together share what they cost.
        let share = Picos(waited.0 / i64::try_from(waits.late.len().max(1)).unwrap_or(i64::MAX));
        for device in waits.late {
            let (times, caused) = self.late.entry(device).or_default();
            (*times, *caused) = (*times + 1, caused.saturating_add(share));
        }
        self.undecided += u64::from(waits.is_undecided);
        self.from = self.from.max(Some(waits.from));
    }

    fn wait(&self, is_upper_bound: bool) -> Metric {
        let alone = "not all of its devices are in this trace";
        let from = self.from.unwrap_or(WaitFrom::Unknown);
        let wait = Metric::known(self.from.map(|_| self.wait.as_micros()), "us", alone);
        let doubt = match from {
            WaitFrom::Arrivals if is_upper_bound => {
                "until the last device of all groups began, so it is an upper bound"
            }
            WaitFrom::Durations => {
                "what an execution took longer than on the device that was done soonest: the clocks of \
                 its files cannot be compared"
            }
            _ if self.incomplete > 0 => "of the executions all of whose devices are in this trace",
            _ => return wait,
        };
        let mut wait = wait;
        wait.degrade(doubt);
        wait
    }

    fn late(&self, trace: &Trace) -> Vec<LateRow> {
        let row = |(&device, &(count, caused)): (&DeviceId, &(u64, Picos))| LateRow {
            device: trace.device_label(device).to_owned(),
            count,
            caused_us: caused.as_micros(),
        };
        let mut rows: Vec<LateRow> = self.late.iter().map(row).collect();
        rows.sort_by(|a, b| b.caused_us.total_cmp(&a.caused_us).then(b.count.cmp(&a.count)));
        rows
    }
}

/// What the executions of one collective say.
pub(super) fn summarise(trace: &Trace, executions: &Executions) -> CollectiveRow {
    let Executions { meta, groups, runs, .. } = executions;
    let total = runs.iter().fold(Picos::ZERO, |sum, run| sum.saturating_add(run.dur));
    let hidden = runs.iter().fold(Picos::ZERO, |sum, run| sum.saturating_add(run.hidden));
    let sums = Sums::of(trace, executions);
    let sent = Sent::of(trace, *meta, groups, runs);
    let secs = sum(&sums.moving).as_micros() / 1e6 / as_f64(sums.moving.len().max(1) as u64);
    let devices: BTreeSet<DeviceId> = runs.iter().map(|run| run.device).collect();
    let known = !sums.moving.is_empty();
    let is_upper_bound = runs.iter().any(|run| run.group.is_none())
        && sent.group_size > 0
        && (sent.group_size as usize) < devices.len();
    let wait = sums.wait(is_upper_bound);
    let rate = |bytes: Option<f64>| match bytes {
        Some(bytes) if known && secs > 0.0 => {
            let mut rate = Metric::valid(bytes / secs, "B/s");
            if let (Status::Degraded, Some(reason)) = (wait.status, &wait.reason) {
                rate.degrade(reason);
            }
            rate
        }
        Some(bytes) if !known && total > Picos::ZERO => {
            const WHY: &str =
                "at least: its time has waiting for devices in it that are not in the trace";
            let secs = total.as_micros() / 1e6 / as_f64(runs.len() as u64);
            Metric::degraded(bytes / secs, "B/s", WHY)
        }
        _ => {
            Metric::unavailable("B/s", "its bytes or its time after the last arrival are not known")
        }
    };
    let mut transfer = wait.clone();
    transfer.value = transfer.value.map(|_| sum(&sums.moving).as_micros());
    CollectiveRow {
        name: executions.name.clone(),
        category: String::new(),
        program: executions.program.clone(),
        count: executions.each().count() as u64,
        devices: devices.len() as u64,
        on: devices.iter().map(|&device| trace.device_label(device).to_owned()).collect(),
        group_size: sent.group_size,
        bytes: sent.bytes(),
        total_us: total.as_micros(),
        barrier_us: sums.before.as_micros(),
        wait_from: sums.from.unwrap_or(WaitFrom::Unknown),
        transfer_us: transfer,
        bytes_per_sec: rate(sent.mean),
        bus_bytes_per_sec: rate(sent.bus_mean),
        hidden_us: hidden.as_micros(),
        late: sums.late(trace),
        undecided: sums.undecided,
        incomplete: sums.incomplete,
        meta: *meta,
        total,
        wait: sums.wait,
        wait_us: wait,
    }
}

/// What the executions of a collective exchange.
struct Sent {
    /// Bytes of the result on one device, the mean of all executions.
    mean: Option<f64>,
    /// Bytes that pass a device's link.
    bus_mean: Option<f64>,
    group_size: u32,
    /// Whether all executions exchange as much.
    is_even: bool,
}

impl Sent {
    /// From what the program says, else from what each execution says.
    fn of(trace: &Trace, meta: MetaId, groups: &Groups, runs: &[CollectiveRun]) -> Self {
        if let Some(found) = trace.instruction(meta) {
            let mean = Some(as_f64(found.result_bytes.0)).filter(|bytes| *bytes > 0.0);
            let group_size = groups.common_size();
            let factor = bus_factor(trace.strings.get(found.opcode), group_size);
            let bus_mean = mean.zip(factor).map(|(bytes, factor)| bytes * factor);
            return Self { mean, bus_mean, group_size, is_even: true };
        }
        let messages: Option<Vec<Message>> = runs.iter().map(|run| run.message).collect();
        let messages = messages.unwrap_or_default();
        let Some(&first) = messages.first() else {
            return Self { mean: None, bus_mean: None, group_size: 0, is_even: true };
        };
        let count = as_f64(messages.len() as u64);
        let bus: Option<f64> = messages.iter().map(|message| message.bus_bytes).sum();
        let is_one_group = messages.iter().all(|message| message.group_size == first.group_size);
        Self {
            mean: Some(messages.iter().map(|message| as_f64(message.bytes)).sum::<f64>() / count),
            bus_mean: bus.map(|bytes| bytes / count),
            group_size: if is_one_group { first.group_size } else { 0 },
            is_even: messages.iter().all(|message| message.bytes == first.bytes),
        }
    }

    fn bytes(&self) -> Metric {
        let mut bytes = Metric::known(self.mean, "B", "the trace does not carry its shape");
        if !self.is_even {
            bytes.degrade("the mean of executions of several sizes");
        }
        bytes
    }
}
