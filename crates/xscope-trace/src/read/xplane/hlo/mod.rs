//! The part of an HLO proto that a profile needs: what each instruction is and where it came from.
//!
//! Field numbers are those of `xla/service/hlo.proto` and `xla/xla_data.proto`.

mod cost;
mod groups;
mod memory;
mod shape;

use rustc_hash::FxHashMap;

use crate::model::{Held, Instruction, Parameter, Program, ProgramMemory};
use crate::strings::{StrId, Strings};
use crate::time::Bytes;
use crate::wire::{Message, Value};

/// A decoded module; its strings still lie in the file.
#[derive(Default)]
pub(super) struct Module<'a> {
    name: &'a [u8],
    computations: Vec<Computation<'a>>,
    frames: Frames<'a>,
    entry: i64,
    /// Estimated operations of each instruction, computation by computation.
    flops: Vec<Vec<Option<u64>>>,
    /// Where each instruction is, by its id: computation and row.
    by_id: FxHashMap<i64, (usize, usize)>,
    memory: Option<memory::Assignment>,
    /// The device of each replica and partition.
    assignment: Vec<i64>,
    pub damaged: bool,
}

#[derive(Default)]
struct Computation<'a> {
    id: i64,
    root: i64,
    instructions: Vec<RawInstruction<'a>>,
}

#[derive(Default)]
struct RawInstruction<'a> {
    name: &'a [u8],
    opcode: &'a [u8],
    op_name: &'a [u8],
    file: &'a [u8],
    line: i64,
    frame: i64,
    called: Vec<i64>,
    id: i64,
    parameter: i64,
    operands: Vec<i64>,
    shape: Option<Message<'a>>,
    size: shape::Size,
    dot: Option<Message<'a>>,
    convolution: Option<Message<'a>>,
    trip_count: Option<u64>,
    /// The groups of devices that a collective is among.
    groups: groups::Groups,
}

/// The stack frame index: all its ids count from 1.
#[derive(Default)]
struct Frames<'a> {
    files: Vec<&'a [u8]>,
    /// File and line of each location.
    locations: Vec<(i64, i64)>,
    /// Location of each frame.
    frames: Vec<i64>,
}

/// Decodes an `HloProto`.
pub(super) fn decode(proto: Message<'_>) -> Module<'_> {
    let mut module = Module::default();
    let mut body = None;
    for (number, value) in proto.fields().flatten() {
        match number {
            1 => body = value.message(),
            3 => module.memory = value.message().map(memory::decode),
            _ => {}
        }
    }
    let Some(body) = body else { return Module { damaged: true, ..module } };
    for field in body.fields() {
        match field {
            Ok((1, value)) => module.name = value.bytes(),
            Ok((3, value)) => module.computations.extend(value.message().map(decode_computation)),
            Ok((6, value)) => module.entry = value.int(),
            Ok((15, value)) => {
                module.assignment = value.message().map(groups::assignment).unwrap_or_default();
            }
            Ok((17, value)) => {
                if let Some(index) = value.message() {
                    module.frames = decode_frames(index);
                }
            }
            Ok(_) => {}
            Err(_) => module.damaged = true,
        }
    }
    for (computation, row) in module.computations.iter().enumerate() {
        for (at, raw) in row.instructions.iter().enumerate() {
            module.by_id.insert(raw.id, (computation, at));
        }
    }
    let computations = module.computations.iter().enumerate();
    let order: FxHashMap<i64, usize> = computations.map(|(at, row)| (row.id, at)).collect();
    module.flops = cost::flops(
        &module.computations,
        |id| module.by_id.get(&id).copied(),
        |id| order.get(&id).copied(),
    );
    module
}

fn decode_computation(message: Message<'_>) -> Computation<'_> {
    let mut computation = Computation::default();
    for (number, value) in message.fields().flatten() {
        match number {
            2 => computation.instructions.extend(value.message().map(decode_instruction)),
            5 => computation.id = value.int(),
            6 => computation.root = value.int(),
            _ => {}
        }
    }
    computation
}

fn decode_instruction(message: Message<'_>) -> RawInstruction<'_> {
    let mut instruction = RawInstruction::default();
    for (number, value) in message.fields().flatten() {
        match number {
            1 => instruction.name = value.bytes(),
            2 => instruction.opcode = value.bytes(),
            7 => {
                for (number, value) in value.message().iter().flat_map(|m| m.fields().flatten()) {
                    match number {
                        2 => instruction.op_name = value.bytes(),
                        3 => instruction.file = value.bytes(),
                        4 => instruction.line = value.int(),
                        15 => instruction.frame = value.int(),
                        _ => {}
                    }
                }
            }
            3 => {
                instruction.shape = value.message();
                instruction.size = value.message().map(shape::size).unwrap_or_default();
            }
            9 => instruction.parameter = value.int(),
            16 => instruction.convolution = value.message(),
            30 => instruction.dot = value.message(),
            35 => instruction.id = value.int(),
            36 => integers(value, &mut instruction.operands),
            38 => integers(value, &mut instruction.called),
            43 => instruction.trip_count = trip_count(value.bytes()),
            _ => groups::add(number, value, &mut instruction.groups),
        }
    }
    instruction
}

/// Adds the numbers of a repeated field, packed or not.
fn integers(value: Value<'_>, numbers: &mut Vec<i64>) {
    match value.message() {
        Some(packed) => shape::packed_varints(packed, |number| numbers.push(number)),
        None => numbers.push(value.int()),
    }
}

/// The trip count that the compiler noted in a loop's backend config, which is JSON.
fn trip_count(config: &[u8]) -> Option<u64> {
    const KEY: &[u8] = br#""known_trip_count":{"n":""#;
    let at = config.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let digits: String =
        config[at..].iter().take_while(|b| b.is_ascii_digit()).map(|&b| char::from(b)).collect();
    digits.parse().ok()
}

fn decode_frames(message: Message<'_>) -> Frames<'_> {
    let mut frames = Frames::default();
    let two = |message: Option<Message<'_>>, first: u32, second: u32| {
        let mut pair = (0, 0);
        for (number, value) in message.iter().flat_map(|m| m.fields().flatten()) {
            if number == first {
                pair.0 = value.int();
            } else if number == second {
                pair.1 = value.int();
            }
        }
        pair
    };
    for (number, value) in message.fields().flatten() {
        match number {
            1 => frames.files.push(value.bytes()),
            3 => frames.locations.push(two(value.message(), 1, 3)),
            4 => frames.frames.push(two(value.message(), 1, 2).0),
            _ => {}
        }
    }
    frames
}

impl<'a> Frames<'a> {
    fn source(&self, frame: i64) -> Option<(&'a [u8], i64)> {
        let at = |id: i64| usize::try_from(id).ok()?.checked_sub(1);
        let &(file, line) = self.locations.get(at(*self.frames.get(at(frame)?)?)?)?;
        Some((self.files.get(at(file)?)?, line))
    }
}

impl Module<'_> {
    /// The module with its strings interned.
    pub(super) fn into_program(self, strings: &mut Strings) -> Program {
        let mut program = Program {
            name: strings.intern_bytes(self.name),
            assignment: self.assignment.clone(),
            ..Program::default()
        };
        let mut firsts = Vec::with_capacity(self.computations.len());
        let mut ranges: FxHashMap<i64, (u32, u32)> = FxHashMap::default();
        for (computation, costs) in self.computations.iter().zip(&self.flops) {
            let first = program.instructions.len();
            firsts.push(first);
            for (raw, &flops) in computation.instructions.iter().zip(costs) {
                let mut instruction = self.intern(raw, strings);
                instruction.flops = flops;
                instruction.is_root = raw.id == computation.root;
                let index = u32::try_from(program.instructions.len()).unwrap_or(u32::MAX);
                program.by_name.insert(instruction.name, index);
                program.instructions.push(instruction);
            }
            let range = (first, program.instructions.len());
            let range = (u32::try_from(range.0), u32::try_from(range.1));
            if let (Ok(first), Ok(end)) = range {
                ranges.insert(computation.id, (first, end));
                program.computations.push(first..end);
            }
            if computation.id == self.entry {
                program.entry = program.computations.last().cloned().unwrap_or_default();
                program.parameters = parameters(computation, first, strings);
            }
        }
        let raws = self.computations.iter().flat_map(|computation| &computation.instructions);
        for (instruction, raw) in program.instructions.iter_mut().zip(raws) {
            let members = raw.called.iter().filter_map(|id| ranges.get(id));
            instruction.members = members.map(|&(first, end)| first..end).collect();
            let first = program.operands.len();
            let places = raw.operands.iter().filter_map(|id| self.by_id.get(id));
            let indices = places.filter_map(|&(at, row)| u32::try_from(firsts[at] + row).ok());
            program.operands.extend(indices);
            let range = (u32::try_from(first), u32::try_from(program.operands.len()));
            if let (Ok(first), Ok(end)) = range {
                instruction.operands = first..end;
            }
        }
        program.memory = self.memory.as_ref().map(|memory| {
            let held = memory.at_peak.iter().map(|(id, bytes)| {
                let place = self.by_id.get(id).copied();
                let index = place.and_then(|(at, row)| Some(firsts.get(at)? + row));
                let shape = place
                    .and_then(|(at, row)| self.computations.get(at)?.instructions.get(row)?.shape);
                Held {
                    instruction: index.and_then(|index| u32::try_from(index).ok()),
                    shape: strings.intern(&shape.map_or_else(String::new, shape::text)),
                    bytes: Bytes(*bytes),
                }
            });
            ProgramMemory {
                arguments: Bytes(memory.arguments),
                outputs: Bytes(memory.outputs),
                constants: Bytes(memory.constants),
                temporary: Bytes(memory.temporary),
                live: Bytes(memory.live),
                place: Bytes(memory.place),
                at_peak: held.collect(),
            }
        });
        program
    }

    fn intern(&self, raw: &RawInstruction<'_>, strings: &mut Strings) -> Instruction {
        let place = match raw.file.is_empty() {
            false => Some((raw.file, raw.line)),
            true => self.frames.source(raw.frame),
        };
        let source = place.map_or(StrId::EMPTY, |(file, line)| {
            strings.intern(&format!("{}:{line}", String::from_utf8_lossy(file)))
        });
        Instruction {
            name: strings.intern_bytes(raw.name),
            opcode: strings.intern_bytes(raw.opcode),
            op_name: strings.intern_bytes(raw.op_name),
            source,
            elements: raw.size.elements,
            result_bytes: Bytes(raw.size.bytes),
            trip_count: raw.trip_count,
            groups: raw.groups.clone(),
            ..Instruction::default()
        }
    }
}

/// What a computation takes, in order.
fn parameters(
    computation: &Computation<'_>,
    first: usize,
    strings: &mut Strings,
) -> Vec<Parameter> {
    let all = (first..).zip(&computation.instructions);
    let all = all.filter(|(_, raw)| raw.opcode == b"parameter");
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(|(_, raw)| raw.parameter);
    let describe = |&(index, raw): &(usize, &RawInstruction<'_>)| Parameter {
        name: strings.intern_bytes(raw.op_name),
        shape: strings.intern(&raw.shape.map_or_else(String::new, shape::text)),
        instruction: u32::try_from(index).ok(),
    };
    all.iter().map(describe).collect()
}

#[cfg(test)]
mod tests {
    use super::trip_count;

    #[test]
    fn trip_counts_are_read_from_the_backend_config() {
        let config = br#"{"known_trip_count":{"n":"28"},"known_init_step":{"init":"0"}}"#;
        assert_eq!(trip_count(config), Some(28));
        assert_eq!(trip_count(b"{}"), None);
        assert_eq!(trip_count(br#"{"known_trip_count":{"n":"x"}}"#), None);
    }
}
