//! What a client sends its requests for.

use serde::{Deserialize, Serialize};

/// What a request was sent for, which says whether it counts.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Sent so that the server compiles and allocates; in no figure.
    Warmup,
    /// Measured, as is what a client sends that says no phase.
    #[default]
    #[serde(alias = "")]
    Measure,
    /// Sent while the server's profiler runs, which slows it; in no figure of a benchmark, but in
    /// those of its profile.
    Profile,
    /// The same request again and again, to see whether its answer stays the same; in no figure.
    Check,
    /// Sent while more or less is recorded, to see what that costs; in no figure but that.
    Overhead,
    /// Sent by another client, by the server itself while it started, or for what only later
    /// versions know.
    #[serde(other)]
    Other,
}

impl Phase {
    /// In the order in which a client goes through them.
    pub const ALL: [Self; 6] =
        [Self::Warmup, Self::Measure, Self::Profile, Self::Check, Self::Overhead, Self::Other];

    /// As files and reports call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Warmup => "warmup",
            Self::Measure => "measure",
            Self::Profile => "profile",
            Self::Check => "check",
            Self::Overhead => "overhead",
            Self::Other => "other",
        }
    }

    /// Whether figures of a profile are made of its requests.
    pub const fn is_measured(self) -> bool {
        matches!(self, Self::Measure | Self::Profile)
    }

    /// Whether requests of it come again, so that their answers can be compared.
    pub const fn repeats(self) -> bool {
        matches!(self, Self::Measure | Self::Overhead)
    }
}

#[cfg(test)]
mod tests {
    use super::Phase;

    #[test]
    fn a_phase_is_called_the_same_in_files_and_reports() {
        for phase in Phase::ALL {
            let written = serde_json::to_value(phase).unwrap();
            assert_eq!(written, phase.name());
            assert_eq!(serde_json::from_value::<Phase>(written).unwrap(), phase);
        }
        let read = |text: &str| serde_json::from_str::<Phase>(text).unwrap();
        assert_eq!(read("\"\""), Phase::Measure, "no phase is said");
        assert_eq!(read("\"of a later version\""), Phase::Other);
    }
}
