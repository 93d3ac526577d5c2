//! The only place that prints: data to stdout, everything else to stderr.

#![expect(clippy::print_stderr, reason = "this module is the program's voice")]

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Result;
use serde::Serialize;

/// Prints a report that is text.
pub(crate) fn text(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Prints a report as one JSON document.
pub(crate) fn json<T: Serialize>(report: &T) -> Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    serde_json::to_writer_pretty(&mut out, report)?;
    out.write_all(b"\n")?;
    out.flush()?;
    Ok(())
}

/// Tells the user what is happening.
pub(crate) fn progress(message: &str) {
    eprintln!("{message}");
}

/// Shows bytes of another program on stderr as they are; the offset behind them.
pub(crate) fn copy(bytes: &[u8], at: u64) -> u64 {
    // Nobody may be looking any more, which is no reason to stop the program.
    drop(io::stderr().lock().write_all(bytes));
    at + bytes.len() as u64
}

/// Progress of a command on stderr: one line that is rewritten on a terminal, one line for each
/// phase elsewhere.
#[derive(Debug)]
pub(crate) struct Progress {
    enabled: bool,
    terminal: bool,
    phase: String,
    done: u32,
    total: u32,
}

impl Progress {
    pub(crate) fn new(enabled: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        Self { enabled, terminal, phase: String::new(), done: 0, total: 0 }
    }

    pub(crate) fn say(&self, message: &str) {
        if self.enabled {
            progress(message);
        }
    }

    /// Says that something is missing; not silenced by `--no-progress`.
    pub(crate) fn warn(&mut self, message: &str) {
        self.end();
        progress(&format!("warning: {message}"));
    }

    pub(crate) fn begin(&mut self, phase: &str, total: u32) {
        self.end();
        (self.done, self.total) = (0, total);
        phase.clone_into(&mut self.phase);
        if self.enabled && !self.terminal {
            progress(&format!("{phase}: {total} requests"));
        }
    }

    pub(crate) fn step(&mut self) {
        self.done += 1;
        let redraw = self.done == self.total || self.done.is_multiple_of(1 + self.total / 100);
        if self.enabled && self.terminal && redraw {
            eprint!("\r{}: {}/{}\x1b[K", self.phase, self.done, self.total);
        }
    }

    /// Ends the line that is being rewritten.
    pub(crate) fn end(&mut self) {
        if self.enabled && self.terminal && self.done > 0 {
            eprintln!();
        }
        self.done = 0;
    }
}

/// Ends the program at once, after a second Ctrl-C: what is on disk is all there is.
pub(crate) fn abort() -> ! {
    #[expect(clippy::exit, reason = "the user asked twice; unwinding would wait for the server")]
    std::process::exit(130)
}

/// Tells the user why the command failed, with all causes.
pub(crate) fn error(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}

/// Whether output failed because its reader went away (`xscope ... | head`): no failure.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let json =
            cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        io.or(json) == Some(io::ErrorKind::BrokenPipe)
    })
}
