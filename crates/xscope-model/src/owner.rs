//! Whose an allocation is.
//!
//! The model marks what it creates; the counting is the caller's, who owns the allocator.

/// Whose an allocation is, for memory reports.
///
/// [`Owner::index`] is the position in [`crate::OpRecord::live_bytes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Owner {
    /// The parameters of the model, alive as long as it is loaded.
    Weights,
    /// Keys and values of attention.
    Kv,
    /// Everything else that a forward pass computes.
    Activations,
    /// What is no part of the model.
    Other,
}

impl Owner {
    /// How many owners there are.
    pub const COUNT: usize = 4;

    /// All owners, in the order of [`Owner::index`].
    pub const ALL: [Self; Self::COUNT] = [Self::Weights, Self::Kv, Self::Activations, Self::Other];

    /// The owner's position in per-owner arrays, below [`Owner::COUNT`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The owner's name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Kv => "kv",
            Self::Activations => "activations",
            Self::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_is_the_position_in_all() {
        for (position, owner) in Owner::ALL.into_iter().enumerate() {
            assert_eq!(owner.index(), position);
        }
    }
}
