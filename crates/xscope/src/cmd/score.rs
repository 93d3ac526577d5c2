//! `xscope bench score`: the score matrix, or one workload, against any scoring server.

use anyhow::Result;
use xscope_capture::ProfiledServers;
use xscope_load::ScoreMatrix;

use crate::cli::ScoreArgs;
use crate::exit::Exit;
use crate::parts::asked::Planned;
use crate::parts::bench::{Kind, measure};
use crate::parts::engine;

pub(crate) fn run(args: &ScoreArgs) -> Result<Exit> {
    let mut named = ScoreMatrix::NAMED.into_iter();
    let named = named.find(|named| Some(named.name) == args.profile.as_deref());
    let usual = named.unwrap_or(ScoreMatrix::SMOKE);
    let requests = &args.load.requests;
    let planned = match args.stress {
        true => Planned::stress(&args.ask, requests, usual)?,
        false => Planned::of(&args.ask, requests, usual, named.is_some())?,
    };
    let kind = Kind {
        config: planned.config("score"),
        matrix: planned.matrix(requests),
        profile: match args.enable_trace || args.enable_memory {
            true => ProfiledServers::Loaded,
            false => ProfiledServers::None,
        },
        warmup: usual.warmup,
        own: Some(engine::command(&args.engine, &args.load.run.output_dir)?),
        memory: args.enable_memory,
        lines: None,
    };
    measure(&args.load, kind)
}
