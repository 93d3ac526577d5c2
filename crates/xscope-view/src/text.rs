//! Numbers, bars and names as text.

pub(crate) use xscope_analysis::words::{duration, percent};
use xscope_trace::Metric;
use xscope_trace::metric::Status;

/// What a metric's value is as text, marked if it is degraded; `-` if it has none.
pub(crate) fn marked(metric: &Metric, as_text: impl Fn(f64) -> String) -> String {
    let mark = if metric.status == Status::Degraded { "?" } else { "" };
    metric.value.map_or_else(|| "-".to_owned(), |value| as_text(value) + mark)
}

/// A duration in microseconds, marked if it is degraded, `-` if it is not known.
pub(crate) fn known_duration(us: &Metric) -> String {
    marked(us, duration)
}

/// A count or rate with an SI prefix.
pub(crate) fn si(value: f64, unit: &str) -> String {
    let steps = [(1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match steps.iter().find(|(step, _)| value.abs() >= *step) {
        Some((step, prefix)) => format!("{:.2} {prefix}{unit}", value / step),
        None => format!("{value:.0} {unit}").trim_end().to_owned(),
    }
}

/// A metric's value, marked if it is degraded; `-` if it has none.
pub(crate) fn metric(metric: &Metric, digits: usize) -> String {
    marked(metric, |value| format!("{value:.digits$}"))
}

/// A rate with an SI prefix, marked if it is degraded; `-` if it has none.
pub(crate) fn rate(metric: &Metric) -> String {
    marked(metric, |value| si(value, ""))
}

/// A share, marked if it is degraded; `-` if it is not known.
pub(crate) fn share(metric: &Metric) -> String {
    marked(metric, percent)
}

/// A bar of up to `width` cells for a share between 0 and 1.
pub(crate) fn bar(share: f64, width: u8) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0..=8 * width"
    )]
    let eighths = (share.clamp(0.0, 1.0) * f64::from(width) * 8.0).round() as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

/// A name cut to `width` characters, the middle left out: the ends tell names apart.
pub(crate) fn shorten(name: &str, width: usize) -> String {
    let chars: Vec<char> =
        name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if chars.len() <= width {
        return chars.into_iter().collect();
    }
    let tail = width / 3;
    let head = width.saturating_sub(tail + 1);
    let start: String = chars[..head].iter().collect();
    let end: String = chars[chars.len() - tail..].iter().collect();
    format!("{start}…{end}")
}

#[cfg(test)]
mod tests {
    use super::{bar, duration, shorten, si};

    #[test]
    fn durations_take_the_unit_that_suits() {
        for (us, expected) in [
            (1_234_567.0, "1.235 s"),
            (1_234.5, "1.234 ms"),
            (12.345, "12.35 us"),
            (0.5, "500.000 ns"),
        ] {
            assert_eq!(duration(us), expected);
        }
    }

    #[test]
    fn bars_are_as_long_as_their_share() {
        assert_eq!(bar(1.0, 4), "████");
        assert_eq!(bar(0.5, 3), "█▌");
        assert_eq!(bar(f64::NAN, 3), "");
    }

    #[test]
    fn long_names_keep_both_ends() {
        assert_eq!(shorten("abcdefghij", 7), "abcd…ij");
        assert_eq!(shorten("a\x1b[31mb", 20), "a\u{fffd}[31mb");
        assert_eq!(si(918e12, "FLOP/s"), "918.00 TFLOP/s");
        assert_eq!(si(376.0, ""), "376");
    }
}
