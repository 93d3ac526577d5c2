//! xscope-capture
