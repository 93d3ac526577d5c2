//! The parts of a report on a profile.

use serde::Serialize;
use xscope_trace::quality::Figures;

/// Makes the sections and their names from one list, in the order in which a report has them.
macro_rules! sections {
    ($($section:ident = $name:literal,)+) => {
        /// A part of a report on a profile.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        pub enum Section {
            $(#[serde(rename = $name)] $section,)+
        }

        impl Section {
            /// All of them, in the order in which a report has them.
            pub const ALL: &'static [Self] = &[$(Self::$section),+];

            /// What it is called in JSON, on the command line and in headings.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$section => $name,)+
                }
            }
        }
    };
}

sections! {
    Layers = "layers",
    Kernels = "kernels",
    Devices = "devices",
    Idle = "idle",
    Collectives = "collectives",
    Clocks = "clocks",
    Compiles = "compiles",
    Programs = "programs",
    Steps = "steps",
    Requests = "requests",
    Memory = "memory",
    Overhead = "overhead",
    Quality = "quality",
}

impl Section {
    /// The section of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|section| section.name() == name)
    }

    /// The sections that show figures of a kind.
    pub(crate) fn showing(figures: Figures) -> &'static [Self] {
        match figures {
            Figures::Operations => &[
                Self::Layers,
                Self::Kernels,
                Self::Devices,
                Self::Idle,
                Self::Collectives,
                Self::Programs,
                Self::Steps,
            ],
            Figures::Costs => &[Self::Layers, Self::Kernels, Self::Collectives],
            Figures::Averages => &[Self::Devices, Self::Idle],
            Figures::HostTimes => &[Self::Idle, Self::Compiles, Self::Requests],
            Figures::Causes => &[Self::Idle],
            Figures::Latencies | Figures::Stages | Figures::Joins => &[Self::Requests],
            Figures::Memory => &[Self::Memory],
        }
    }
}
