//! The only place that prints: data to stdout, everything else to stderr.

#![expect(clippy::print_stderr, reason = "this module is the program's voice")]

use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;
use xscope_load::RequestRow;
use xscope_load::newest::Answer;
use xscope_trace::Nanos;
use xscope_view::Live;
use xscope_view::colour::{Text, is_wanted};

/// Prints a report that is text.
pub(crate) fn text(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Prints a report that is text, in colour where that is wanted.
pub(crate) fn page(page: &Text) -> Result<()> {
    match io::stdout().is_terminal() && wants_colour() {
        true => text(&page.painted()),
        false => text(page.plain()),
    }
}

fn wants_colour() -> bool {
    let [no_color, term] = ["NO_COLOR", "TERM"].map(std::env::var_os);
    is_wanted(no_color.as_deref(), term.as_deref())
}

/// Prints a report as one JSON document.
pub(crate) fn json<T: Serialize>(report: &T) -> Result<()> {
    let mut out = io::BufWriter::with_capacity(1 << 16, io::stdout().lock());
    serde_json::to_writer_pretty(&mut out, report)?;
    out.write_all(b"\n")?;
    out.flush()?;
    Ok(())
}

/// Tells the user what is happening.
pub(crate) fn progress(message: &str) {
    eprintln!("{message}");
}

/// Tells the user what is missing or wrong, and that it goes on.
pub(crate) fn warn(message: &str) {
    progress(&format!("warning: {message}"));
}

/// Appends to a file that the user named.
pub(crate) fn append(path: &Path, text: &str) -> Result<()> {
    let file = File::options().create(true).append(true).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Shows bytes of another program on stderr as they are; the offset behind them.
pub(crate) fn copy(bytes: &[u8], at: u64) -> u64 {
    // Nobody may be looking any more, which is no reason to stop the program.
    drop(io::stderr().lock().write_all(bytes));
    at + bytes.len() as u64
}

/// How often a page on a terminal is drawn again.
const REDRAW: Nanos = Nanos(200_000_000);

/// Progress of a command on stderr: on a terminal one line that is rewritten, or a page if it is
/// watched; one line for each phase elsewhere.
#[derive(Debug)]
pub(crate) struct Progress {
    shown: Shown,
    phase: String,
    done: u64,
    /// If it is known.
    total: Option<u64>,
}

#[derive(Debug)]
enum Shown {
    Nothing,
    Phases,
    /// Whether something stands on it.
    Line {
        is_open: bool,
    },
    Page(Box<Page>),
}

/// A page that is drawn over itself.
#[derive(Debug, Default)]
struct Page {
    live: Live,
    lines: usize,
    drawn: Nanos,
}

impl Page {
    fn draw(&mut self) {
        let page = self.live.text();
        let text = if wants_colour() { page.painted() } else { page.to_string() };
        let up = if self.lines > 0 { format!("\x1b[{}A\x1b[J", self.lines) } else { String::new() };
        eprint!("{up}{text}");
        (self.lines, self.drawn) = (text.lines().count(), self.live.last());
    }
}

impl Progress {
    pub(crate) fn new(enabled: bool) -> Self {
        let shown = match (enabled, io::stderr().is_terminal()) {
            (false, _) => Shown::Nothing,
            (true, false) => Shown::Phases,
            (true, true) => Shown::Line { is_open: false },
        };
        Self { shown, phase: String::new(), done: 0, total: None }
    }

    /// If it is watched, shows a page where a line would be shown.
    pub(crate) fn watched(mut self, watch: bool) -> Self {
        if let (Shown::Line { .. }, true) = (&self.shown, watch) {
            self.shown = Shown::Page(Box::default());
        }
        self
    }

    pub(crate) fn say(&mut self, message: &str) {
        self.leave_line();
        if !matches!(self.shown, Shown::Nothing) {
            progress(message);
        }
    }

    /// Says that something is missing; not silenced by `--no-progress`.
    pub(crate) fn warn(&mut self, message: &str) {
        self.end();
        warn(message);
    }

    pub(crate) fn begin(&mut self, phase: &str, total: Option<u64>) {
        self.end();
        (self.done, self.total) = (0, total);
        phase.clone_into(&mut self.phase);
        match &mut self.shown {
            Shown::Phases => match total {
                Some(total) => progress(&format!("{phase}: {total} requests")),
                None => progress(phase),
            },
            Shown::Page(page) => page.live.begin(phase, total),
            Shown::Nothing | Shown::Line { .. } => {}
        }
    }

    /// As [`Self::begin`], but silent where the phase only goes on: rounds of warm-up are many.
    pub(crate) fn begin_again(&mut self, phase: &str, total: Option<u64>) {
        if phase != self.phase {
            return self.begin(phase, total);
        }
        self.total = self.total.zip(total).map(|(before, more)| before + more);
        if let Shown::Page(page) = &mut self.shown {
            page.live.go_on(self.total);
        }
    }

    /// A request ended.
    pub(crate) fn step(&mut self, row: &RequestRow) {
        self.done += 1;
        match &mut self.shown {
            Shown::Line { is_open } => {
                let total = self.total.unwrap_or(0);
                if self.done == total || self.done.is_multiple_of(1 + total / 100) {
                    let of = self.total.map_or_else(String::new, |total| format!("/{total}"));
                    eprint!("\r{}: {}{of}\x1b[K", self.phase, self.done);
                    *is_open = true;
                }
            }
            Shown::Page(page) => {
                page.live.ended(row.end, Answer::of(row));
                if page.live.is_over() || row.end.0.saturating_sub(page.drawn.0) >= REDRAW.0 {
                    page.draw();
                }
            }
            Shown::Nothing | Shown::Phases => {}
        }
    }

    /// Ends what is being rewritten.
    pub(crate) fn end(&mut self) {
        self.leave_line();
        self.done = 0;
    }

    /// Begins a line of its own for what is said next.
    fn leave_line(&mut self) {
        match &mut self.shown {
            Shown::Line { is_open } if *is_open => {
                *is_open = false;
                eprintln!();
            }
            Shown::Page(page) => page.lines = 0,
            _ => {}
        }
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
