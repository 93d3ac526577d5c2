//! Times as decimal text, without a detour through floating point.
//!
//! JAX prints microseconds with 17 significant digits (`9.9999999999999995e-07` is one
//! picosecond), and Unix time in microseconds leaves a double only a quarter of a microsecond.

/// Picoseconds in a decimal number of microseconds, rounded to the nearest; `None` for what is no
/// number or lies outside the range.
pub(super) fn picos_from_micros(text: &[u8]) -> Option<i128> {
    let (negative, text) = match text.first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let number = Decimal::parse(text)?;
    let value = number.scaled(6)?;
    Some(if negative { -value } else { value })
}

/// Powers of ten that fit a `u64`.
const POWERS: [u64; 20] = {
    let mut powers = [1; 20];
    let mut index = 1;
    while index < 20 {
        powers[index] = powers[index - 1] * 10;
        index += 1;
    }
    powers
};

/// Digits that are kept: as many as fit a `u128`.
const MAX_DIGITS: u32 = 38;

/// Exponents beyond this make everything zero or too large.
const MAX_EXPONENT: i32 = 100;

/// An unsigned decimal number: `mantissa * 10^exponent`.
struct Decimal {
    mantissa: u128,
    exponent: i32,
}

impl Decimal {
    fn parse(text: &[u8]) -> Option<Self> {
        let (mut low, mut wide, mut digits) = (0_u64, 0_u128, 0_u32);
        let (mut exponent, mut seen, mut fraction) = (0_i32, false, false);
        let mut at = 0;
        while let Some(&byte) = text.get(at) {
            match byte {
                b'0'..=b'9' => {
                    seen = true;
                    let digit = byte - b'0';
                    if digits < 19 {
                        low = low * 10 + u64::from(digit);
                    } else if digits < MAX_DIGITS {
                        wide = if digits == 19 { u128::from(low) } else { wide };
                        wide = wide * 10 + u128::from(digit);
                    } else {
                        // Too small to matter behind the point, and to be counted before it.
                        exponent = exponent.saturating_add(i32::from(!fraction));
                        at += 1;
                        continue;
                    }
                    digits += u32::from(digits > 0 || digit > 0);
                    exponent = exponent.saturating_sub(i32::from(fraction));
                }
                b'.' if !fraction => fraction = true,
                b'e' | b'E' if seen => {
                    exponent = exponent.saturating_add(parse_exponent(&text[at + 1..])?);
                    break;
                }
                _ => return None,
            }
            at += 1;
        }
        let mantissa = if digits > 19 { wide } else { u128::from(low) };
        seen.then_some(Self { mantissa, exponent })
    }

    /// The number times `10^power`, rounded half up.
    fn scaled(&self, power: i32) -> Option<i128> {
        let exponent = self.exponent.saturating_add(power);
        let magnitude = usize::try_from(exponent.unsigned_abs()).ok()?;
        if exponent >= 0 {
            if self.mantissa == 0 {
                return Some(0);
            }
            let factor = 10_u128.checked_pow(exponent.unsigned_abs())?;
            return i128::try_from(self.mantissa.checked_mul(factor)?).ok();
        }
        if let (Ok(mantissa), Some(&divisor)) =
            (u64::try_from(self.mantissa), POWERS.get(magnitude))
        {
            let (whole, rest) = (mantissa / divisor, mantissa % divisor);
            return Some(i128::from(whole) + i128::from(rest >= divisor.div_ceil(2)));
        }
        let Some(divisor) = 10_u128.checked_pow(exponent.unsigned_abs()) else { return Some(0) };
        let (whole, rest) = (self.mantissa / divisor, self.mantissa % divisor);
        i128::try_from(whole + u128::from(rest >= divisor.div_ceil(2))).ok()
    }
}

fn parse_exponent(text: &[u8]) -> Option<i32> {
    let (negative, digits) = match text.first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0_i32;
    for &byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = (value * 10 + i32::from(byte - b'0')).min(MAX_EXPONENT);
    }
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::picos_from_micros;

    fn check(text: &str, expected: Option<i128>) {
        assert_eq!(picos_from_micros(text.as_bytes()), expected, "{text}");
    }

    #[test]
    fn decimal_text_becomes_exact_picoseconds() {
        check("0", Some(0));
        check("100", Some(100_000_000));
        check("-0.5", Some(-500_000));
        check("+.75", Some(750_000));
        check("246.", Some(246_000_000));
        check("9.8339999999999996", Some(9_834_000));
        check("9.9999999999999995e-07", Some(1));
        check("1.5E3", Some(1_500_000_000));
        check("0.0000004", Some(0));
        check("0.0000005", Some(1));
        check("1850244461563845.123456", Some(1_850_244_461_563_845_123_456));
        check("00000000000000000000000000000000000000000001", Some(1_000_000));
        check("1e-99999999999", Some(0));
        check("0e99999999999", Some(0));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in ["", "-", ".", "invalid", "1.5e", "2e+", "1.2.3", "1x", "1e999", "NaN"] {
            check(text, None);
        }
        check(&"9".repeat(60), None);
    }
}
