//! The probes' runtime, run by a Python as a server would run it.

mod probes;
