//! What a file was recognised as.

/// What a file was recognised as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    XPlane,
    ChromeJson,
    XSpan,
    /// `requests.jsonl`, the client's side of a run.
    Requests,
    /// pprof: device memory or CPU time by stack.
    Pprof,
    /// `memory_report_*.json` of sglang-jax.
    MemoryReport,
    /// The log of a server, text.
    ServerLog,
}

/// What files of a format are called and can hold.
struct Facts {
    name: &'static str,
    title: &'static str,
    has_times: bool,
    has_operations: bool,
}

impl Format {
    fn facts(self) -> Facts {
        let facts = |name, title| Facts { name, title, has_times: true, has_operations: false };
        match self {
            Self::XPlane => Facts { has_operations: true, ..facts("xplane", "XPlane") },
            Self::ChromeJson => {
                Facts { has_operations: true, ..facts("chrome_json", "Chrome JSON") }
            }
            Self::XSpan => facts("xspan", "xscope spans"),
            Self::Requests => facts("requests", "requests of a run"),
            Self::Pprof => Facts { has_times: false, ..facts("pprof", "pprof") },
            Self::MemoryReport => {
                Facts { has_times: false, ..facts("memory_report", "memory reports of sglang-jax") }
            }
            Self::ServerLog => facts("server_log", "logs of a run's servers"),
        }
    }

    /// As it stands in reports.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// As sentences call such files.
    pub fn title(self) -> &'static str {
        self.facts().title
    }

    /// Whether what such a file holds lies on the time axis.
    pub fn has_times(self) -> bool {
        self.facts().has_times
    }

    /// Whether such a file is where operations of devices would be.
    pub fn has_operations(self) -> bool {
        self.facts().has_operations
    }
}
