//! The compiler's plan of a program's memory: the buffer assignment beside the module.
//!
//! Field numbers are those of `BufferAssignmentProto` in `xla/service/hlo.proto`.

use rustc_hash::FxHashMap;

use crate::wire::Message;

/// What an execution needs, with instructions by their ids in the proto.
#[derive(Default)]
pub(super) struct Assignment {
    pub arguments: u64,
    pub outputs: u64,
    pub constants: u64,
    pub temporary: u64,
    /// Most of what was laid out over time that is in use at once, and how large its place is.
    pub live: u64,
    pub place: u64,
    /// Who holds it then: the instruction that makes a buffer, and bytes.
    pub at_peak: Vec<(i64, u64)>,
}

#[derive(Default)]
struct Allocation {
    index: i64,
    size: u64,
    is_thread_local: bool,
    is_argument: bool,
    is_output: bool,
    is_constant: bool,
}

#[derive(Clone, Copy)]
struct Event {
    kind: u64,
    buffer: i64,
    shares_with: i64,
}

const ALLOCATED: u64 = 0;
const FREED: u64 = 1;

/// Decodes a `BufferAssignmentProto`.
pub(super) fn decode(proto: Message<'_>) -> Assignment {
    let mut assignment = Assignment::default();
    let mut buffers: FxHashMap<i64, (i64, u64)> = FxHashMap::default();
    let mut sizes: FxHashMap<i64, u64> = FxHashMap::default();
    let mut traces = Vec::new();
    for (number, value) in proto.fields().flatten() {
        let Some(message) = value.message() else { continue };
        match number {
            1 => {
                let (id, buffer) = logical_buffer(message);
                buffers.insert(id, buffer);
            }
            3 => {
                let allocation = allocation(message);
                sizes.insert(allocation.index, allocation.size);
                assignment.count(&allocation);
            }
            4 => traces.push(message),
            _ => {}
        }
    }
    for trace in traces {
        let (place, events) = heap_trace(trace);
        let held = peak(&events, &buffers);
        let live = held.iter().fold(0_u64, |sum, &(_, bytes)| sum.saturating_add(bytes));
        assignment.live = assignment.live.saturating_add(live);
        let place = sizes.get(&place).copied().unwrap_or(live);
        assignment.place = assignment.place.saturating_add(place);
        assignment.at_peak.extend(held);
    }
    assignment
}

impl Assignment {
    fn count(&mut self, allocation: &Allocation) {
        let sum = match allocation {
            Allocation { is_thread_local: true, .. } => return,
            Allocation { is_constant: true, .. } => &mut self.constants,
            Allocation { is_argument: true, .. } => &mut self.arguments,
            Allocation { is_output: true, .. } => &mut self.outputs,
            _ => &mut self.temporary,
        };
        *sum = sum.saturating_add(allocation.size);
    }
}

/// Id of a buffer, with the instruction that makes it and its size.
fn logical_buffer(message: Message<'_>) -> (i64, (i64, u64)) {
    let (mut id, mut size, mut instruction) = (0, 0, 0);
    for (number, value) in message.fields().flatten() {
        match number {
            1 => id = value.int(),
            2 => size = value.uint(),
            3 => {
                let fields = value.message().into_iter().flat_map(|m| m.fields().flatten());
                for (_, value) in fields.filter(|(number, _)| *number == 4) {
                    instruction = value.int();
                }
            }
            _ => {}
        }
    }
    (id, (instruction, size))
}

fn allocation(message: Message<'_>) -> Allocation {
    let mut allocation = Allocation::default();
    for (number, value) in message.fields().flatten() {
        match number {
            1 => allocation.index = value.int(),
            2 => allocation.size = value.uint(),
            3 => allocation.is_thread_local = value.uint() != 0,
            5 => allocation.is_argument = value.uint() != 0,
            7 => allocation.is_output = value.uint() != 0,
            12 => allocation.is_constant = value.uint() != 0,
            _ => {}
        }
    }
    allocation
}

/// The allocation that a `HeapSimulatorTrace` is of, and its events.
fn heap_trace(message: Message<'_>) -> (i64, Vec<Event>) {
    let (mut place, mut events) = (0, Vec::new());
    for (number, value) in message.fields().flatten() {
        match number {
            1 => {
                let mut event = Event { kind: ALLOCATED, buffer: 0, shares_with: 0 };
                let fields = value.message().into_iter().flat_map(|m| m.fields().flatten());
                for (number, value) in fields {
                    match number {
                        1 => event.kind = value.uint(),
                        2 => event.buffer = value.int(),
                        5 => event.shares_with = value.int(),
                        _ => {}
                    }
                }
                events.push(event);
            }
            3 => place = value.int(),
            _ => {}
        }
    }
    (place, events)
}

/// What is held when most is: instructions and bytes.
fn peak(events: &[Event], buffers: &FxHashMap<i64, (i64, u64)>) -> Vec<(i64, u64)> {
    // The first pass finds the event after which most is in use, the second stops there.
    let mut most = (0, 0);
    replay(events, buffers, |at, live| {
        if live > most.1 {
            most = (at + 1, live);
        }
    });
    let held = replay(&events[..most.0], buffers, |_, _| {});
    let mut held: Vec<(i64, u64)> =
        held.into_keys().filter_map(|buffer| buffers.get(&buffer).copied()).collect();
    held.sort_unstable_by_key(|&(instruction, bytes)| (std::cmp::Reverse(bytes), instruction));
    held
}

/// Follows events; what is left at their end, with how many buffers share each.
fn replay(
    events: &[Event],
    buffers: &FxHashMap<i64, (i64, u64)>,
    mut after: impl FnMut(usize, u64),
) -> FxHashMap<i64, u32> {
    let size = |buffer: i64| buffers.get(&buffer).map_or(0, |&(_, size)| size);
    let mut users: FxHashMap<i64, u32> = FxHashMap::default();
    let mut owner: FxHashMap<i64, i64> = FxHashMap::default();
    let mut live = 0_u64;
    for (at, event) in events.iter().enumerate() {
        match event.kind {
            ALLOCATED => {
                users.insert(event.buffer, 1);
                live = live.saturating_add(size(event.buffer));
            }
            FREED => {
                let owner = owner.get(&event.buffer).copied().unwrap_or(event.buffer);
                if let Some(count) = users.get_mut(&owner) {
                    *count -= 1;
                    if *count == 0 {
                        users.remove(&owner);
                        live = live.saturating_sub(size(owner));
                    }
                }
            }
            _ => {
                let shared = owner.get(&event.shares_with).copied().unwrap_or(event.shares_with);
                owner.insert(event.buffer, shared);
                match users.get_mut(&shared) {
                    Some(count) => *count += 1,
                    None => {
                        users.insert(shared, 1);
                        live = live.saturating_add(size(shared));
                    }
                }
            }
        }
        after(at, live);
    }
    users
}

#[cfg(test)]
mod tests {
    use rustc_hash::FxHashMap;

    use super::{Event, peak};

    /// Buffers 1 to 4 of 10, 20, 30 and 40 bytes, made by the instructions 101 to 104.
    fn check(events: &[(u64, i64, i64)], expected: &[(i64, u64)]) {
        let buffers: FxHashMap<i64, (i64, u64)> =
            (1_i64..=4).map(|id| (id, (100 + id, 10 * id.unsigned_abs()))).collect();
        let events: Vec<Event> = events
            .iter()
            .map(|&(kind, buffer, shares_with)| Event { kind, buffer, shares_with })
            .collect();
        assert_eq!(peak(&events, &buffers), expected);
    }

    #[test]
    fn the_peak_is_what_is_held_at_once() {
        check(&[(0, 1, 0), (0, 2, 0), (1, 1, 0), (1, 2, 0), (0, 3, 0)], &[(102, 20), (101, 10)]);
        check(&[(0, 2, 0), (1, 2, 0), (0, 4, 0), (1, 4, 0)], &[(104, 40)]);
        check(&[], &[]);
    }

    #[test]
    fn a_shared_buffer_is_held_until_its_last_user_is_gone() {
        check(&[(0, 3, 0), (2, 1, 3), (1, 3, 0), (0, 4, 0), (1, 1, 0)], &[(104, 40), (103, 30)]);
        check(&[(0, 3, 0), (2, 1, 3), (1, 3, 0), (1, 1, 0), (0, 4, 0)], &[(104, 40)]);
    }
}
