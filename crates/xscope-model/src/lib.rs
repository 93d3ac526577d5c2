//! xscope-model
