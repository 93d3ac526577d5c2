//! The part of an HLO proto that a profile needs: what each instruction is and where it came from.
//!
//! Field numbers are those of `xla/service/hlo.proto` and `xla/xla_data.proto`.

use rustc_hash::FxHashMap;

use crate::model::{Instruction, Program};
use crate::strings::{StrId, Strings};
use crate::wire::Message;

/// A decoded module; its strings still lie in the file.
#[derive(Default)]
pub(super) struct Module<'a> {
    name: &'a [u8],
    computations: Vec<Computation<'a>>,
    frames: Frames<'a>,
    pub damaged: bool,
}

#[derive(Default)]
struct Computation<'a> {
    id: i64,
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
    let Some(body) = proto.fields().flatten().find(|(number, _)| *number == 1) else {
        return Module { damaged: true, ..Module::default() };
    };
    let Some(body) = body.1.message() else { return Module { damaged: true, ..module } };
    for field in body.fields() {
        match field {
            Ok((1, value)) => module.name = value.bytes(),
            Ok((3, value)) => module.computations.extend(value.message().map(decode_computation)),
            Ok((17, value)) => {
                if let Some(index) = value.message() {
                    module.frames = decode_frames(index);
                }
            }
            Ok(_) => {}
            Err(_) => module.damaged = true,
        }
    }
    module
}

fn decode_computation(message: Message<'_>) -> Computation<'_> {
    let mut computation = Computation::default();
    for (number, value) in message.fields().flatten() {
        match number {
            2 => computation.instructions.extend(value.message().map(decode_instruction)),
            5 => computation.id = value.int(),
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
            38 => match value.message() {
                Some(packed) => instruction.called.extend(packed_varints(packed)),
                None => instruction.called.push(value.int()),
            },
            _ => {}
        }
    }
    instruction
}

/// The numbers of a packed repeated field.
fn packed_varints(packed: Message<'_>) -> Vec<i64> {
    let mut numbers = Vec::new();
    let mut value = 0_u64;
    let mut shift = 0;
    for &byte in packed.bytes {
        if shift < 64 {
            value |= u64::from(byte & 0x7f) << shift;
        }
        shift += 7;
        if byte < 0x80 {
            numbers.push(value.cast_signed());
            (value, shift) = (0, 0);
        }
    }
    numbers
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
        let mut program = Program { name: strings.intern_bytes(self.name), ..Program::default() };
        let mut ranges: FxHashMap<i64, (u32, u32)> = FxHashMap::default();
        let mut called: Vec<Vec<i64>> = Vec::new();
        for computation in &self.computations {
            let first = program.instructions.len();
            for raw in &computation.instructions {
                let instruction = self.intern(raw, strings);
                let index = u32::try_from(program.instructions.len()).unwrap_or(u32::MAX);
                program.by_name.insert(instruction.name, index);
                program.instructions.push(instruction);
                called.push(raw.called.clone());
            }
            let range = (first, program.instructions.len());
            let range = (u32::try_from(range.0), u32::try_from(range.1));
            if let (Ok(first), Ok(end)) = range {
                ranges.insert(computation.id, (first, end));
            }
        }
        for (instruction, called) in program.instructions.iter_mut().zip(called) {
            let members = called.iter().filter_map(|id| ranges.get(id));
            instruction.members = members.map(|&(first, end)| first..end).collect();
        }
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
            members: Vec::new(),
        }
    }
}
