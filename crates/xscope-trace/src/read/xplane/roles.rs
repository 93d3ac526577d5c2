//! The stats that decide where an event belongs.

use rustc_hash::FxHashMap;

use crate::read::xplane::stat::{StatValue, usual_value};

/// The stats that decide where an event belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    HloOp,
    HloModule,
    ProgramId,
    RunId,
    DeviceOrdinal,
    /// What only a host's call to a GPU has, which names the operation that it launches.
    CorrelationId,
    /// What TensorFlow calls the operation that launched a kernel.
    Annotation,
}

impl Role {
    pub(super) fn of(stat: &str) -> Option<Self> {
        match stat {
            "hlo_op" => Some(Self::HloOp),
            "hlo_module" => Some(Self::HloModule),
            "program_id" => Some(Self::ProgramId),
            "run_id" => Some(Self::RunId),
            "device_ordinal" => Some(Self::DeviceOrdinal),
            "correlation_id" => Some(Self::CorrelationId),
            "annotation" => Some(Self::Annotation),
            _ => None,
        }
    }
}

/// The roles of a plane's stats by their id.
pub(super) struct Roles {
    /// By id, for the small numbers that all recorders use.
    small: [Option<Role>; 128],
    other: FxHashMap<i64, Role>,
}

impl Roles {
    pub(super) fn new(roles: impl Iterator<Item = (i64, Role)>) -> Self {
        let mut table = Self { small: [None; 128], other: FxHashMap::default() };
        for (id, role) in roles {
            match usize::try_from(id).ok().and_then(|id| table.small.get_mut(id)) {
                Some(slot) => *slot = Some(role),
                None => drop(table.other.insert(id, role)),
            }
        }
        table
    }

    pub(super) fn get(&self, id: i64) -> Option<Role> {
        match usize::try_from(id).ok().and_then(|id| self.small.get(id)) {
            Some(&role) => role,
            None => self.other.get(&id).copied(),
        }
    }

    /// The role and value of a stat that is laid out as all recorders do it, or that it has no
    /// role; `None` if it must be looked at more closely.
    #[inline]
    pub(super) fn of_usual<'a>(&self, stat: &'a [u8]) -> Option<Option<(Role, StatValue<'a>)>> {
        let &[0x08, id, _, ..] = stat else { return None };
        match *self.small.get(usize::from(id))? {
            None => Some(None),
            Some(role) => usual_value(stat).map(|value| Some((role, value))),
        }
    }
}
