//! Tests of the crate from outside.

// `cfg(test)` tells clippy that helpers in here may unwrap, too.
#[cfg(test)]
mod chrome;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod feed;
#[cfg(test)]
mod fuzz_corpus;
#[cfg(test)]
mod gotchas;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod notes;
#[cfg(test)]
mod pprof;
#[cfg(test)]
mod quality;
#[cfg(test)]
mod riegeli;
#[cfg(test)]
mod run;
#[cfg(test)]
mod server_log;
#[cfg(test)]
mod span;
#[cfg(test)]
mod write;
#[cfg(test)]
mod xplane_write;
