//! The file in which the facts are kept.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::Facts;

/// A few thousand types in all zones.
const MAX_BYTES: u64 = 8 << 20;

/// Why they could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file stays as it was.
    #[error("failed to write {path}: check the folder and its room", path = .path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It may not be read.
    #[error("failed to read {path}", path = .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is not what is written here.
    #[error("failed to understand {path}: it is not used, and written anew", path = .path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

/// Writes a file beside what is there, and only then puts it in its place: whenever the machine stops, a whole one is left.
pub fn write(path: &Path, facts: &Facts) -> Result<(), Error> {
    let failed = |source| Error::Write {
        path: path.to_owned(),
        source,
    };
    let bytes = serde_json::to_vec(facts).map_err(|error| failed(error.into()))?;
    let mut unfinished = OsString::from(path);
    unfinished.push(".unfinished");
    let put = || {
        let mut file = File::create(&unfinished)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        // The name is the folder's.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
    };
    put().map_err(failed)
}

/// What is kept; nothing where there is no file yet.
pub fn read(path: &Path) -> Result<Facts, Error> {
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Facts::default()),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    serde_json::from_slice(&bytes).map_err(|source| Error::Malformed {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("facts.json");
        assert_eq!(read(&path).unwrap(), Facts::default());
        let mut facts = Facts::default().in_region("r");
        facts.boots.add("i", 0, 70_000);
        facts.on_demand.take(Ok([("a".to_owned(), 1)].into()), 5);
        write(&path, &facts).unwrap();
        assert_eq!(read(&path).unwrap(), facts);
        // A later version may know more, and an earlier one less.
        fs::write(&path, r#"{"region":"r","more":1}"#).unwrap();
        assert_eq!(read(&path).unwrap(), Facts::default().in_region("r"));
        fs::write(&path, r#"{"region":"#).unwrap();
        assert!(matches!(read(&path), Err(Error::Malformed { .. })));
        write(&path, &facts).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_is_gone_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let error = write(&folder.path().join("gone/facts.json"), &Facts::default()).unwrap_err();
        assert!(error.to_string().contains("gone/facts.json"), "{error}");
    }
}
