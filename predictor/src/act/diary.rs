//! The journal in a file, a line of JSON each, for those who come later.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::journal::Entry;

/// From then on it is put aside and a new one begun; two are kept.
const BYTES_MAX: u64 = 8 << 20;

/// Why an entry is not in the file.
#[derive(Debug, thiserror::Error)]
#[error("failed to write the journal {path}: check that the folder is there and has room", path = .path.display())]
pub struct Error {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

/// Adds entries to a file. Blocks: to be called where that does not matter.
pub fn append(path: &Path, entries: &[Entry]) -> Result<(), Error> {
    let failed = |source| Error {
        path: path.to_owned(),
        source,
    };
    let mut text = Vec::new();
    for entry in entries {
        serde_json::to_writer(&mut text, entry).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
    }
    if std::fs::metadata(path).is_ok_and(|about| about.len() + text.len() as u64 > BYTES_MAX) {
        std::fs::rename(path, path.with_extension("old")).map_err(failed)?;
    }
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(failed)?;
    // One write: a process that dies leaves whole lines.
    file.write_all(&text).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::journal::Kind;

    #[test]
    fn it_grows_line_by_line_and_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let entry = |what: String| Entry::new(7, Kind::Aim, "spark", what, "echo".to_owned());
        append(&path, &[entry("3 nodes".into()), entry("4 nodes".into())]).unwrap();
        append(&path, &[entry("5 nodes".into())]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 3);
        assert_eq!(
            text.lines().next(),
            Some(r#"{"at_ms":7,"kind":"aim","target":"spark","what":"3 nodes","why":"echo"}"#)
        );
        append(&path, &[entry("x".repeat(9 << 20))]).unwrap();
        assert_eq!(std::fs::read_to_string(path.with_extension("old")).unwrap(), text);
        let error = append(&folder.path().join("no/journal"), &[entry(String::new())]).unwrap_err();
        assert!(error.to_string().contains("check that the folder"), "{error}");
    }
}
