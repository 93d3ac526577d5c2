//! `xscope view`: a profile, a folder of runs or a running server in a browser.

use std::process::{Command, Stdio};

use anyhow::Result;
use xscope_view::html::difference_of;
use xscope_view::server::{ViewOptions, Viewer};

use crate::cli::ViewArgs;
use crate::exit::Exit;
use crate::output;
use crate::parts::job;

pub(crate) fn run(args: ViewArgs) -> Result<Exit> {
    let options = ViewOptions {
        paths: args.paths,
        live: args.live,
        port: args.port,
        compare: |a, b| difference_of(a, b, &output::warn).map_err(Into::into),
    };
    let runtime = job::runtime("xscope-view")?;
    let served = runtime.block_on(async {
        let viewer = Viewer::start(options).await?;
        output::text(&format!("{}\n", viewer.url()))?;
        output::progress(
            "only this machine can open it, and only with this address; Ctrl-C ends it",
        );
        if !args.no_open {
            open(viewer.url());
        }
        tokio::select! {
            result = viewer.serve() => result?,
            result = job::signalled() => result?,
        }
        Ok(Exit::Fine)
    });
    // A profile that is still being read is of no use to anybody.
    runtime.shutdown_background();
    served
}

/// Opens the browser, where there is one; the address is printed in any case.
fn open(url: &str) {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = Command::new(program);
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if command.spawn().is_err() {
        output::progress(&format!("no {program} here: open the address yourself"));
    }
}
