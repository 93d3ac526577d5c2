//! The project's own checks: `cargo xtask layers`, and all of them: `cargo xtask ci`.

mod ci;
mod layers;
mod metadata;

use std::process::ExitCode;

#[expect(clippy::print_stderr, reason = "a developer's tool that reports on the terminal")]
fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let result = match words.split_first() {
        Some((task, [])) if task == "layers" => layers::check(),
        Some((task, steps)) if task == "ci" => ci::run(steps),
        _ => Err(anyhow::anyhow!("usage: cargo xtask layers | cargo xtask ci [STEP...]")),
    };
    match result {
        Ok(message) => {
            eprintln!("{message}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
