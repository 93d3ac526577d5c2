//! Stretches of time on the command line: a number and its unit, or the numbers of steps.

use xscope_trace::Picos;

/// Parses a time.
pub(super) fn time(text: &str) -> Result<Picos, String> {
    let units = [("ms", 1e9), ("us", 1e6), ("ns", 1e3), ("ps", 1.0), ("s", 1e12)];
    let (number, unit) = units
        .into_iter()
        .find_map(|(unit, picos)| Some((text.strip_suffix(unit)?, picos)))
        .ok_or("expected a number and its unit: s, ms, us, ns, ps")?;
    let value: f64 =
        number.trim().parse().map_err(|error| format!("{number:?} is no number: {error}"))?;
    let picos = (value * unit).round();
    if !picos.is_finite() || picos.abs() > 9e18 {
        return Err("longer than any trace".to_owned());
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
    let picos = picos as i64;
    Ok(Picos(picos))
}

/// A number, or two with `..` between them, the last included.
pub(super) fn steps(text: &str) -> Result<(i64, i64), String> {
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let number = |text: &str| text.trim().parse::<i64>().ok();
    let steps = number(first).zip(number(last));
    let steps = steps.ok_or("expected a number, or two with .. between them, as in 3..5")?;
    if steps.0 > steps.1 {
        return Err(format!("step {} comes after step {}", steps.0, steps.1));
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::{Picos, steps, time};

    #[test]
    fn steps_are_numbers_or_ranges() {
        assert_eq!(steps("3..5"), Ok((3, 5)));
        assert_eq!(steps("7"), Ok((7, 7)));
        assert!(steps("5..3").is_err() && steps("a..b").is_err());
    }

    #[test]
    fn times_have_units() {
        assert_eq!(time("1.2s"), Ok(Picos(1_200_000_000_000)));
        assert_eq!(time("350ms"), Ok(Picos(350_000_000_000)));
        assert_eq!(time("-1ps"), Ok(Picos(-1)));
        for text in ["", "12", "s", "1e300s", "nans", "1 h"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
