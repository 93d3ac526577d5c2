//! What machine this is, and which process.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::time::Bytes;

/// The machine of a run. What could not be found out is absent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct HostInfo {
    /// Its name in the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Distribution and kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// What its processor calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_model: Option<String>,
    /// Cores that this process may use: the smaller of affinity and cgroup quota.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cores: Option<usize>,
    /// Of the machine; a cgroup may allow less.
    #[serde(rename = "memory_bytes", skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
}

impl HostInfo {
    /// Asks the kernel of this machine.
    pub fn read() -> Self {
        let kernel = read_line("/proc/sys/kernel/osrelease");
        let release = fs::read_to_string("/etc/os-release").ok();
        let distribution = release.as_deref().and_then(|text| value_of(text, "PRETTY_NAME", '='));
        let distribution = distribution.map(|name| name.trim_matches('"').to_owned());
        let os = match (distribution, kernel) {
            (Some(name), Some(kernel)) => Some(format!("{name}, Linux {kernel}")),
            (name, kernel) => name.or(kernel),
        };
        let cpus = fs::read_to_string("/proc/cpuinfo").ok();
        let memory = fs::read_to_string("/proc/meminfo").ok();
        let memory = memory.as_deref().and_then(|text| value_of(text, "MemTotal", ':'));
        let kib = memory.and_then(|text| text.strip_suffix(" kB")?.trim().parse::<u64>().ok());
        Self {
            hostname: read_line("/proc/sys/kernel/hostname"),
            os,
            cpu_model: cpus
                .as_deref()
                .and_then(|text| value_of(text, "model name", ':'))
                .map(str::to_owned),
            cores: std::thread::available_parallelism().ok().map(std::num::NonZero::get),
            memory: kib.map(|kib| Bytes(kib.saturating_mul(1024))),
        }
    }
}

/// A process, so that another that got the same id later is not taken for it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ProcessId {
    /// The process's number.
    pub pid: u32,
    /// When it started, in the kernel's ticks since boot; 0 if unknown.
    pub start_ticks: u64,
    /// Changes with each boot of a machine.
    pub boot_id: String,
}

impl ProcessId {
    /// This process.
    pub fn current() -> Self {
        Self::of(std::process::id())
    }

    /// The process that has this id now.
    pub fn of(pid: u32) -> Self {
        Self { pid, start_ticks: start_ticks(pid).unwrap_or(0), boot_id: boot_id() }
    }

    /// The processes of a group with their names, as far as `/proc` shows.
    pub fn of_group(wanted: u32) -> Vec<(Self, String)> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let named = |pid: u32| {
            let name = read_line(&format!("/proc/{pid}/comm")).unwrap_or_default();
            (Self::of(pid), name)
        };
        pids.filter(|&pid| group(pid) == Some(wanted)).map(named).collect()
    }

    /// Whether it runs on this machine, as far as `/proc` shows.
    pub fn is_alive(&self) -> bool {
        self.pid != 0
            && self.boot_id == boot_id()
            && start_ticks(self.pid).is_some_and(|ticks| ticks == self.start_ticks)
    }
}

fn boot_id() -> String {
    read_line("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

/// The fields of `/proc/<pid>/stat` behind the command, which may hold both blanks and parentheses:
/// from the third on. `None` if there is no such process, or only its remains.
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    let fields: Vec<String> =
        stat.rsplit_once(')')?.1.split_ascii_whitespace().map(str::to_owned).collect();
    let is_there = fields.first().is_some_and(|state| state != "Z" && state != "X");
    is_there.then_some(fields)
}

/// Field 22.
fn start_ticks(pid: u32) -> Option<u64> {
    stat(pid)?.get(22 - 3)?.parse().ok()
}

/// Field 5.
fn group(pid: u32) -> Option<u32> {
    stat(pid)?.get(5 - 3)?.parse().ok()
}

fn read_line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

/// The value of the first `key<separator>value` line.
fn value_of<'a>(text: &'a str, key: &str, separator: char) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(separator))
        .find(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::{HostInfo, ProcessId};

    #[test]
    fn this_process_is_alive_and_its_id_alone_is_not_enough() {
        let current = ProcessId::current();
        assert!(current.is_alive());
        assert!(!ProcessId { start_ticks: current.start_ticks + 1, ..current.clone() }.is_alive());
        assert!(!ProcessId { boot_id: "another".to_owned(), ..current }.is_alive());
        assert!(!ProcessId::default().is_alive());
    }

    #[test]
    fn the_host_is_known() {
        let host = HostInfo::read();
        assert!(host.cores.is_some_and(|cores| cores > 0));
        assert!(host.memory.is_some());
    }
}
