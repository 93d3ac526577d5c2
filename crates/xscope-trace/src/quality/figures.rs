//! Kinds of figures, to say what a finding touches.

use serde::Serialize;

/// Makes the kinds of figures and their names from one list.
macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident = $name:literal,)+) => {
        /// A kind of figure.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(rename_all = "snake_case")]
        pub enum Figures {
            $($(#[doc = $doc])+ $kind,)+
        }

        impl Figures {
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// What to call them in a sentence.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }
        }
    };
}

kinds! {
    /// Counts and times of operations, and what is made of them: busy, idle, waiting, rates.
    Operations = "counts and times of operations",
    /// Arithmetic and bytes of operations, and rates.
    Costs = "costs of operations",
    /// What is an average over the window: busy shares and idle time.
    Averages = "averages over the window",
    /// Times of host code: latencies, stages, what the host did while a device idled.
    HostTimes = "times of host code",
    /// Why devices idled, which is told by what went on beside them.
    Causes = "causes of idle time",
    /// Latencies and rates of all requests together.
    Latencies = "latencies of requests",
    /// Stages of requests.
    Stages = "stages of requests",
    /// What is joined across clocks: device time and padding of requests and batches.
    Joins = "device time of requests",
    /// What was in use, and whose it was.
    Memory = "memory",
}
