//! What is certain of clocks: nobody leaves an exchange before the last has come to it.
//!
//! With `o` what a source's clock is ahead, an end on `j` and a start on `i` in one exchange say
//! `o_j - o_i <= end_j - start_i`. What follows from several such steps holds as well.

use crate::clocks::shared::Event;

/// Up to so many sources every way from one to another over others is followed.
const MOST_FOLLOWED: usize = 64;

/// By how much each source may be ahead of the first, at least and at most, in picoseconds; infinite where
/// no exchange says it.
pub(super) fn certain(events: &[Event], count: usize) -> Vec<(f64, f64)> {
    match count <= MOST_FOLLOWED {
        true => followed(events, count),
        false => direct(events, count),
    }
}

fn followed(events: &[Event], count: usize) -> Vec<(f64, f64)> {
    let mut most = vec![vec![f64::INFINITY; count]; count];
    for event in events {
        for a in &event.members {
            for b in event.members.iter().filter(|b| b.source != a.source) {
                let most = &mut most[a.source][b.source];
                *most = most.min(b.end - a.start);
            }
        }
    }
    for over in 0..count {
        for from in 0..count {
            let first = most[from][over];
            let second = most[over].clone();
            for (to, second) in second.into_iter().enumerate() {
                most[from][to] = most[from][to].min(first + second);
            }
        }
    }
    let of = |source: usize| match source {
        0 => (0.0_f64.max(-most[0][0]), 0.0_f64.min(most[0][0])),
        source => (-most[source][0], most[0][source]),
    };
    (0..count).map(of).collect()
}

fn direct(events: &[Event], count: usize) -> Vec<(f64, f64)> {
    let mut certain = vec![(f64::NEG_INFINITY, f64::INFINITY); count];
    certain[0] = (0.0, 0.0);
    for event in events {
        let Some(first) = event.members.iter().find(|member| member.source == 0) else { continue };
        for member in event.members.iter().filter(|member| member.source != 0) {
            let (least, most) = &mut certain[member.source];
            *least = least.max(member.start - first.end);
            *most = most.min(member.end - first.start);
        }
    }
    certain
}
