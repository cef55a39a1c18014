//! The folder in which the past that was learned from is kept: the last one and the one before.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use kompass_history::History;
use kompass_service::logging::chain;

use crate::kept;

const CURRENT: &str = "past";
const PREVIOUS: &str = "past.previous";
/// Not whole yet; of no use to anybody.
const UNFINISHED: &str = "past.unfinished";

/// Why nothing could be kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of this name stays as it was.
    #[error("failed to write {path}", path = path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It could not be read back.
    #[error("failed to keep the past: its {0} bytes are more than {max}; learn from less (--since)", max = kept::MAX_BYTES)]
    Large(usize),
}

/// Writes a file beside what is there, and only then puts it in its place: whenever the machine stops, one good file is left.
pub fn write(folder: &Path, bytes: &[u8]) -> Result<(), Error> {
    if bytes.len() > kept::MAX_BYTES {
        return Err(Error::Large(bytes.len()));
    }
    let [current, previous, unfinished] = [CURRENT, PREVIOUS, UNFINISHED].map(|name| folder.join(name));
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Write { path, source }
    };
    let written = File::create(&unfinished).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(failed(&unfinished))?;
    if read(&current).is_ok_and(|bytes| bytes.is_some_and(|bytes| kept::keeps(&bytes))) {
        fs::rename(&current, &previous).map_err(failed(&previous))?;
    }
    fs::rename(&unfinished, &current).map_err(failed(&current))?;
    // The names are the folder's.
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(failed(folder))
}

/// The past that is kept, and in words what was wrong with files.
pub fn load(folder: &Path, now_ms: i64) -> (Option<History>, Option<String>) {
    let mut troubles = Vec::new();
    let [current, previous] = [CURRENT, PREVIOUS].map(|name| {
        let path = folder.join(name);
        let bytes = read(&path);
        bytes.unwrap_or_else(|error| {
            troubles.push(format!("failed to read {}: {error}", path.display()));
            None
        })
    });
    let (history, errors) = kept::choose(current.as_deref(), previous.as_deref(), now_ms);
    troubles.extend(errors.iter().map(|error| chain(error)));
    if history.is_none() && troubles.is_empty() {
        troubles.push(format!("there is no model file in {}", folder.display()));
    }
    (history, (!troubles.is_empty()).then(|| troubles.join("; ")))
}

/// One byte more than is allowed at most, for that to be noticed.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(kept::MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kept::encode;
    use crate::kept::tests::model;

    /// Two files after each other, told apart by how much they know.
    fn two() -> (Vec<u8>, Vec<u8>, i64) {
        let mut model = model();
        let newer = encode(&model);
        model.gangs.pop();
        (encode(&model), newer, model.until_ms)
    }

    fn gangs(folder: &Path, now_ms: i64) -> (Option<usize>, Option<String>) {
        let (history, trouble) = load(folder, now_ms);
        (history.map(|history| history.gangs.len()), trouble)
    }

    #[test]
    fn the_last_good_file_is_used_whatever_became_of_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let (older, newer, now_ms) = two();
        let (none, trouble) = gangs(folder.path(), now_ms);
        assert!(none.is_none() && trouble.is_some_and(|trouble| trouble.contains("there is no model file")));
        write(folder.path(), &older).unwrap();
        assert_eq!(gangs(folder.path(), now_ms), (Some(143), None));
        write(folder.path(), &newer).unwrap();
        assert_eq!(gangs(folder.path(), now_ms), (Some(144), None));
        // The machine stopped between the two renames.
        let current = folder.path().join(CURRENT);
        fs::remove_file(&current).unwrap();
        assert_eq!(gangs(folder.path(), now_ms), (Some(143), None));
        // Torn: it is told, and does not push the good one out with the next write.
        fs::write(&current, &newer[..newer.len() / 2]).unwrap();
        let (some, trouble) = gangs(folder.path(), now_ms);
        assert_eq!(some, Some(143));
        assert!(trouble.is_some_and(|trouble| trouble.contains("checksum")));
        write(folder.path(), &newer).unwrap();
        assert_eq!(fs::read(folder.path().join(PREVIOUS)).unwrap(), older);
        assert_eq!(gangs(folder.path(), now_ms), (Some(144), None));
        assert!(!folder.path().join(UNFINISHED).exists());
    }

    #[test]
    fn a_folder_that_is_gone_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        let error = write(&gone, b"").unwrap_err();
        assert!(chain(&error).contains("gone/past.unfinished"), "{error}");
        assert!(load(&gone, 0).1.is_some());
    }
}
