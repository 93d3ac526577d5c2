//! The project's own checks: `cargo xtask layers`.

mod layers;

use std::process::ExitCode;

#[expect(clippy::print_stderr, reason = "a developer's tool that reports on the terminal")]
fn main() -> ExitCode {
    let task = std::env::args().nth(1);
    let result = match task.as_deref() {
        Some("layers") => layers::check(),
        _ => Err(anyhow::anyhow!("usage: cargo xtask layers")),
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
