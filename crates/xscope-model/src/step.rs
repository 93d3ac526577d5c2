//! One forward pass, as its layers see it.

use candle_core::Tensor;

/// What all layers of one forward pass share.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) batch: usize,
    /// Padded length of the rows, in tokens.
    pub(crate) len: usize,
    /// How many keys a query meets: `len`, and those that are in the cache.
    pub(crate) keys: usize,
    /// The position of each row's first token.
    pub(crate) first: Vec<usize>,
    /// `[len, head_dim / 2]` each, or one for each row.
    pub(crate) cos: Tensor,
    pub(crate) sin: Tensor,
    /// `[len, keys]`, or one for each row: 0 where a query may see a key, -inf where not.
    pub(crate) mask: Tensor,
}
