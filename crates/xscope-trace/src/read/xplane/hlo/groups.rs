//! Which devices a collective is among: HLO writes that in four ways, older ones as lists, newer ones as a
//! rule that makes them.

use std::collections::BTreeMap;

use crate::read::xplane::hlo::integers;
use crate::wire::{Message, Value};

/// The most members that are listed: more than any machine has; a damaged rule may say anything.
const MOST: u64 = 1 << 20;

/// Groups of devices, by their places in the program's assignment.
pub(super) type Groups = Vec<Vec<u32>>;

/// What a field of an instruction adds to its groups; nothing if the field is none of groups.
pub(super) fn add(number: u32, value: Value<'_>, groups: &mut Groups) {
    match number {
        // A `ReplicaGroup` each.
        49 => groups.extend(value.message().map(list)),
        87 => groups.extend(device_list(value.message())),
        92 => *groups = value.message().and_then(iota).unwrap_or_default(),
        93 => *groups = value.message().and_then(mesh).unwrap_or_default(),
        _ => {}
    }
}

/// A `DeviceAssignmentProto`: how many replicas and partitions, and of each partition the devices of its
/// replicas. Replica by replica, as groups count.
pub(super) fn assignment(found: Message<'_>) -> Vec<i64> {
    let partitions = found.fields().flatten().filter(|(number, _)| *number == 3);
    let partitions: Vec<Vec<i64>> =
        partitions.filter_map(|(_, value)| Some(numbers(value.message()?, 1))).collect();
    let replicas = partitions.iter().map(Vec::len).max().unwrap_or(0);
    let of_replica = |at: usize| partitions.iter().filter_map(move |it| it.get(at).copied());
    (0..replicas).flat_map(of_replica).collect()
}

fn list(group: Message<'_>) -> Vec<u32> {
    members(&numbers(group, 1))
}

/// A `CollectiveDeviceListProto`: groups in lists (1), or by a rule (2).
fn device_list(found: Option<Message<'_>>) -> Groups {
    let mut groups = Groups::new();
    for (number, value) in found.iter().flat_map(|it| it.fields().flatten()) {
        match number {
            1 => groups.extend(value.message().map(list)),
            2 => groups = value.message().and_then(iota).unwrap_or_default(),
            _ => {}
        }
    }
    groups
}

/// `[groups,size]<=[dims]T(order)`: the numbers from 0 on, laid out in `dims`, its dimensions put into
/// another order, and cut into groups.
fn iota(rule: Message<'_>) -> Option<Groups> {
    let [count, size] = [1, 2].map(|field| numbers(rule, field).first().copied().unwrap_or(0));
    let (count, size) = (u64::try_from(count).ok()?, u64::try_from(size).ok()?);
    let all = iota_order(&numbers(rule, 3), &numbers(rule, 4), count.checked_mul(size)?)?;
    Some(all.chunks(usize::try_from(size).ok()?).map(<[u32]>::to_vec).collect())
}

/// The numbers below `count` in the order of a rule.
fn iota_order(dims: &[i64], order: &[i64], count: u64) -> Option<Vec<u32>> {
    let dims = sizes(dims)?;
    if count == 0 || product(&dims)? != count {
        return None;
    }
    let order: Vec<usize> = match order {
        [] => (0..dims.len()).collect(),
        order => order.iter().map(|&at| usize::try_from(at).ok()).collect::<Option<_>>()?,
    };
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..dims.len()) {
        return None;
    }
    let strides: Vec<u64> = (0..dims.len()).map(|at| dims[at + 1..].iter().product()).collect();
    let number = |mut place: u64| {
        let mut number = 0;
        for &at in order.iter().rev() {
            number += place % dims[at] * strides[at];
            place /= dims[at];
        }
        u32::try_from(number).ok()
    };
    (0..count).map(number).collect()
}

/// An axis of a mesh, or a part of one, along which groups go.
struct Along {
    axis: usize,
    /// What the part counts in, and how far.
    stride: u64,
    size: u64,
}

/// A mesh of devices with named axes (1), and those along which the members of a group lie (2): devices
/// that differ in nothing else are a group.
fn mesh(rule: Message<'_>) -> Option<Groups> {
    let (mut dims, mut devices, mut along) = (Vec::new(), Vec::new(), Vec::new());
    let mut laid_out = None;
    for (number, value) in rule.fields().flatten() {
        match (number, value.message()) {
            (1, Some(mesh)) => {
                for (number, value) in mesh.fields().flatten() {
                    match number {
                        1 => dims.push(numbers(value.message()?, 2).first().copied().unwrap_or(0)),
                        2 => integers(value, &mut devices),
                        // The same as a rule.
                        3 => laid_out = value.message(),
                        _ => {}
                    }
                }
            }
            (2, Some(axis)) => along.push(axis),
            _ => {}
        }
    }
    let dims = sizes(&dims)?;
    let along: Vec<Along> =
        along.into_iter().map(|axis| part(axis, &dims)).collect::<Option<_>>()?;
    let count = product(&dims)?;
    let devices = match laid_out {
        Some(rule) => iota_order(&numbers(rule, 1), &numbers(rule, 2), count)?,
        None if devices.is_empty() => iota_order(&[count.cast_signed()], &[], count)?,
        None => members(&devices),
    };
    let mut groups: BTreeMap<Vec<u64>, Vec<(u64, u32)>> = BTreeMap::new();
    for place in 0..count {
        let device = *devices.get(usize::try_from(place).ok()?)?;
        let mut coordinates = coordinates(place, &dims);
        let mut within = 0;
        for Along { axis, stride, size } in &along {
            let digit = coordinates[*axis] / stride % size;
            coordinates[*axis] -= digit * stride;
            within = within * size + digit;
        }
        groups.entry(coordinates).or_default().push((within, device));
    }
    let in_order = |mut members: Vec<(u64, u32)>| {
        members.sort_unstable();
        members.into_iter().map(|(_, device)| device).collect()
    };
    Some(groups.into_values().map(in_order).collect())
}

/// An `AxisRef`: an axis (1), and of it the part of a size (2: 2) behind others (2: 1).
fn part(axis: Message<'_>, dims: &[u64]) -> Option<Along> {
    let index = usize::try_from(numbers(axis, 1).first().copied().unwrap_or(0)).ok()?;
    let whole = *dims.get(index)?;
    let sub = axis.fields().flatten().find(|(number, _)| *number == 2);
    let Some(sub) = sub.and_then(|(_, value)| value.message()) else {
        return Some(Along { axis: index, stride: 1, size: whole });
    };
    let of = |field| u64::try_from(numbers(sub, field).first().copied().unwrap_or(1)).ok();
    let (before, size) = (of(1)?.max(1), of(2)?.max(1));
    let stride = whole.checked_div(before.checked_mul(size)?)?;
    (stride > 0 && stride * before * size == whole).then_some(Along { axis: index, stride, size })
}

fn coordinates(place: u64, dims: &[u64]) -> Vec<u64> {
    let mut rest = place;
    let mut coordinates: Vec<u64> = dims
        .iter()
        .rev()
        .map(|size| {
            let at = rest % size;
            rest /= size;
            at
        })
        .collect();
    coordinates.reverse();
    coordinates
}

/// The numbers of a repeated field.
fn numbers(message: Message<'_>, field: u32) -> Vec<i64> {
    let mut numbers = Vec::new();
    for (number, value) in message.fields().flatten() {
        if number == field {
            integers(value, &mut numbers);
        }
    }
    numbers
}

fn members(numbers: &[i64]) -> Vec<u32> {
    numbers.iter().filter_map(|&number| u32::try_from(number).ok()).collect()
}

/// Dimensions, none of which is empty.
fn sizes(dims: &[i64]) -> Option<Vec<u64>> {
    let size = |&size: &i64| u64::try_from(size).ok().filter(|size| *size > 0);
    dims.iter().map(size).collect()
}

/// How many there are in all; `None` if that is more than can be.
fn product(dims: &[u64]) -> Option<u64> {
    let count = dims.iter().try_fold(1_u64, |product, size| product.checked_mul(*size))?;
    (count <= MOST).then_some(count)
}
