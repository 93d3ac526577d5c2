//! `xscope export`: a profile in the formats of other programs.

use std::io;
use std::path::Path;

use anyhow::{Result, bail};
use xscope_trace::write::{Target, Written, to_file, to_stream};

use crate::cli::ExportArgs;
use crate::cmd::Exit;
use crate::output;

pub(crate) fn run(args: &ExportArgs) -> Result<Exit> {
    let targets = [
        (Target::Perfetto, &args.perfetto),
        (Target::Chrome, &args.chrome),
        (Target::XPlane, &args.xplane),
        (Target::Folded, &args.folded),
        (Target::Speedscope, &args.speedscope),
        (Target::Pprof, &args.pprof),
    ];
    let targets: Vec<(Target, &Path)> =
        targets.into_iter().filter_map(|(target, path)| Some((target, path.as_deref()?))).collect();
    let to_stdout = targets.iter().filter(|(_, path)| is_stdout(path));
    match to_stdout.collect::<Vec<_>>()[..] {
        [] => {}
        [(Target::XPlane, _)] => {
            bail!("an XPlane file is merged when it is whole, so it needs a file, not `-`")
        }
        [_] => {}
        _ => bail!("only one format can go to standard output (`-`)"),
    }
    let trace = xscope_trace::load(&args.paths)?;
    for (target, path) in targets {
        if is_stdout(path) {
            let mut out = io::BufWriter::new(io::stdout().lock());
            to_stream(&trace, target, &mut out)?;
        } else {
            let written = to_file(&trace, target, path)?;
            say(path, &written);
        }
    }
    Ok(Exit::Fine)
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

/// Tells what was written, and what the format could not hold.
pub(crate) fn say(path: &Path, written: &Written) {
    output::progress(&format!("{}: {} slices", path.display(), written.slices));
    if written.clipped > 0 {
        output::progress(&format!(
            "warning: {} slices overlap more others than the format can show and were cut short",
            written.clipped
        ));
    }
}
