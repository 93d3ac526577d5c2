//! The probes' runtime, run by a Python as a server would run it.

// `cfg(test)` tells clippy that helpers in here may unwrap, too.
#[cfg(test)]
mod probes;
