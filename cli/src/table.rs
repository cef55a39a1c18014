//! Plain tables and times for people.

use std::time::Duration;

/// A table: columns as wide as their widest cell, two spaces between them, no space at the end of a line.
pub(crate) fn render(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    let mut text = line(header.to_vec());
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}

/// A whole number with its thousands apart: `82,247`. What is no number is 0.
pub(crate) fn grouped(number: f64) -> String {
    let digits = format!("{:.0}", if number.is_finite() { number.abs() } else { 0.0 });
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0.0 && digits != "0" {
        format!("-{text}")
    } else {
        text
    }
}

/// A span of time in its two largest units: `850 ms`, `4.2 s`, `3 min 20 s`, `2 h 5 min`, `14 d 2 h`; days where there are two or more.
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..172_800 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// The same of seconds; what is no span is none.
pub(crate) fn seconds(seconds: f64) -> String {
    span(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default())
}

/// From one moment to a later one, both in milliseconds since 1970; nothing when it is the other way round.
pub(crate) fn between(from_ms: i64, to_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(to_ms.saturating_sub(from_ms)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let rows = [
            vec!["a".to_owned(), "1".to_owned()],
            vec!["längster".to_owned(), String::new()],
        ];
        assert_eq!(render(&["NAME", "N"], &rows), "NAME      N\na         1\nlängster\n");
    }

    #[test]
    fn thousands_stand_apart() {
        for (number, text) in [
            (0.0, "0"),
            (999.4, "999"),
            (82_247.0, "82,247"),
            (1e6, "1,000,000"),
            (-1_500.0, "-1,500"),
            (-0.2, "0"),
            (f64::NAN, "0"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn spans_show_two_units() {
        for (ms, text) in [
            (0, "0 ms"),
            (850, "850 ms"),
            (4_210, "4.2 s"),
            (200_000, "3 min 20 s"),
            (7_500_000, "2 h 5 min"),
            (172_799_000, "47 h 59 min"),
            (1_218_420_000, "14 d 2 h"),
        ] {
            assert_eq!(span(Duration::from_millis(ms)), text);
        }
        assert_eq!(between(5, 3), Duration::ZERO);
    }
}
