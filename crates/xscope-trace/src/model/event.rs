//! What all slices of one kind of event have in common.

use crate::model::ProgramId;
use crate::strings::StrId;

/// What all slices of one kind of event have in common.
#[derive(Debug, Clone, Default)]
pub struct EventMeta {
    /// The name as recorded (on TPU the whole HLO text).
    pub name: StrId,
    /// A short name to show, if the format has one; else empty.
    pub display: StrId,
    /// The category that the recorder gave (`hlo_category`, Chrome's `cat`); else empty.
    pub category: StrId,
    /// The program that the operation belongs to.
    pub program: Option<ProgramId>,
    /// The operation of that program, if it is not the name itself (GPU kernels).
    pub op: StrId,
    /// Scope path (the op name of HLO metadata), if the recorder gave one; else empty. Use
    /// [`Trace::scope_of`](crate::Trace::scope_of), which also asks the program.
    pub scope: StrId,
    /// Floating-point operations per execution, as recorded.
    pub flops: Option<u64>,
    /// Bytes read and written per execution, as recorded.
    pub bytes: Option<u64>,
}
