//! Makes score load over real HTTP and records what the client saw.
//!
//! Design constraints: a client must not lie. Latency counts from the intended send time, every
//! answer is checked, a request that was not answered right is a failed one, statistics come from
//! raw samples and say when those are too few, and a server that is gone ends the load at once
//! with an error. Nothing is printed; rows and progress go to the caller's function.
//!
//! ```no_run
//! use xscope_load::{
//!     Cancel, Labels, LoadEvent, LoadOptions, Point, PromptForm, ScoreWorkload, run_closed_loop,
//! };
//!
//! # async fn example() -> Result<(), xscope_load::LoadError> {
//! let workload = ScoreWorkload {
//!     points: Point::grid(&[1, 4, 16], &[2, 4]),
//!     labels: Labels::Drawn,
//!     query_tokens: 120,
//!     item_tokens: 20,
//!     form: PromptForm::TokenIds,
//!     vocab_size: 151_936,
//!     seed: 1,
//!     requests: 20,
//!     distinct: None,
//!     concurrency: 1,
//!     warmup_rounds: 5,
//!     item_first: false,
//!     apply_softmax: true,
//!     model: "Qwen/Qwen3-0.6B".to_owned(),
//! };
//! let mut rows = Vec::new();
//! let summary = run_closed_loop(
//!     "http://127.0.0.1:30000",
//!     &workload,
//!     LoadOptions::default(),
//!     &Cancel::new(),
//!     |event| {
//!         if let LoadEvent::Row(row) = event {
//!             rows.push(row);
//!         }
//!     },
//! )
//! .await?;
//! assert_eq!(summary.points.len(), 6);
//! # Ok(())
//! # }
//! ```

pub mod cancel;
pub mod check;
pub mod client;
pub mod error;
pub mod probe;
pub mod record;
pub mod run;
pub mod workload;

pub use cancel::Cancel;
pub use check::{Failure, FailureKind, Tolerance};
pub use client::ClientLimits;
pub use error::LoadError;
pub use probe::{Ready, TextAnswer, get_text, post_json, wait_ready};
pub use record::{LoadSummary, Phase, PointSummary, RequestRow};
pub use run::{ClosedLoop, LoadEvent, LoadOptions, run_closed_loop};
pub use workload::{Labels, Point, PromptForm, ScorePlan, ScoreRequest, ScoreWorkload};
pub use xscope_trace::results::{Durations, Ended, Figure};
