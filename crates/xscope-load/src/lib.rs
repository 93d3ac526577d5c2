//! xscope-load
