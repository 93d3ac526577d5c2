//! Ids of the rows of a trace's tables.

use crate::ids::ids;

ids! {
    /// A [`Source`](crate::model::Source) of [`Trace::sources`](crate::Trace::sources).
    SourceId;
    /// A [`Device`](crate::model::Device) of [`Trace::devices`](crate::Trace::devices).
    DeviceId;
    /// A [`Track`](crate::model::Track) of [`Trace::tracks`](crate::Trace::tracks).
    TrackId;
    /// An [`EventMeta`](crate::model::EventMeta) of [`Trace::metas`](crate::Trace::metas).
    MetaId;
    /// A [`Program`](crate::model::Program) of [`Trace::programs`](crate::Trace::programs).
    ProgramId;
}
