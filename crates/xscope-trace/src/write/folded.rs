//! Writes folded stacks: one line for each stack, `frame;frame;frame nanoseconds`.
//!
//! Device operations stand below their device and scope, host slices below their thread and what
//! encloses them, each with the time that it spent itself. Copies in flight, programs, steps and
//! what tools derived are left out: they would count time twice.

use std::io::{self, Write};

use crate::model::Trace;
use crate::write::facts::Written;
use crate::write::stacks::{Stacks, root_of};

/// Writes `trace` to `out`, sorted.
///
/// # Errors
/// Those of `out`.
pub fn write(trace: &Trace, out: &mut impl Write) -> io::Result<Written> {
    let mut stacks = Stacks::default();
    let mut written = Written::default();
    for track in &trace.tracks {
        if let Some(name) = root_of(trace, track) {
            let root = stacks.child(0, &name);
            stacks.add(trace, track, root);
            written.slices += track.slices.len() as u64;
        }
    }
    let mut lines: Vec<String> = (1..stacks.nodes.len())
        .filter(|&node| stacks.nodes[node].own >= 1000)
        .map(|node| line(&stacks, node))
        .collect();
    lines.sort_unstable();
    for line in lines {
        out.write_all(line.as_bytes())?;
    }
    Ok(written)
}

fn line(stacks: &Stacks, node: usize) -> String {
    let mut line = String::new();
    for name in stacks.frames(node) {
        if !line.is_empty() {
            line.push(';');
        }
        // Semicolons part frames, and lines part stacks.
        let plain = |c: char| {
            if c == ';' {
                ','
            } else if c.is_control() {
                ' '
            } else {
                c
            }
        };
        line.extend(stacks.strings.get(name).chars().map(plain));
    }
    line.push_str(&format!(" {}\n", stacks.nodes[node].own / 1000));
    line
}
