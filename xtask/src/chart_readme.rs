//! `cargo xtask chart-readme`: the table of values in the chart's README, made from `values.yaml` and its comments.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

const BEGIN: &str = "<!-- Made from values.yaml by `cargo xtask chart-readme`. -->\n";
const END: &str = "<!-- End of what is made. -->\n";

/// What to do with it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Change nothing, but fail if the README is not what the values make.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let (path, stored, wanted) = made()?;
    if stored == wanted {
        return Ok(());
    }
    if args.check {
        bail!(
            "{} is not what values.yaml makes: run `cargo xtask chart-readme`",
            path.display()
        );
    }
    std::fs::write(&path, wanted).with_context(|| format!("failed to write {}", path.display()))
}

/// The README's path, how it is and how it should be.
fn made() -> anyhow::Result<(PathBuf, String, String)> {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/kompass");
    let path = chart.join("README.md");
    let read =
        |path: &Path| std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()));
    let stored = read(&path)?;
    let rows = rows(&read(&chart.join("values.yaml"))?)?;
    let (head, rest) = stored.split_once(BEGIN).context("the README has no place for values")?;
    let (_, tail) = rest
        .split_once(END)
        .context("the README's place for values has no end")?;
    let wanted = format!("{head}{BEGIN}{}{END}{tail}", table(&rows));
    Ok((path, stored, wanted))
}

/// A value.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    key: String,
    default: String,
    comment: String,
}

/// Reads the values line by line, since no reader of YAML tells comments. Understood is what the file uses: mappings of
/// two spaces a level, and values on the line of their key.
fn rows(text: &str) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut keys: Vec<&str> = Vec::new();
    let mut comment = String::new();
    // What is below such a key is one value.
    let mut whole: Option<(usize, Row)> = None;
    for (number, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        let level = (line.len() - trimmed.len()) / 2;
        if trimmed.is_empty() {
            comment.clear();
            continue;
        }
        if let Some((of, row)) = &mut whole {
            if level > *of {
                if let Some((key, value)) = trimmed.split_once(": ") {
                    let _ = write!(row.default, "{key} {value}, ");
                }
                continue;
            }
            rows.extend(whole.take().map(|(_, row)| row));
        }
        if let Some(words) = trimmed.strip_prefix('#') {
            if !comment.is_empty() {
                comment.push(' ');
            }
            comment.push_str(words.trim());
            continue;
        }
        let (key, value) = trimmed
            .split_once(':')
            .with_context(|| format!("failed to read line {} of the values: {line}", number + 1))?;
        keys.truncate(level);
        keys.push(key);
        let row = Row {
            key: keys.join("."),
            default: value.trim().to_owned(),
            comment: std::mem::take(&mut comment),
        };
        if key == "resources" {
            whole = Some((level, row));
        } else if !row.default.is_empty() {
            ensure!(!row.comment.is_empty(), "{} has no comment", row.key);
            rows.push(row);
        }
    }
    rows.extend(whole.map(|(_, row)| row));
    Ok(rows)
}

fn table(rows: &[Row]) -> String {
    let mut table = String::from("| value | what it is | default |\n| --- | --- | --- |\n");
    for Row { key, default, comment } in rows {
        let default = default.trim_end_matches(", ").replace('|', "\\|");
        // Writing to a String can't fail.
        let _ = writeln!(table, "| `{key}` | {} | `{default}` |", comment.replace('|', "\\|"));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_is_what_the_values_make() {
        let (path, stored, wanted) = made().unwrap();
        assert!(stored == wanted, "{}: run `cargo xtask chart-readme`", path.display());
    }

    /// Editors show what the schema says: it must not be something else than the README.
    #[test]
    fn the_schema_says_the_same() {
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/kompass");
        let read = |name: &str| std::fs::read_to_string(chart.join(name)).unwrap();
        let schema: serde_json::Value = serde_json::from_str(&read("values.schema.json")).unwrap();
        for row in rows(&read("values.yaml")).unwrap() {
            let pointer = format!("/properties/{}", row.key.replace('.', "/properties/"));
            let described = &schema.pointer(&pointer).unwrap()["description"];
            assert_eq!(described, row.comment.as_str(), "{}", row.key);
        }
    }

    #[test]
    fn comments_become_rows() {
        let text = "# Of the file.\n\n# How\n# many.\nreplicas: 2\n# A part.\npart:\n  # On.\n  on: true\n  # Given.\n  \
                    resources:\n    requests:\n      cpu: 1\n  # Last.\n  list: []\n";
        let rows = rows(text).unwrap();
        let row = |key: &str, default: &str, comment: &str| Row {
            key: key.into(),
            default: default.into(),
            comment: comment.into(),
        };
        assert_eq!(
            rows,
            [
                row("replicas", "2", "How many."),
                row("part.on", "true", "On."),
                row("part.resources", "cpu 1, ", "Given."),
                row("part.list", "[]", "Last."),
            ]
        );
        assert!(table(&rows).contains("| `part.resources` | Given. | `cpu 1` |\n"));
    }

    #[test]
    fn a_value_without_a_comment_is_refused() {
        assert!(rows("a: 1\n").unwrap_err().to_string().contains("a has no comment"));
    }
}
