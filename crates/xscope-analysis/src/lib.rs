//! xscope-analysis
