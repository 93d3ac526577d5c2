//! Words of sentences that several analyses make.

/// So many of something that takes an `s` in the plural.
pub fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
