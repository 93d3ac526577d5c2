//! The names of spans: of whole requests, and of their stages.

/// The name of the span that a server puts around a whole request.
pub(crate) const REQUEST: &str = "request";

/// Time of a request that no stage covers.
pub(crate) const UNACCOUNTED: &str = "unaccounted";

/// The model computes the prompts.
pub(crate) const FORWARD: &str = "forward";

/// The model makes further tokens; a score waits for none of them.
pub(crate) const DECODE: &str = "decode";

/// The pipeline's stages in the order in which a request takes them.
pub const PIPELINE: [&str; 16] = [
    "client.wait",
    "client.send",
    "http.parse",
    "tokenize",
    "batch.build",
    "ipc.send",
    "queue.wait",
    "schedule",
    FORWARD,
    DECODE,
    "logprob.extract",
    "detokenize",
    "softmax",
    "http.respond",
    "client.receive",
    UNACCOUNTED,
];

/// Where a stage stands in the pipeline: behind all others if it is none of them.
pub fn place(stage: &str) -> usize {
    PIPELINE.iter().position(|known| *known == stage).unwrap_or(PIPELINE.len())
}
