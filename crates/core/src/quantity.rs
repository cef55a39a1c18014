//! Kubernetes quantities (`1500m`, `2Gi`, `1e3`) as exact integers.
//!
//! Grammar: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>. As Kubernetes does,
//! a fraction of the asked unit is rounded up.

/// Why a quantity was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not of the grammar.
    #[error("failed to read quantity {0:?}: not a number with a Kubernetes suffix (m, k, Ki, M, Mi, G, Gi, ...)")]
    Malformed(String),
    /// Below zero, which no request may be.
    #[error("failed to read quantity {0:?}: negative")]
    Negative(String),
    /// More than 2^64 - 1 of the asked unit.
    #[error("failed to read quantity {0:?}: too large")]
    TooLarge(String),
}

/// Whole units (bytes of memory, GPUs), rounded up.
pub fn units(text: &str) -> Result<u64, Error> {
    parse(text, 0)
}

/// Thousandths (of a CPU), rounded up.
pub fn milli(text: &str) -> Result<u64, Error> {
    parse(text, 3)
}

/// `value * 10^scale`, rounded up.
fn parse(text: &str, scale: i32) -> Result<u64, Error> {
    let malformed = || Error::Malformed(text.to_owned());
    let (sign, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (-1, &text[1..]),
        Some(b'+') => (1, &text[1..]),
        _ => (1, text),
    };
    let number_end = unsigned
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(number_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(malformed());
    }
    let (binary_power, suffix_exponent) = suffix_scale(suffix).ok_or_else(malformed)?;

    // value = digits * 10^exponent * 2^binary_power
    let digits: String = whole.chars().chain(fraction.chars()).collect();
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Ok(0);
    }
    if sign < 0 {
        return Err(Error::Negative(text.to_owned()));
    }
    let too_large = || Error::TooLarge(text.to_owned());
    let fraction_digits = i32::try_from(fraction.len()).map_err(|_| malformed())?;
    let exponent = suffix_exponent.saturating_add(scale).saturating_sub(fraction_digits);
    // Trailing zeros of a fraction carry no value; without them 38 digits are more than any u64 needs.
    let significant = digits.trim_end_matches('0');
    let exponent = exponent + i32::try_from(digits.len() - significant.len()).map_err(|_| malformed())?;
    if significant.len() > 38 {
        return Err(malformed());
    }
    let mantissa: u128 = significant.parse().map_err(|_| malformed())?;
    let value = if exponent >= 0 {
        let power = 10_u128.checked_pow(exponent.unsigned_abs()).ok_or_else(too_large)?;
        mantissa
            .checked_mul(power)
            .and_then(|value| shift(value, binary_power))
            .ok_or_else(too_large)?
    } else {
        let shifted = shift(mantissa, binary_power).ok_or_else(too_large)?;
        10_u128
            .checked_pow(exponent.unsigned_abs())
            .map_or(1, |power| shifted.div_ceil(power))
    };
    u64::try_from(value).map_err(|_| too_large())
}

fn shift(value: u128, power: u32) -> Option<u128> {
    value.checked_mul(1_u128.checked_shl(power)?)
}

/// Power of two and power of ten of a suffix.
fn suffix_scale(suffix: &str) -> Option<(u32, i32)> {
    Some(match suffix {
        "" => (0, 0),
        "n" => (0, -9),
        "u" => (0, -6),
        "m" => (0, -3),
        "k" => (0, 3),
        "M" => (0, 6),
        "G" => (0, 9),
        "T" => (0, 12),
        "P" => (0, 15),
        "E" => (0, 18),
        "Ki" => (10, 0),
        "Mi" => (20, 0),
        "Gi" => (30, 0),
        "Ti" => (40, 0),
        "Pi" => (50, 0),
        "Ei" => (60, 0),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            (0, exponent.parse().ok().filter(|power: &i32| power.abs() <= 1000)?)
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_kubernetes_writes() {
        for (text, in_units, in_milli) in [
            ("0", 0, 0),
            ("1", 1, 1000),
            ("100m", 1, 100),
            ("1500m", 2, 1500),
            ("0.1", 1, 100),
            ("1.5", 2, 1500),
            (".5", 1, 500),
            ("1e3", 1000, 1_000_000),
            ("1E3", 1000, 1_000_000),
            ("12e-1", 2, 1200),
            ("+2", 2, 2000),
            ("896Mi", 939_524_096, 939_524_096_000),
            ("1.5Gi", 1_610_612_736, 1_610_612_736_000),
            ("1k", 1000, 1_000_000),
            ("100n", 1, 1),
            ("1.0000", 1, 1000),
        ] {
            assert_eq!(units(text), Ok(in_units), "{text}");
            assert_eq!(milli(text), Ok(in_milli), "{text}");
        }
        assert_eq!(units("16Ei"), Err(Error::TooLarge("16Ei".into())));
        assert_eq!(units("9E"), Ok(9_000_000_000_000_000_000));
    }

    #[test]
    fn refuses_what_kubernetes_refuses() {
        for text in [
            "", ".", "m", "1.2.3", "1 Gi", "1gi", "1e", "1e+", "0x10", "--1", "1ee3", "NaN", "\u{0664}",
        ] {
            assert_eq!(units(text), Err(Error::Malformed(text.into())), "{text}");
        }
        assert_eq!(units("-1"), Err(Error::Negative("-1".into())));
        assert_eq!(units("1e100"), Err(Error::TooLarge("1e100".into())));
    }

    proptest! {
        #[test]
        fn whole_numbers_come_back(value in any::<u64>()) {
            prop_assert_eq!(units(&value.to_string()), Ok(value));
        }

        #[test]
        fn milli_is_a_thousandth(value in 0..u64::MAX / 1000) {
            prop_assert_eq!(milli(&format!("{value}m")), Ok(value));
            prop_assert_eq!(milli(&value.to_string()), Ok(value * 1000));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            let _ = units(&text);
            let _ = milli(&text);
        }
    }
}
