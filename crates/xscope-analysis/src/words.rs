//! Words and numbers of sentences, as every text has them.

/// So many of something that takes an `s` in the plural.
pub fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A share of 1.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// A duration given in microseconds, in the unit that suits it.
pub fn duration(us: f64) -> String {
    match us.abs() {
        x if x >= 1e6 => format!("{:.3} s", us / 1e6),
        x if x >= 1e3 => format!("{:.3} ms", us / 1e3),
        x if x >= 1.0 || x == 0.0 => format!("{us:.2} us"),
        _ => format!("{:.3} ns", us * 1e3),
    }
}
