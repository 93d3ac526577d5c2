//! Profiles of servers that run already.

use std::path::PathBuf;

use clap::{ArgAction, Args};
use xscope_trace::Picos;

use super::WorkloadArgs;
use super::groups::{OutputArgs, OutputDirArgs, ProgressArgs};
use super::time::time;

#[derive(Debug, Args)]
#[command(mut_arg("output_dir", |arg| arg.env("SGLANG_JAX_PROFILER_DIR").hide_env_values(true)))]
pub(crate) struct CaptureArgs {
    /// A server to profile; several at once if it is given several times
    /// [default: http://localhost:30000]
    #[arg(long, value_name = "URL")]
    pub url: Vec<String>,
    /// A server of the prefill pool
    #[arg(long, value_name = "URL")]
    pub prefill_url: Vec<String>,
    /// A server of the decode pool
    #[arg(long, value_name = "URL")]
    pub decode_url: Vec<String>,
    /// A folder in --output-dir to put the run into
    #[arg(long, value_name = "NAME")]
    pub profile_name: Option<PathBuf>,
    /// Where the servers write, if their disks are not this machine's: an absolute path there, or
    /// gs://BUCKET/PATH
    #[arg(long, value_name = "DIR")]
    pub remote_dir: Option<String>,
    /// Send requests meanwhile, to the first server or to URL (a router), as the options under
    /// Requests say; --requests says how many there are before they repeat
    #[arg(
        long,
        value_name = "URL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        conflicts_with_all = ["wait_load", "min_in_flight"]
    )]
    pub load: Option<String>,
    /// Finish a run of servers with other disks, when their files have been copied into it
    #[arg(long, value_name = "RUN", conflicts_with_all = ["url", "load", "stop"])]
    pub collect: Option<PathBuf>,
    /// Only stop the profile that is being taken, whoever began it
    #[arg(long)]
    pub stop: bool,
    #[command(flatten)]
    pub run: OutputDirArgs,
    #[command(flatten)]
    pub progress: ProgressArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub extent: ExtentArgs,
    #[command(flatten)]
    pub recorded: RecordedArgs,
    #[command(flatten)]
    pub workload: WorkloadArgs,
}

/// When a profile begins and ends.
#[derive(Debug, Args)]
#[command(next_help_heading = "Begin and end")]
pub(crate) struct ExtentArgs {
    /// Forward steps to profile; 0 for no limit but --duration
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub num_steps: u32,
    /// How long to profile at most, whatever the steps
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    pub duration: Picos,
    /// How long to wait for the servers to have work; 0s begins at once
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time)]
    pub wait_load: Picos,
    /// Begin when so many requests are in flight, instead of when they grow no more
    #[arg(long, value_name = "N")]
    pub min_in_flight: Option<u32>,
}

/// What a profiler records.
#[derive(Debug, Args)]
#[command(next_help_heading = "What is recorded")]
pub(crate) struct RecordedArgs {
    /// What the server's host does: 0 nothing, 1 annotations, 2 the runtime, 3 everything
    #[arg(long, value_name = "0-3", default_value_t = 2)]
    pub host_tracer_level: u8,
    /// 1 records every call of Python, which distorts what it measures
    #[arg(long, value_name = "0-1", default_value_t = 0)]
    pub python_tracer_level: u8,
    /// What devices do, on servers that have this level
    #[arg(long, value_name = "0-4")]
    pub device_tracer_level: Option<u8>,
    /// Show prefill and decode apart
    #[arg(long, overrides_with = "no_profile_by_stage")]
    pub profile_by_stage: bool,
    #[arg(long, hide = true)]
    pub no_profile_by_stage: bool,
    /// Of these stages only
    #[arg(
        long,
        value_name = "STAGE,...",
        value_delimiter = ',',
        default_value = "prefill,decode",
        value_parser = ["prefill", "decode"]
    )]
    pub profile_stages: Vec<String>,
    /// Sent to the server as it is
    #[arg(long, value_name = "ID")]
    pub profile_id: Option<String>,
    /// Sent to the server as they are
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', conflicts_with_all = ["cpu", "gpu", "mem", "rpd"])]
    pub activities: Vec<String>,
    #[command(flatten)]
    pub switches: ActivityArgs,
}

/// The activities of `sgl_jax.profiler`, each with its opposite.
#[derive(Debug, Args)]
pub(crate) struct ActivityArgs {
    /// Ask for the activity CPU; so for --gpu, --mem, --rpd, and the opposites --no-cpu ...
    #[arg(long, overrides_with = "no_cpu")]
    pub cpu: bool,
    #[arg(long, hide = true, action = ArgAction::SetTrue)]
    pub no_cpu: bool,
    #[arg(long, hide = true, overrides_with = "no_gpu")]
    pub gpu: bool,
    #[arg(long, hide = true)]
    pub no_gpu: bool,
    #[arg(long, hide = true, overrides_with = "no_mem")]
    pub mem: bool,
    #[arg(long, hide = true)]
    pub no_mem: bool,
    #[arg(long, hide = true, overrides_with = "no_rpd")]
    pub rpd: bool,
    #[arg(long, hide = true)]
    pub no_rpd: bool,
}

impl RecordedArgs {
    /// What to ask a server for; nothing if it may choose.
    pub(crate) fn activities(&self) -> Vec<String> {
        let ActivityArgs { cpu, no_cpu, gpu, no_gpu, mem, no_mem, rpd, no_rpd } = self.switches;
        let asked = [cpu, no_cpu, gpu, no_gpu, mem, no_mem, rpd, no_rpd].contains(&true);
        let switched = [("CPU", !no_cpu), ("GPU", !no_gpu), ("MEM", mem), ("RPD", rpd)];
        let switched = switched.into_iter().filter(|&(_, on)| asked && on);
        let switched = switched.map(|(name, _)| name.to_owned());
        self.activities.iter().cloned().chain(switched).collect()
    }
}

/// The watchdog's own command line: see `xscope_capture::watch_over`.
#[derive(Debug, Args)]
pub(crate) struct WatchOverArgs {
    pub urls: Vec<String>,
    #[arg(long)]
    pub group: Option<i32>,
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::cli::tests::accepts;
    use crate::cli::{Cli, Command};

    #[test]
    fn command_lines_of_sgl_jax_profiler_work_unchanged() {
        let line = "capture --url http://localhost:30000 --output-dir /tmp/profile --profile-name n \
                    --num-steps 5 --profile-by-stage --profile-stages prefill,decode --cpu --no-gpu \
                    --mem --no-rpd --host-tracer-level 2 --python-tracer-level 0 \
                    --device-tracer-level 1";
        assert!(accepts(&line.split_whitespace().collect::<Vec<_>>()));
        assert!(accepts(&["capture", "--no-profile-by-stage"]));
        assert!(accepts(&["capture", "--load", "--batch-sizes", "8"]));
        assert!(accepts(&["capture", "--load=http://router:1"]));
        assert!(!accepts(&["capture", "--profile-stages", "prefil"]));
        assert!(!accepts(&["capture", "--duration", "5"]), "of what?");
        assert!(!accepts(&["capture", "--load", "--min-in-flight", "3"]));
    }

    #[test]
    fn switches_become_activities() {
        let check = |args: &str, expected: &[&str]| {
            let words = ["xscope", "capture"].into_iter().chain(args.split_whitespace());
            let Command::Capture(args) = Cli::parse_from(words).command else {
                unreachable!("that is what was parsed")
            };
            assert_eq!(args.recorded.activities(), expected);
        };
        check("", &[]);
        check("--mem", &["CPU", "GPU", "MEM"]);
        check("--no-cpu --gpu", &["GPU"]);
        check("--no-mem --mem", &["CPU", "GPU", "MEM"]);
        check("--activities CPU,TPU", &["CPU", "TPU"]);
    }
}
