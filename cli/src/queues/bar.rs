//! A small bar of what a queue uses.

/// Columns of a bar.
const COLUMNS: u64 = 20;

/// A bar that is full at `most`; `mark` is a value on it that is worth seeing.
pub(crate) fn render(used: u64, mark: Option<u64>, most: u64) -> String {
    let column = |value: u64| {
        let columns = u128::from(value) * u128::from(COLUMNS) / u128::from(most.max(1));
        u64::try_from(columns).unwrap_or(COLUMNS).min(COLUMNS)
    };
    // Only one that is all is full, and only one that is nothing is empty.
    let filled = column(used).max(u64::from(used > 0));
    let marked = mark.filter(|&mark| mark > 0).map(|mark| column(mark).min(COLUMNS - 1));
    let cells = (0..COLUMNS).map(|cell| match (marked == Some(cell), cell < filled) {
        (true, _) => '|',
        (false, true) => '█',
        (false, false) => '░',
    });
    cells.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_full_only_where_all_is_used() {
        for (used, mark, most, bar) in [
            (0, None, 10, "░░░░░░░░░░░░░░░░░░░░"),
            (1, None, 1_000, "█░░░░░░░░░░░░░░░░░░░"),
            (5, Some(8), 10, "██████████░░░░░░|░░░"),
            (999, None, 1_000, "███████████████████░"),
            (10, Some(10), 10, "███████████████████|"),
            (30, Some(2), 10, "████|███████████████"),
            (0, Some(0), 0, "░░░░░░░░░░░░░░░░░░░░"),
            (u64::MAX, None, u64::MAX, "████████████████████"),
        ] {
            assert_eq!(render(used, mark, most), bar, "{used} {mark:?} {most}");
        }
    }
}
