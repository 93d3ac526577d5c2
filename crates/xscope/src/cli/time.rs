//! Times on the command line: a number and its unit.

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

#[cfg(test)]
mod tests {
    use super::{Picos, time};

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
