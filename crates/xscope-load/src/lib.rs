//! Makes load over real HTTP and records what the client saw.
//!
//! Design constraints: a client must not lie. Latency counts from the intended send time, every
//! answer is checked, a request that was not answered right is a failed one, statistics come from
//! raw samples and say when those are too few, and a server that is gone ends the load at once
//! with an error. Nothing is printed; rows and progress go to the caller's function.
//!
//! ```no_run
//! use xscope_load::{Backend, Cancel, Evidence, Load, Plan, Point, SendOptions, Stretch, Workload};
//!
//! # async fn example() -> Result<(), xscope_load::LoadError> {
//! let workload = Workload::read("workload.toml".as_ref())?;
//! let mut point = Point::new(Plan::new("p", workload, Backend::Sglang)?);
//! let mut load = Load::new("http://127.0.0.1:30000", SendOptions::default(), Cancel::new())?;
//! load.run(&Stretch::warm_up(point.plan(), 5), &mut point, |_| ()).await?;
//! let trial = load.run(&Stretch::measured(point.plan(), 0), &mut point, |_| ()).await?;
//! let result = xscope_load::point_result(point.plan(), &[trial], &Evidence::default());
//! println!("{:?} {:?}", result.latency.p50_ms, result.validity);
//! # Ok(())
//! # }
//! ```

mod alarm;
mod arrivals;
mod audit;
mod backend;
mod cancel;
mod check;
mod client;
mod content;
mod dataset;
mod error;
mod evidence;
mod figures;
mod lengths;
mod limits;
mod matrix;
mod metrics;
pub mod newest;
mod options;
mod plan;
mod point;
mod probe;
mod record;
mod request;
mod run;
mod send;
mod stretch;
pub mod usual;
mod validity;
mod verify;
mod warm;
mod workload;

pub use arrivals::{Arrivals, RateStep};
pub use backend::Backend;
pub use cancel::Cancel;
pub use check::{Failure, FailureKind, Tolerance};
pub use client::ClientLimits;
pub use error::{LoadError, SpellingError};
pub use evidence::{CompileSign, Evidence};
pub use figures::{point_result, profiled_split};
pub use lengths::Lengths;
pub use matrix::{Matrix, score_points};
pub use metrics::MetricSample;
pub use options::{Pulse, SendOptions};
pub use plan::Plan;
pub use point::Point;
pub use probe::{Ready, TextAnswer, get_text, post_json, wait_ready};
pub use record::{RequestRow, Sample, TrialSamples};
pub use request::{Prompt, Request};
pub use run::{Load, LoadEvent};
pub use stretch::Stretch;
pub use usual::ScoreMatrix;
pub use validity::add_profiled;
pub use warm::{CompileSigns, WarmUp, Warmed, warm_up};
pub use workload::{Ask, AskFixed, AskGenerate, AskRerank, AskScore, Labels, PromptForm, Workload};
