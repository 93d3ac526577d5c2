//! The benchmark of generation, online.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};

use super::LoadArgs;
use super::groups::usually;

#[derive(Debug, Args)]
#[command(
    mut_arg("requests", |arg| usually(arg, "100; of --matrix and --max-concurrency 3 for each at once")),
    mut_arg("warmup", |arg| usually(arg, "1")),
)]
pub(crate) struct ServingArgs {
    /// Prompts: random (words), random-ids (token ids), generated-shared-prefix, sharegpt (a file)
    #[arg(
        long,
        visible_alias = "dataset",
        value_parser = datasets(),
        default_value = "random",
        help_heading = "Requests"
    )]
    pub dataset_name: String,
    /// A ShareGPT file, or JSON lines with prompt and output_tokens
    #[arg(long, value_name = "FILE", help_heading = "Requests")]
    pub dataset_path: Option<PathBuf>,
    /// The matrix of the profiling RFC: input 1024 4096 8192, output 1 1024, 8 to 256 at once,
    /// three requests for each of them
    #[arg(long, conflicts_with_all = ["random_input_len", "random_output_len", "max_concurrency"])]
    pub matrix: bool,
    /// Tokens of a prompt, for each point
    #[arg(
        long,
        value_name = "N,...",
        value_delimiter = ',',
        default_value = "1024",
        help_heading = "Requests"
    )]
    pub random_input_len: Vec<u32>,
    /// Tokens to generate, for each point
    #[arg(
        long,
        value_name = "N,...",
        value_delimiter = ',',
        default_value = "128",
        help_heading = "Requests"
    )]
    pub random_output_len: Vec<u32>,
    /// Lengths are drawn from this share of them up to them; 1: all are equal
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, help_heading = "Requests")]
    pub random_range_ratio: f64,
    /// Requests at once, for each point
    #[arg(long, value_name = "N,...", value_delimiter = ',', conflicts_with_all = ["arrivals", "request_rate"], help_heading = "Requests")]
    pub max_concurrency: Vec<u32>,
    /// Requests per second, arriving at random (as --arrivals poisson:RATE/s)
    #[arg(long, value_name = "RATE", conflicts_with = "arrivals", help_heading = "Requests")]
    pub request_rate: Option<f64>,
    /// Tokens to generate for each prompt of a file, instead of the length of its own answer
    #[arg(long, value_name = "N", help_heading = "Requests")]
    pub sharegpt_output_len: Option<u32>,
    /// Groups of prompts that share a prefix
    #[arg(long, value_name = "N", default_value_t = 64, help_heading = "Requests")]
    pub gsp_num_groups: u32,
    /// Tokens of a shared prefix
    #[arg(long, value_name = "N", default_value_t = 2048, help_heading = "Requests")]
    pub gsp_system_prompt_len: u32,
    /// Tokens behind it
    #[arg(long, value_name = "N", default_value_t = 128, help_heading = "Requests")]
    pub gsp_question_len: u32,
    /// Tokens to generate behind that
    #[arg(long, value_name = "N", default_value_t = 256, help_heading = "Requests")]
    pub gsp_output_len: u32,
    /// Take whole answers, not streams of tokens
    #[arg(long, help_heading = "Requests")]
    pub disable_stream: bool,
    /// Let the model end its answers
    #[arg(long, help_heading = "Requests")]
    pub disable_ignore_eos: bool,
    /// Take a profile of each point, apart from what is measured
    #[arg(long)]
    pub profile: bool,
    /// Profile these prefill workers instead of the server that is loaded
    #[arg(long, value_name = "URL", num_args = 1.., requires = "profile", conflicts_with = "profile_decode_url")]
    pub profile_prefill_url: Vec<String>,
    /// Profile these decode workers instead
    #[arg(long, value_name = "URL", num_args = 1.., requires = "profile")]
    pub profile_decode_url: Vec<String>,
    /// Append a line of JSON for each point, with the keys of bench_serving
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<PathBuf>,
    #[command(flatten)]
    pub load: LoadArgs,
}

/// Where prompts come from.
fn datasets() -> PossibleValuesParser {
    let shared = PossibleValue::new("generated-shared-prefix").alias("shared-prefix");
    let [random, ids, file] = ["random", "random-ids", "sharegpt"].map(PossibleValue::new);
    [random, ids, shared, file].into()
}

#[cfg(test)]
mod tests {
    use crate::cli::tests::accepts;

    #[test]
    fn prefill_and_decode_are_profiled_apart() {
        let serving =
            |args: &[&str]| accepts(&[&["bench", "serving", "--url", "http://h:1"], args].concat());
        assert!(serving(&["--profile", "--profile-prefill-url", "http://a:1", "http://b:1"]));
        assert!(serving(&["--profile", "--profile-decode-url", "http://a:1"]));
        assert!(!serving(&["--profile-decode-url", "http://a:1"]));
        assert!(!serving(&[
            "--profile",
            "--profile-prefill-url",
            "http://a:1",
            "--profile-decode-url",
            "http://b:1"
        ]));
        assert!(serving(&[
            "--num-prompts",
            "50",
            "--max-concurrency",
            "8",
            "--warmup-requests",
            "1"
        ]));
        assert!(!serving(&["--request-rate", "4", "--max-concurrency", "8"]));
        assert!(serving(&["--matrix", "--disable-ignore-eos"]));
        assert!(!serving(&["--matrix", "--random-input-len", "5"]));
    }
}
