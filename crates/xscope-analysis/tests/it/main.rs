//! Tests of the crate from outside: real traces and their published answers.

#[cfg(test)]
mod build;
#[cfg(test)]
mod clocks;
#[cfg(test)]
mod collectives;
#[cfg(test)]
mod compare;
#[cfg(test)]
mod compile_log;
#[cfg(test)]
mod devices;
#[cfg(test)]
mod layers;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod published;
#[cfg(test)]
mod quality;
#[cfg(test)]
mod steps;
#[cfg(test)]
mod window;

use xscope_trace::Trace;

/// A trace of a known answer.
#[cfg(test)]
#[track_caller]
fn case(name: &str) -> Option<Trace> {
    Some(xscope_trace::read_paths(&[xscope_testing::cases()?.join(name)]).unwrap())
}

/// One of the real traces, which a clean clone does not have.
#[cfg(test)]
#[track_caller]
fn real(name: &str) -> Option<Trace> {
    let path = xscope_testing::trace(name)?;
    Some(xscope_trace::read_paths(&[path]).unwrap())
}
