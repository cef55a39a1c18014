//! Spark's own notations of sizes and numbers, read as Spark reads them.

/// The unit of a size without a suffix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Byte,
    /// MiB.
    Mebibyte,
}

impl Unit {
    const fn power(self) -> u32 {
        match self {
            Self::Byte => 0,
            Self::Mebibyte => 20,
        }
    }
}

/// A size such as `1g`, `512m`, `1024`, `2TB`, in `unit`, rounded down as Spark's `JavaUtils.byteStringAs` does.
///
/// Suffixes b, k, m, g, t, p, each but b also with a further b, are powers of 1024 in any case of letters. `None` for
/// everything that Spark refuses (fractions, other suffixes, more than 2^63 - 1) and for negative sizes.
pub fn size(text: &str, unit: Unit) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits_end = lower.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(lower.len());
    let (digits, suffix) = lower.split_at(digits_end);
    let number: u64 = digits.parse().ok().filter(|&number| i64::try_from(number).is_ok())?;
    let power = match suffix {
        "" => unit.power(),
        "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        "t" | "tb" => 40,
        "p" | "pb" => 50,
        _ => return None,
    };
    if power >= unit.power() {
        number
            .checked_mul(1 << (power - unit.power()))
            .filter(|&size| i64::try_from(size).is_ok())
    } else {
        Some(number >> (unit.power() - power))
    }
}

/// A span of time such as `1s`, `500ms`, `2min`, in milliseconds, rounded down as Spark's `JavaUtils.timeStringAs` does.
///
/// Suffixes us, ms, s, m, min, h and d, in any case of letters; without one it is milliseconds. `None` for everything that
/// Spark refuses, and for negative times.
pub fn milliseconds(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits_end = lower.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(lower.len());
    let (digits, suffix) = lower.split_at(digits_end);
    let number: u64 = digits.parse().ok()?;
    let factor = match suffix {
        "us" => return Some(number / 1_000),
        "" | "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(factor).filter(|&ms| i64::try_from(ms).is_ok())
}

/// A whole number from 0 to 2^31 - 1, as `Integer.parseInt` reads it after trimming; `None` for all else.
pub fn integer(text: &str) -> Option<u64> {
    text.trim()
        .parse::<i32>()
        .ok()
        .and_then(|number| u64::try_from(number).ok())
}

/// `true` or `false` in any case of letters.
pub fn boolean(text: &str) -> Option<bool> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else {
        text.eq_ignore_ascii_case("false").then_some(false)
    }
}

/// A memory overhead factor: a finite number from 0 to 1000.
pub fn factor(text: &str) -> Option<f64> {
    let text = text.trim();
    // Java allows one letter for the type behind the number.
    let number = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    number
        .parse::<f64>()
        .ok()
        .filter(|factor| (0.0..=1000.0).contains(factor))
}

/// `(int) (factor * mib)`: Spark multiplies in doubles and cuts the fraction off, so the same is done here.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "Spark's own formula; the cast saturates at both ends"
)]
pub fn share(factor: f64, mib: u64) -> u64 {
    ((factor * mib as f64) as u64).min(i32::MAX as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read_as_spark_reads_them() {
        for (text, expected) in [
            ("1s", Some(1_000)),
            (" 500MS ", Some(500)),
            ("250", Some(250)),
            ("1500us", Some(1)),
            ("2m", Some(120_000)),
            ("2min", Some(120_000)),
            ("1h", Some(3_600_000)),
            ("1d", Some(86_400_000)),
            ("1.5s", None),
            ("-1s", None),
            ("s", None),
            ("", None),
            ("1w", None),
            ("9223372036854775807d", None),
        ] {
            assert_eq!(milliseconds(text), expected, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_as_spark_reads_them() {
        for (text, mib, bytes) in [
            ("1g", Some(1024), Some(1 << 30)),
            ("1G", Some(1024), Some(1 << 30)),
            ("512m", Some(512), Some(512 << 20)),
            ("1024", Some(1024), Some(1024)),
            (" 2t ", Some(2 << 20), Some(2 << 40)),
            ("1kb", Some(0), Some(1024)),
            ("1500k", Some(1), Some(1_536_000)),
            ("1048576b", Some(1), Some(1 << 20)),
            ("1pb", Some(1 << 30), Some(1 << 50)),
            ("0", Some(0), Some(0)),
            (
                "9223372036854775807",
                Some(9_223_372_036_854_775_807),
                Some(9_223_372_036_854_775_807),
            ),
            ("9223372036854775808", None, None),
            ("9000000000000g", Some(9_216_000_000_000_000), None),
            ("-1g", None, None),
            ("1.5g", None, None),
            ("1e9", None, None),
            ("1gib", None, None),
            ("1 g", None, None),
            ("g", None, None),
            ("", None, None),
            ("+1", None, None),
            ("\u{661}g", None, None),
        ] {
            assert_eq!(size(text, Unit::Mebibyte), mib, "{text} in MiB");
            assert_eq!(size(text, Unit::Byte), bytes, "{text} in bytes");
        }
    }

    #[test]
    fn numbers_and_truths() {
        for (text, expected) in [
            ("2", Some(2)),
            (" +7 ", Some(7)),
            ("-1", None),
            ("1e9", None),
            ("2147483648", None),
            ("", None),
            ("0x1", None),
        ] {
            assert_eq!(integer(text), expected, "{text}");
        }
        for (text, expected) in [
            ("true", Some(true)),
            (" TRUE", Some(true)),
            ("False", Some(false)),
            ("yes", None),
        ] {
            assert_eq!(boolean(text), expected, "{text}");
        }
        for (text, good) in [
            ("0.1", true),
            ("1e-1", true),
            (".5d", true),
            ("-0.1", false),
            ("NaN", false),
            ("inf", false),
            ("1e9", false),
        ] {
            assert_eq!(factor(text).is_some(), good, "{text}");
        }
    }

    #[test]
    fn shares_are_cut_like_java_cuts_them() {
        for (factor, mib, expected) in [
            (0.1, 1024, 102),
            (0.29, 100, 28),
            (0.4, 8192, 3276),
            (1000.0, u64::MAX, 2_147_483_647),
        ] {
            assert_eq!(share(factor, mib), expected, "{factor} of {mib}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,30}") {
            let _ = (size(&text, Unit::Byte), size(&text, Unit::Mebibyte), integer(&text), boolean(&text), factor(&text));
        }

        #[test]
        fn a_larger_number_is_never_a_smaller_size(a in 0..1_u64 << 40, b in 0..1_u64 << 40, suffix in "(|b|k|kb|m|mb|g)") {
            let of = |number: u64| size(&format!("{number}{suffix}"), Unit::Mebibyte);
            prop_assert!(of(a.min(b)) <= of(a.max(b)));
        }
    }
}
