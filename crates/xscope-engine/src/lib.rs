//! xscope-engine
