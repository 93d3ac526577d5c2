//! xscope-view
