//! What makes two events of a plane the same kind of event.

/// Where an event says which operation of its program it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum OpRef {
    None,
    /// The name of a stat metadata.
    Stat(i64),
    /// A text of this line.
    Text(u32),
}

/// What makes two events of a plane the same kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct LocalMeta {
    pub event: i64,
    /// The program that the event itself names, 0 for none.
    pub program: i64,
    /// The module of that program; JAX's CPU backend gives one number to several modules.
    pub module: OpRef,
    pub op: OpRef,
    /// What TensorFlow calls the operation that launched it.
    pub annotation: OpRef,
}

impl LocalMeta {
    /// Whether it means the same on another line of its plane; texts are numbered per line.
    pub(super) fn is_shared(&self) -> bool {
        [self.op, self.module, self.annotation].iter().all(|it| !matches!(it, OpRef::Text(_)))
    }
}
