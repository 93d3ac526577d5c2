//! Makes load over real HTTP and records what the client saw.
//!
//! Design constraints: a client must not lie. Latency counts from the intended send time, every
//! answer is checked, a request that was not answered right is a failed one, statistics come from
//! raw samples and say when those are too few, and a server that is gone ends the load at once
//! with an error. Nothing is printed; rows and progress go to the caller's function.
//!
//! ```no_run
//! use xscope_load::{Backend, Cancel, Evidence, Load, LoadOptions, Plan, Point, Span, Workload};
//!
//! # async fn example() -> Result<(), xscope_load::LoadError> {
//! let workload = Workload::read("workload.toml".as_ref())?;
//! let mut point = Point::new(Plan::new("p", workload, Backend::Sglang)?);
//! let mut load = Load::new("http://127.0.0.1:30000", LoadOptions::default(), Cancel::new())?;
//! load.run(&Span::warm_up(point.plan(), 5), &mut point, |_| ()).await?;
//! let window = load.run(&Span::measured(point.plan(), 0), &mut point, |_| ()).await?;
//! let result = xscope_load::point_result(point.plan(), &[window], &Evidence::default());
//! println!("{:?} {:?}", result.latency.p50_ms, result.verdict);
//! # Ok(())
//! # }
//! ```

mod alarm;
pub mod arrivals;
pub mod backend;
pub mod cancel;
pub mod check;
pub mod client;
mod dataset;
pub mod error;
pub mod figures;
pub mod lengths;
pub mod metrics;
pub mod plan;
pub mod probe;
mod random;
pub mod record;
pub mod run;
mod send;
pub mod verdict;
pub mod warm;
pub mod workload;

pub use arrivals::{Arrivals, Stage};
pub use backend::Backend;
pub use cancel::Cancel;
pub use check::{Failure, FailureKind, Tolerance};
pub use client::ClientLimits;
pub use error::LoadError;
pub use figures::{Evidence, point_result, profiled_split};
pub use lengths::Lengths;
pub use plan::{Matrix, Plan, Prompt, Request};
pub use probe::{Ready, TextAnswer, get_text, post_json, wait_ready};
pub use record::{Phase, RequestRow, Sample, Window};
pub use run::{Load, LoadEvent, LoadOptions, Point, Pulse, Span};
pub use verdict::CompileSign;
pub use warm::{CompileSigns, WarmUp, warm_up};
pub use workload::{Ask, AskFixed, AskGenerate, AskRerank, AskScore, Labels, PromptForm, Workload};
