//! One slice in full, with what it caused and what caused it.

use serde::Serialize;
use xscope_trace::model::ArgValue;
use xscope_trace::model::{Instruction, Program, SliceRef};

use super::layers::NO_ROW;
use super::{Timeline, cut};

/// Most bytes of one text about a slice: HLO can be long, a megabyte of it is of no use.
const TEXT_BYTES: usize = 16 << 10;

/// Most arguments that are shown.
const MOST_ARGS: usize = 256;

/// Where a slice is drawn.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SlicePlace {
    pub item: u32,
    pub slice: u32,
    /// Absent if it is nested too deep to be drawn.
    pub row: Option<u16>,
    /// In ps from the start of the trace.
    pub start: f64,
    /// Negative if it never ended.
    pub dur: f64,
    pub name: String,
}

/// An arrow between two slices.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArrowRow {
    pub from: SlicePlace,
    pub to: SlicePlace,
}

/// All that is known of a slice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SliceDetail {
    #[serde(flatten)]
    pub place: SlicePlace,
    pub track: String,
    /// What is known of its kind, in the order in which it is shown.
    pub facts: Vec<(&'static str, String)>,
    pub args: Vec<(String, String)>,
    /// Arguments beside those.
    pub more_args: usize,
    pub arrows: Vec<ArrowRow>,
}

impl Timeline {
    /// The slice that a client knows by its item and its number in the track.
    pub fn slice_ref(&self, item: u32, row: u32) -> Option<SliceRef> {
        let track = self.track_of(item)?;
        ((row as usize) < self.slices(track)?.len()).then_some(SliceRef { track, row })
    }

    /// All that is known of a slice.
    pub fn detail(&self, slice: SliceRef) -> Option<SliceDetail> {
        let mut place = self.slice_place(slice)?;
        let (trace, track) = self.place(slice.track)?;
        let row = slice.row as usize;
        let meta = *track.slices.meta.get(row)?;
        place.name = cut(trace.label(meta), TEXT_BYTES);
        let all = track.slices.args.get(row, &trace.strings);
        let args = all.iter().take(MOST_ARGS);
        let arrows = self.arrows.follow(slice).into_iter().filter_map(|arrow| {
            Some(ArrowRow { from: self.slice_place(arrow.from)?, to: self.slice_place(arrow.to)? })
        });
        let item = self.tree.items.get(place.item as usize)?;
        Some(SliceDetail {
            track: self.item_name(item).0,
            facts: self.facts(slice),
            args: args.map(|(key, value)| (cut(key, 200), value_text(value))).collect(),
            more_args: all.len().saturating_sub(MOST_ARGS),
            arrows: arrows.collect(),
            place,
        })
    }

    pub(super) fn slice_place(&self, slice: SliceRef) -> Option<SlicePlace> {
        let slices = self.slices(slice.track)?;
        let row = slice.row as usize;
        let drawn = self.index[slice.track].row_of(slice.row);
        Some(SlicePlace {
            item: *self.tree.item_of_track.get(slice.track)?,
            slice: slice.row,
            row: (drawn != NO_ROW).then_some(drawn),
            start: self.relative(*slices.start.get(row)?),
            dur: super::window::as_f64(slices.dur.get(row)?.0),
            name: self.name(self.name_id(slice)),
        })
    }

    fn facts(&self, slice: SliceRef) -> Vec<(&'static str, String)> {
        let mut facts = Vec::new();
        let Some((trace, track)) = self.place(slice.track) else { return facts };
        let id = track.slices.meta[slice.row as usize];
        let meta = trace.meta(id);
        let mut add = |key, text: &str| {
            if !text.is_empty() {
                facts.push((key, cut(text, TEXT_BYTES)));
            }
        };
        add("category", trace.strings.get(meta.category));
        add("scope", trace.strings.get(trace.scope_of(id)));
        let program = meta.program.and_then(|id| trace.programs.get(id));
        if let Some(program) = program {
            add("program", trace.strings.get(program.name));
        }
        if let Some(instruction) = trace.instruction(id) {
            add("source", trace.strings.get(instruction.source));
            if let Some(program) = program {
                add("instruction", &self.instruction_text(program, instruction));
            }
        }
        // On TPU the name as recorded is the HLO text.
        if !meta.display.is_empty() {
            add("recorded as", trace.strings.get(meta.name));
        }
        let number = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
        add("FLOP", &number(meta.flops));
        add("bytes accessed", &number(meta.bytes));
        let run = track.slices.run_of(slice.row as usize);
        add("run id", &run.map(|run| run.to_string()).unwrap_or_default());
        facts
    }

    /// An instruction the way HLO text writes it, as far as the trace has it.
    fn instruction_text(&self, program: &Program, instruction: &Instruction) -> String {
        let text = |id| self.trace.strings.get(id);
        let operands: Vec<&str> =
            program.operands_of(instruction).take(64).map(|it| text(it.name)).collect();
        format!(
            "%{} = {}({}), {} elements, {} bytes",
            text(instruction.name),
            text(instruction.opcode),
            operands.join(", "),
            instruction.elements,
            instruction.result_bytes.0
        )
    }
}

fn value_text(value: &ArgValue) -> String {
    match value {
        ArgValue::Int(value) => value.to_string(),
        ArgValue::Uint(value) => value.to_string(),
        // Twelve digits: what a sum of floats adds behind them is noise.
        ArgValue::Float(value) => format!("{value:.11e}").parse().unwrap_or(*value).to_string(),
        ArgValue::Text(text) => cut(text, TEXT_BYTES),
        ArgValue::Bytes(length) => format!("{length} bytes that are no text"),
    }
}
