//! `xscope serve`: the built-in engine as a server.

use anyhow::{Context as _, Result};
use xscope_engine::Engine;

use crate::cli::ServeArgs;
use crate::exit::Exit;
use crate::output;
use crate::parts::{engine, job};

pub(crate) fn run(args: ServeArgs) -> Result<Exit> {
    let mut config = engine::config(args.engine);
    (config.host, config.port) = (args.host, args.port);
    config.profile_root = std::path::absolute(&args.profile_root)
        .with_context(|| format!("cannot resolve {}", args.profile_root.display()))?;
    let handle = Engine::start(config).context("cannot start the built-in engine")?;
    output::progress(&format!("serving on {}; Ctrl-C ends it", handle.url()));
    job::runtime("xscope-serve")?.block_on(async {
        job::signalled().await?;
        output::progress("finishing the requests that are under way");
        handle.shutdown().await;
        Ok(Exit::Fine)
    })
}
