//! The stages of a request, in the order in which it takes them: the names of the spans that servers
//! and their probes write, of what a report shows, and of metrics.

use std::fmt;

use serde::{Serialize, Serializer};

/// The name of the span that a server puts around a whole request.
pub const REQUEST: &str = "request";

/// Defines the stages: variant, name, and what happens in it.
macro_rules! stages {
    ($($variant:ident $name:literal $what:literal;)*) => {
        /// A stage of a request. The order is that of the pipeline.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Stage {
            $(#[doc = $what] $variant,)*
        }

        impl Stage {
            /// In the order in which a request takes them.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// As spans, reports and metrics call it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What happens in it.
            pub const fn what(self) -> &'static str {
                match self { $(Self::$variant => $what,)* }
            }
        }
    };
}

stages! {
    ClientWait "client.wait" "Due, and not yet sent: the client had no connection free.";
    ClientSend "client.send" "From the client's sending to the server's first span.";
    HttpParse "http.parse" "Reading the body and checking its shape.";
    Tokenize "tokenize" "Text to token ids, and the range check of ids that came as ids.";
    BatchBuild "batch.build" "Making the prompts of all items.";
    IpcSend "ipc.send" "Handing the request from one process or thread to the next.";
    QueueWait "queue.wait" "Waiting for a batch, and with it for the forward pass of the one before.";
    Schedule "schedule" "Forming and padding the batch.";
    Forward "forward" "The model computes the prompts.";
    Decode "decode" "The model makes further tokens; a score waits for none of them.";
    LogprobExtract "logprob.extract" "Log-probabilities of the labels, out of the logits.";
    Detokenize "detokenize" "Token ids to text.";
    Softmax "softmax" "`exp` of, or softmax over, the labels' log-probabilities.";
    HttpRespond "http.respond" "Making and sending the response.";
    ClientReceive "client.receive" "From the server's last span to the client's last byte.";
    Unaccounted "unaccounted" "What no span covers.";
}

impl Stage {
    /// The stage of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.name() == name)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a span is the stage of: one of the pipeline's, or one that only its server knows, which come
/// behind those by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StageName {
    Known(Stage),
    Other(String),
}

impl StageName {
    pub fn of(name: &str) -> Self {
        Stage::named(name).map_or_else(|| Self::Other(name.to_owned()), Self::Known)
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(stage) => stage.name(),
            Self::Other(name) => name,
        }
    }
}

impl From<Stage> for StageName {
    fn from(stage: Stage) -> Self {
        Self::Known(stage)
    }
}

impl PartialEq<Stage> for StageName {
    fn eq(&self, stage: &Stage) -> bool {
        *self == Self::Known(*stage)
    }
}

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for StageName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StageName".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        String::json_schema(generator)
    }
}

impl Serialize for StageName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::{Stage, StageName};

    #[test]
    fn names_are_those_of_one_stage_each_and_others_come_last() {
        for stage in Stage::ALL {
            assert_eq!(StageName::of(stage.name()), stage);
        }
        let mut names = ["b", "softmax", "a", "tokenize"].map(StageName::of);
        names.sort();
        assert_eq!(names.map(|name| name.to_string()), ["tokenize", "softmax", "a", "b"]);
    }
}
