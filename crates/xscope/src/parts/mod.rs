//! What commands are made of: each part is used by several of them.

pub(crate) mod asked;
pub(crate) mod bench;
pub(crate) mod cut;
pub(crate) mod engine;
pub(crate) mod find_max;
pub(crate) mod in_process;
pub(crate) mod job;
pub(crate) mod judged;
pub(crate) mod targets;
