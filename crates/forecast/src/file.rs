//! A model as bytes, and which of the two kept ones to use. Reading and writing them is done elsewhere.
//!
//! The bytes are a line with a name, a version and a checksum, and what they are of. Others may write files of their own kind
//! with [`seal`] and read them with [`open`].

use sha2::{Digest as _, Sha256};

use crate::model::Model;

/// Version of the format that this code writes and reads.
pub const VERSION: u32 = 1;
/// Bytes of a file at most.
pub const MAX_BYTES: usize = 16 << 20;
const NAME: &str = "kompass-forecast";

/// Why a file was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a model's file, or cut off before its first line ends.
    #[error("failed to read the model file: its first line is not that of a model; a new one comes with the next fit")]
    Header,
    /// More than any model needs.
    #[error("failed to read the model file: {0} bytes are more than {1}; a new one comes with the next fit")]
    Large(usize, usize),
    /// Written by another version.
    #[error("failed to read the model file: version {0} is not {1}; a new one comes with the next fit")]
    Version(String, u32),
    /// Changed or cut off after it was written.
    #[error("failed to read the model file: its checksum does not match; a new one comes with the next fit")]
    Checksum,
    /// Not what this version writes.
    #[error("failed to read the model file: not the JSON of a model; a new one comes with the next fit")]
    Malformed(#[source] serde_json::Error),
    /// Out of bounds.
    #[error("failed to read the model file: its numbers are out of bounds; a new one comes with the next fit")]
    Unsound,
}

/// What a file is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Its name, a word.
    pub name: &'static str,
    /// Version of the format.
    pub version: u32,
    /// Bytes of a file at most.
    pub max_bytes: usize,
}

const MODEL: Kind = Kind {
    name: NAME,
    version: VERSION,
    max_bytes: MAX_BYTES,
};

/// A file of a kind.
pub fn seal(kind: Kind, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{} {} {}\n", kind.name, kind.version, checksum(body)).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// What a file of a kind holds, to the last bit.
pub fn open(kind: Kind, bytes: &[u8]) -> Result<&[u8], Error> {
    if bytes.len() > kind.max_bytes {
        return Err(Error::Large(bytes.len(), kind.max_bytes));
    }
    let end = bytes.iter().position(|&byte| byte == b'\n').ok_or(Error::Header)?;
    let (header, body) = (&bytes[..end], &bytes[end + 1..]);
    let header = std::str::from_utf8(header).map_err(|_| Error::Header)?;
    let [name, version, sum] = header.split(' ').collect::<Vec<_>>()[..] else {
        return Err(Error::Header);
    };
    if name != kind.name {
        return Err(Error::Header);
    }
    if version != kind.version.to_string() {
        return Err(Error::Version(version.chars().take(20).collect(), kind.version));
    }
    if sum != checksum(body) {
        return Err(Error::Checksum);
    }
    Ok(body)
}

/// Writes a model.
pub fn encode(model: &Model) -> Vec<u8> {
    let body = serde_json::to_vec(model).expect("a model has string keys and finite numbers only");
    seal(MODEL, &body)
}

/// Reads a model.
pub fn decode(bytes: &[u8]) -> Result<Model, Error> {
    let model: Model = serde_json::from_slice(open(MODEL, bytes)?).map_err(Error::Malformed)?;
    if model.is_sound() {
        Ok(model)
    } else {
        Err(Error::Unsound)
    }
}

/// The model to use: that of the current file, else that of the one before. What was wrong with files is told, whether or
/// not there is a model.
pub fn choose(current: Option<&[u8]>, previous: Option<&[u8]>) -> (Option<Model>, Vec<Error>) {
    let mut errors = Vec::new();
    for bytes in [current, previous].into_iter().flatten() {
        match decode(bytes) {
            Ok(model) => return (Some(model), errors),
            Err(error) => errors.push(error),
        }
    }
    (None, errors)
}

/// Whether the current file is to be kept as the previous one when a new one is written: only a good one pushes a good one
/// out.
pub fn keeps(current: &[u8]) -> bool {
    decode(current).is_ok()
}

fn checksum(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::{fitted, naive};

    #[test]
    fn a_model_survives_its_file_to_the_last_bit() {
        for model in [fitted(), naive()] {
            assert_eq!(decode(&encode(&model)).unwrap(), model);
        }
    }

    #[test]
    fn every_changed_or_missing_byte_is_noticed() {
        let good = encode(&fitted());
        for index in (0..good.len()).step_by(97).chain(0..90) {
            let mut changed = good.clone();
            changed[index] ^= 1;
            assert!(decode(&changed).is_err(), "byte {index}");
            assert!(decode(&good[..index]).is_err(), "cut at {index}");
        }
        assert!(matches!(decode(&vec![b'a'; MAX_BYTES + 1]), Err(Error::Large(..))));
    }

    #[test]
    fn refuses_other_versions_and_numbers_out_of_bounds() {
        let with = |version: u32, body: &str| format!("{NAME} {version} {}\n{body}", checksum(body.as_bytes()));
        let body = serde_json::to_string(&fitted()).unwrap();
        assert!(decode(with(1, &body).as_bytes()).is_ok());
        assert!(matches!(decode(with(2, &body).as_bytes()), Err(Error::Version(version, 1)) if version == "2"));
        assert!(matches!(decode(with(1, "{}").as_bytes()), Err(Error::Malformed(_))));
        let spoilt = [
            ("\"gamma\":0.01", "\"gamma\":0.5"),
            ("\"bucket_ms\":3600000", "\"bucket_ms\":0"),
        ];
        for (good, bad) in spoilt {
            assert!(body.contains(good));
            let error = decode(with(1, &body.replace(good, bad)).as_bytes()).unwrap_err();
            assert!(matches!(error, Error::Unsound), "{bad}: {error}");
        }
    }

    #[test]
    fn falls_back_to_the_previous_good_file() {
        let (good, other) = (encode(&fitted()), encode(&naive()));
        assert_eq!(choose(Some(&good), Some(&other)).0, Some(fitted()));
        let (model, errors) = choose(Some(&good[..200]), Some(&other));
        assert_eq!((model, errors.len()), (Some(naive()), 1));
        assert_eq!(choose(None, Some(&other)).0, Some(naive()));
        let (model, errors) = choose(Some(b""), Some(b"x"));
        assert_eq!((model, errors.len()), (None, 2));
        assert!(keeps(&good) && !keeps(&good[..200]));
    }
}
