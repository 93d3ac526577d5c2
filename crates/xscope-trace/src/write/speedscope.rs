//! Writes the JSON of speedscope: host threads over time, devices summed by scope.
//!
//! A thread is an evented profile, with further ones for slices that overlap without nesting. A
//! device is a sampled profile with one sample for each stack of scopes, weighted by self time:
//! what speedscope shows in its left-heavy view.

use std::collections::BTreeMap;
use std::io::{self, Write};

use rustc_hash::FxHashMap;

use crate::model::{Trace, Track, TrackKind};
use crate::strings::StrId;
use crate::time::Picos;
use crate::write::facts::Written;
use crate::write::lanes::{Edge, Lanes, Step};
use crate::write::stacks::{Stacks, root_of};

/// Writes `trace` to `out`.
///
/// # Errors
/// Those of `out`.
pub fn write(trace: &Trace, out: &mut impl Write) -> io::Result<Written> {
    let mut written = Written::default();
    let mut devices: BTreeMap<String, Stacks> = BTreeMap::new();
    for track in trace.tracks.iter().filter(|track| track.kind == TrackKind::Ops) {
        if let Some(name) = root_of(trace, track) {
            written.slices += track.slices.len() as u64;
            devices.entry(name).or_default().add(trace, track, 0);
        }
    }
    let frames = Frames::new(trace, devices.values());
    out.write_all(
        br#"{"$schema":"https://www.speedscope.app/file-format-schema.json","exporter":"#,
    )?;
    out.write_all(br#""xscope","shared":{"frames":["#)?;
    for (index, name) in frames.names.iter().enumerate() {
        out.write_all(if index == 0 { b"{\"name\":" } else { b",{\"name\":" })?;
        serde_json::to_writer(&mut *out, name)?;
        out.write_all(b"}")?;
    }
    out.write_all(br#"]},"profiles":["#)?;
    let mut profiles = Profiles { trace, frames: &frames, out, is_first: true };
    for (name, stacks) in &devices {
        profiles.sampled(name, stacks)?;
    }
    for track in &trace.tracks {
        if track.kind == TrackKind::HostThread && !track.slices.is_empty() {
            written.slices += track.slices.len() as u64;
            written.clipped += profiles.evented(track)?;
        }
    }
    out.write_all(b"]}\n")?;
    Ok(written)
}

/// All names, numbered.
struct Frames<'a> {
    names: Vec<&'a str>,
    numbers: FxHashMap<&'a str, usize>,
}

impl<'a> Frames<'a> {
    fn new(trace: &'a Trace, stacks: impl Iterator<Item = &'a Stacks>) -> Self {
        let mut frames = Self { names: Vec::new(), numbers: FxHashMap::default() };
        for meta in &trace.metas {
            let id = if meta.display.is_empty() { meta.name } else { meta.display };
            frames.add(trace.strings.get(id));
        }
        for stacks in stacks {
            for node in &stacks.nodes {
                frames.add(stacks.strings.get(node.name));
            }
        }
        frames
    }

    fn add(&mut self, name: &'a str) {
        let next = self.names.len();
        if *self.numbers.entry(name).or_insert(next) == next {
            self.names.push(name);
        }
    }

    fn number(&self, name: &str) -> usize {
        self.numbers.get(name).copied().unwrap_or(0)
    }
}

struct Profiles<'a, W> {
    trace: &'a Trace,
    frames: &'a Frames<'a>,
    out: &'a mut W,
    is_first: bool,
}

impl<W: Write> Profiles<'_, W> {
    fn head(&mut self, kind: &str, name: &str, (start, end): (Picos, Picos)) -> io::Result<()> {
        if !std::mem::take(&mut self.is_first) {
            self.out.write_all(b",")?;
        }
        write!(self.out, "\n{{\"type\":\"{kind}\",\"name\":")?;
        serde_json::to_writer(&mut *self.out, name)?;
        let (start, end) = (nanos(start), nanos(end));
        write!(self.out, ",\"unit\":\"nanoseconds\",\"startValue\":{start},\"endValue\":{end}")
    }

    fn sampled(&mut self, name: &str, stacks: &Stacks) -> io::Result<()> {
        let samples = || (1..stacks.nodes.len()).filter(|&node| stacks.nodes[node].own > 0);
        let total = samples().fold(0_i64, |sum, node| sum.saturating_add(stacks.nodes[node].own));
        self.head("sampled", name, (Picos::ZERO, Picos(total)))?;
        self.out.write_all(b",\"samples\":[")?;
        for (index, node) in samples().enumerate() {
            let number = |id: &StrId| self.frames.number(stacks.strings.get(*id)).to_string();
            let frames: Vec<String> = stacks.frames(node).iter().map(number).collect();
            write!(self.out, "{}[{}]", if index == 0 { "" } else { "," }, frames.join(","))?;
        }
        self.out.write_all(b"],\"weights\":[")?;
        for (index, node) in samples().enumerate() {
            let weight = nanos(Picos(stacks.nodes[node].own));
            write!(self.out, "{}{weight}", if index == 0 { "" } else { "," })?;
        }
        self.out.write_all(b"]}")
    }

    /// Writes a thread, one profile for each lane of it; returns how many slices were cut short.
    fn evented(&mut self, track: &Track) -> io::Result<u64> {
        let name = root_of(self.trace, track).unwrap_or_default();
        let mut lanes = 0;
        let walked = Lanes::walk(&track.slices, |step: Step| {
            lanes = lanes.max(step.lane + 1);
            Ok::<(), io::Error>(())
        })?;
        let extent = track.slices.extent().unwrap_or_default();
        for lane in 0..lanes {
            self.head("evented", &name, extent)?;
            self.out.write_all(b",\"events\":[")?;
            self.lane(track, lane, extent.1)?;
            self.out.write_all(b"]}")?;
        }
        Ok(walked.clipped)
    }

    fn lane(&mut self, track: &Track, lane: usize, last: Picos) -> io::Result<()> {
        let mut open = Vec::new();
        let mut is_first = true;
        let mut event = |out: &mut W, kind: &str, frame: usize, at: Picos| {
            let comma = if std::mem::take(&mut is_first) { "" } else { "," };
            let at = nanos(at.min(last));
            write!(out, "{comma}{{\"type\":\"{kind}\",\"frame\":{frame},\"at\":{at}}}")
        };
        Lanes::walk(&track.slices, |step: Step| {
            if step.lane != lane {
                return Ok(());
            }
            match step.edge {
                Edge::Begin => {
                    let label = self.trace.label(track.slices.meta[step.row]);
                    let frame = self.frames.number(label);
                    open.push(frame);
                    event(self.out, "O", frame, step.at)
                }
                Edge::End => match open.pop() {
                    Some(frame) => event(self.out, "C", frame, step.at),
                    None => Ok(()),
                },
            }
        })?;
        // What never ended ends with the thread: speedscope refuses what stays open.
        while let Some(frame) = open.pop() {
            event(self.out, "C", frame, last)?;
        }
        Ok(())
    }
}

/// Nanoseconds to the picosecond, as decimal text.
fn nanos(time: Picos) -> String {
    let (whole, part) = (time.0.unsigned_abs() / 1000, time.0.unsigned_abs() % 1000);
    let sign = if time < Picos::ZERO { "-" } else { "" };
    format!("{sign}{whole}.{part:03}")
}
