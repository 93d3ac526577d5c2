//! xscope's generator as a process: closed loop, or an open one at a constant rate.

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use xscope_load::{
    Arrivals, Ask, AskFixed, Backend, Cancel, Evidence, Load, Plan, Point, SendOptions, Stretch,
    Workload, point_result,
};

#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    #[arg(long)]
    url: String,
    #[arg(long, default_value = "")]
    body: String,
    #[arg(long)]
    connections: u32,
    #[arg(long)]
    secs: u32,
    #[arg(long)]
    per_sec: Option<f64>,
}

/// What it says of itself.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Sent {
    pub requests: u64,
    pub per_sec: f64,
    pub lag_p50_ms: Option<f64>,
    pub lag_p99_ms: Option<f64>,
    pub p99_ms: Option<f64>,
}

/// Sends, checks that all was answered, and prints what came of it.
pub(crate) fn send(args: &SendArgs) -> Result<()> {
    let start = args.url.find("//").map_or(0, |at| at + 2);
    let slash = args.url[start..].find('/').map_or(args.url.len(), |at| start + at);
    let (base, path) = args.url.split_at(slash);
    let path = if path.is_empty() { "/" } else { path };
    let ask = Ask::Fixed(AskFixed { path: path.to_owned(), body: args.body.clone() });
    let workload = Workload {
        arrivals: match args.per_sec {
            None => Arrivals::Closed(args.connections),
            Some(per_sec) => Arrivals::Constant { per_sec },
        },
        secs: Some(f64::from(args.secs)),
        ..Workload::new(ask)
    };
    let mut point = Point::new(Plan::new("p", workload, Backend::Fixed)?);
    let mut load = Load::new(base, SendOptions::default(), Cancel::new())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stretch = Stretch::measured(point.plan(), 0);
    let trial = runtime.block_on(load.run(&stretch, &mut point, |_| ()))?;
    let result = point_result(point.plan(), &[trial], &Evidence::default());
    ensure!(result.failed == 0, "{} requests failed: {:?}", result.failed, result.failures);
    let sent = Sent {
        requests: result.ok,
        per_sec: result.requests_per_sec.value.context("nothing was answered")?,
        lag_p50_ms: result.client.schedule_lag.p50_ms.value,
        lag_p99_ms: result.client.schedule_lag.p99_ms.value,
        p99_ms: result.latency.p99_ms.value,
    };
    println!("{}", serde_json::to_string(&sent)?);
    Ok(())
}
