//! Tests of the crate from outside.

// `cfg(test)` tells clippy that helpers in here may unwrap, too.
#[cfg(test)]
mod run;
#[cfg(test)]
mod span;
#[cfg(test)]
mod xplane_write;
