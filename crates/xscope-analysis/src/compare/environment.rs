//! With what something was measured, and why two measurements may differ for other reasons than
//! the one under test.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use xscope_trace::results::Results;
use xscope_trace::run::RunManifest;

/// What kind of fact it is, the likeliest cause of a difference first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// The machine and its devices.
    Hardware,
    /// The code.
    Commit,
    /// Arguments and settings of the server.
    Server,
    /// Versions of software.
    Versions,
    /// Shapes that the server compiles or pads to.
    Buckets,
    /// How it was warmed up.
    Warmup,
    /// The load generator: how long, how often.
    Client,
}

impl Group {
    pub fn name(self) -> &'static str {
        match self {
            Self::Hardware => "hardware",
            Self::Commit => "commit",
            Self::Server => "server",
            Self::Versions => "version",
            Self::Buckets => "buckets",
            Self::Warmup => "warm-up",
            Self::Client => "client",
        }
    }

    /// Whether a series of measurements goes on when a fact of this kind changes.
    fn keeps_series(self) -> bool {
        matches!(self, Self::Commit | Self::Warmup | Self::Client)
    }
}

/// Everything that is known of where and how something was measured.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Environment {
    /// By group, then by name.
    pub facts: BTreeMap<Group, BTreeMap<String, String>>,
}

impl Environment {
    /// What a file of results says.
    pub fn of_results(results: &Results) -> Self {
        let mut facts = Self::default();
        let (config, metadata) = (&results.config, &results.metadata);
        facts.host(&json(&metadata.host));
        facts.add(Group::Hardware, "devices", &metadata.devices.join(", "));
        facts.add(Group::Hardware, "platform", metadata.platform.as_deref().unwrap_or_default());
        facts.add(Group::Commit, "commit", metadata.commit.as_deref().unwrap_or_default());
        facts.versions(&metadata.versions);
        facts.add(Group::Versions, "jax", metadata.jax_version.as_deref().unwrap_or_default());
        facts.add(Group::Server, "model", &config.model);
        facts.add(Group::Server, "dtype", config.dtype.as_deref().unwrap_or_default());
        facts.flags(metadata.server_command.as_deref().unwrap_or_default());
        facts.server_info(metadata.server_info.as_ref().unwrap_or(&Value::Null));
        facts.add(Group::Warmup, "warmup_runs", &config.warmup_runs.to_string());
        facts.add(Group::Client, "backend", &config.backend);
        facts.add(Group::Client, "num_runs", &config.num_runs.to_string());
        facts
    }

    /// Adds what the manifest of a run says.
    pub fn add_manifest(&mut self, manifest: &RunManifest) {
        self.host(&json(&manifest.host));
        self.add(Group::Commit, "commit", manifest.git_commit.as_deref().unwrap_or_default());
        self.versions(&manifest.versions);
        if !manifest.target.contains("://") {
            let words: Vec<String> = manifest.target.split(' ').map(str::to_owned).collect();
            self.flags(&words);
        }
        self.server_info(manifest.other.get("server_info").unwrap_or(&Value::Null));
        for (key, value) in manifest.workload.as_object().into_iter().flatten() {
            match key.as_str() {
                "warmup_rounds" => self.add(Group::Warmup, key, &text(value)),
                "requests" | "concurrency" => self.add(Group::Client, key, &text(value)),
                _ => {}
            }
        }
    }

    /// Names the series that this belongs to: the same for all measurements that differ in
    /// nothing but the commit and the length of the measurement.
    pub fn series(&self) -> String {
        let mut lines = String::new();
        for (group, key, value) in self.iter().filter(|(group, ..)| !group.keeps_series()) {
            if key != HOSTNAME {
                lines += &format!("{} {key}={value}\n", group.name());
            }
        }
        fingerprint(&lines)
    }

    /// [`Environment::machine`] for the name of a file.
    pub fn machine_id(&self) -> String {
        fingerprint(&self.machine())
    }

    /// Names the kind of machine.
    pub fn machine(&self) -> String {
        let facts = self.facts.get(&Group::Hardware);
        let fact = |key: &str| facts.and_then(|facts| facts.get(key)).cloned().unwrap_or_default();
        let known = ["devices", "platform", "cpu_model", "cores"].map(|key| (key, fact(key)));
        let known: Vec<String> = known
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| if key == "cores" { format!("{value} cores") } else { value })
            .collect();
        if known.is_empty() { "unknown".to_owned() } else { known.join(", ") }
    }

    /// Of the source tree, empty if unknown.
    pub fn commit(&self) -> &str {
        let facts = self.facts.get(&Group::Commit);
        facts.and_then(|facts| facts.get("commit")).map(String::as_str).unwrap_or_default()
    }

    fn iter(&self) -> impl Iterator<Item = (Group, &str, &str)> {
        self.facts.iter().flat_map(|(&group, facts)| {
            facts.iter().map(move |(key, value)| (group, key.as_str(), value.as_str()))
        })
    }

    fn add(&mut self, group: Group, key: &str, value: &str) {
        if !value.is_empty() && value != "null" {
            self.facts.entry(group).or_default().insert(key.to_owned(), value.to_owned());
        }
    }

    fn host(&mut self, host: &Value) {
        for key in [HOSTNAME, "os", "cpu_model", "cores"] {
            self.add(Group::Hardware, key, &text(&host[key]));
        }
        // The kernel keeps some to itself, and not always as much.
        if let Some(bytes) = host["memory_bytes"].as_u64() {
            let gib = format!("{} GiB", bytes.div_ceil(1 << 30));
            self.add(Group::Hardware, "memory", &gib);
        }
    }

    fn versions(&mut self, versions: &BTreeMap<String, String>) {
        for (name, version) in versions {
            let group = if name == "xscope" { Group::Client } else { Group::Versions };
            self.add(group, name, version);
        }
    }

    /// The flags of a command line, each with the words up to the next one.
    fn flags(&mut self, words: &[String]) {
        let mut at = 0;
        while let Some(word) = words.get(at) {
            at += 1;
            let Some(flag) = word.strip_prefix("--") else { continue };
            let (flag, mut value) = match flag.split_once('=') {
                Some((flag, value)) => (flag, value.to_owned()),
                None => (flag, String::new()),
            };
            while let Some(word) = words.get(at).filter(|word| !word.starts_with("--")) {
                value = format!("{value} {word}").trim().to_owned();
                at += 1;
            }
            let value = if value.is_empty() { "on" } else { &value };
            self.setting(&flag.replace('-', "_"), value);
        }
    }

    fn server_info(&mut self, info: &Value) {
        let mut leaves = Vec::new();
        leaves_of(info, "", &mut leaves);
        for (key, value) in leaves {
            match key.as_str() {
                "version" => self.add(Group::Versions, "server", &value),
                _ => self.setting(&key, &value),
            }
        }
    }

    fn setting(&mut self, key: &str, value: &str) {
        if is_volatile(key) {
            return;
        }
        let shapes = ["precompile", "bucket", "padding", "chunk", "page_size", "cuda_graph"];
        let is_shape = shapes.iter().any(|part| key.contains(part));
        self.add(if is_shape { Group::Buckets } else { Group::Server }, key, value);
    }
}

/// Pods have a new name each time.
const HOSTNAME: &str = "hostname";

/// Settings that differ between any two starts and say nothing.
fn is_volatile(key: &str) -> bool {
    const PARTS: [&str; 17] = [
        "max_total_num_tokens",
        "max_req_input_len",
        "pid",
        "_ns",
        "uptime",
        "time_stamp",
        "timestamp",
        "memory_live",
        "profile_root",
        "random_seed",
        "internal_states",
        "throughput",
        "dist_init_addr",
        "log_",
        "host",
        "start_time",
        "_dir",
    ];
    key == "port" || key.ends_with("_port") || PARTS.iter().any(|part| key.contains(part))
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// A value as a person writes it.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Values with their paths; a list is one value.
fn leaves_of(value: &Value, path: &str, leaves: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                leaves_of(value, &path, leaves);
            }
        }
        other => leaves.push((path.to_owned(), text(other))),
    }
}

/// FNV-1a: names content in twelve digits, against confusion and not against forgery.
pub(crate) fn fingerprint(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{:012x}", hash >> 16)
}

/// A fact that the sides do not share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Difference {
    /// The kind of fact.
    pub group: Group,
    /// The name of the fact.
    pub what: String,
    /// Empty: not set or not known.
    #[serde(rename = "fact_a")]
    pub a: String,
    /// The same of B.
    #[serde(rename = "fact_b")]
    pub b: String,
}

impl Difference {
    /// Whether it ends a series of measurements, or, `with_commit`, sets two apart within one.
    pub(crate) fn breaks_series(&self, with_commit: bool) -> bool {
        let counts = !self.group.keeps_series() || (with_commit && self.group == Group::Commit);
        counts && self.what != HOSTNAME
    }
}

/// What differs between the sides, the likeliest cause first. A fact that changes within a side
/// too explains nothing and is left out.
pub(crate) fn differences(a: &[&Environment], b: &[&Environment]) -> Vec<Difference> {
    let keys: BTreeSet<(Group, &str)> = a
        .iter()
        .chain(b)
        .flat_map(|side| side.iter().map(|(group, key, _)| (group, key)))
        .collect();
    let value = |side: &[&Environment], (group, key): (Group, &str)| {
        let value = |one: &Environment| {
            one.facts.get(&group).and_then(|facts| facts.get(key)).cloned().unwrap_or_default()
        };
        let first = side.first().map(|one| value(one)).unwrap_or_default();
        side.iter().all(|one| value(one) == first).then_some(first)
    };
    let differing = keys.into_iter().filter_map(|key| {
        let (a, b) = (value(a, key)?, value(b, key)?);
        (a != b).then(|| Difference { group: key.0, what: key.1.to_owned(), a, b })
    });
    differing.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use xscope_trace::results::Results;

    use super::{Environment, Group, differences};

    fn environment(server: &[&str], commit: &str, pid: u32) -> Environment {
        let server: Vec<String> = server.iter().map(|&word| word.to_owned()).collect();
        let results = json!({
            "config": {"model": "m", "warmup_runs": 5},
            "metadata": {"commit": commit, "server_command": server,
                "host": {"hostname": format!("pod-{pid}"), "cores": 4},
                "server_info": {"pid": pid, "version": "1", "kv": {"buckets": [1, 2]}}},
        });
        let results: Results = serde_json::from_value(results).unwrap();
        Environment::of_results(&results)
    }

    #[test]
    fn the_flag_that_changed_is_named_and_what_always_changes_is_not() {
        let command = ["python", "-m", "s", "--tp", "1", "--disable-x"];
        let a = environment(&command, "c1", 7);
        let b = environment(&[&command[..], &["--page-size", "64"]].concat(), "c2", 8);
        let c = environment(&[&command[..], &["--page-size=64"]].concat(), "c2", 9);
        let found = differences(&[&a, &a], &[&b, &c]);
        let found: Vec<_> =
            found.iter().map(|d| (d.group, d.what.as_str(), d.a.as_str(), d.b.as_str())).collect();
        assert_eq!(
            found,
            [(Group::Commit, "commit", "c1", "c2"), (Group::Buckets, "page_size", "", "64")]
        );
        assert_eq!(a.facts[&Group::Server]["disable_x"], "on");
        assert_eq!(a.facts[&Group::Buckets]["kv.buckets"], "[1,2]");
    }

    #[test]
    fn a_series_breaks_with_the_environment_and_not_with_the_commit() {
        let command = ["s", "--tp", "1"];
        let one = environment(&command, "c1", 7);
        assert_eq!(one.series(), environment(&command, "c2", 8).series());
        assert_ne!(one.series(), environment(&["s", "--tp", "2"], "c1", 7).series());
        assert_eq!(one.machine(), "4 cores");
    }
}
