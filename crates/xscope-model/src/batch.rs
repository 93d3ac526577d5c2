//! What is run at once.

/// The largest tensor that a forward pass may make: 4 GiB of f32. About two of that size are
/// alive at once. A failed allocation ends the process, so what is too large is refused.
pub(crate) const MAX_TENSOR_ELEMENTS: usize = 1 << 30;

/// The length that prompts of up to `len` tokens are padded to: the first of `paddings`, which ascend, that
/// holds them; where none does, or there are none, their own.
pub fn padded_to(len: usize, paddings: &[usize]) -> usize {
    paddings.iter().copied().find(|&padding| padding >= len).unwrap_or(len)
}

/// Prompts to run at once, as token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaddedBatch {
    /// One row per prompt; the forward pass pads each to the longest.
    pub tokens: Vec<Vec<u32>>,
    /// Rows are padded to this length if all are shorter; 0 asks for no more than the longest.
    pub least_len: usize,
}

impl PaddedBatch {
    /// The length that rows are padded to, in tokens.
    pub fn padded_len(&self) -> usize {
        self.tokens.iter().map(Vec::len).max().unwrap_or(0).max(self.least_len)
    }

    /// Tokens of all rows, without padding.
    pub fn real_tokens(&self) -> usize {
        self.tokens.iter().map(Vec::len).sum()
    }

    /// Tokens that are computed: rows times the padded length.
    pub fn padded_tokens(&self) -> usize {
        self.tokens.len() * self.padded_len()
    }
}
