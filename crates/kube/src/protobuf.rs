//! Lists and watches in Kubernetes' protobuf, which costs the API server and us a small part of what JSON does.
//!
//! An object stands in an envelope: four bytes `k8s\0`, then a `runtime.Unknown` that holds the object's message. A list
//! may be hundreds of megabytes; [`List`] takes it apart as it comes in and holds one item at a time. A watch is a row
//! of frames, each a length in four bytes (big-endian) and a `meta/v1.WatchEvent`; [`Frames`] cuts them.

use bytes::{Buf as _, Bytes, BytesMut};
use prost::Message as _;
use prost::encoding::{WireType, decode_key, decode_varint};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::object::Identity;

/// What lists are asked for in. Every API server knows it for its own kinds.
pub(crate) const ACCEPT_LIST: &str = "application/vnd.kubernetes.protobuf";
/// What watches are asked for in.
pub(crate) const ACCEPT_WATCH: &str = "application/vnd.kubernetes.protobuf;stream=watch";

const MAGIC: &[u8; 4] = b"k8s\0";
/// Longest item or frame. etcd takes 1.5 MiB unless told otherwise; this is what the API server itself would read.
const LONGEST: usize = 16 << 20;

/// Why bytes could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Not Kubernetes' protobuf, for example because a proxy has answered.
    #[error("failed to read the answer: it does not begin as Kubernetes' protobuf does")]
    Magic,
    /// Not the messages that were expected.
    #[error("failed to decode the answer")]
    Decode(#[from] prost::DecodeError),
    /// An item longer than any object may be.
    #[error("failed to read an object of {0} bytes: longer than any that the API server stores")]
    TooLong(usize),
    /// It ended before its end.
    #[error("failed to read the answer to its end")]
    Truncated,
}

/// The message in an envelope.
pub(crate) fn open(bytes: &Bytes) -> Result<Bytes, Error> {
    if !bytes.starts_with(MAGIC) {
        return Err(Error::Magic);
    }
    Ok(Unknown::decode(bytes.slice(MAGIC.len()..))?.raw)
}

/// What tells an object from others, read from its message. Unlike the whole it never fails because of a text that is
/// not UTF-8: API servers take such texts in annotations and arguments from clients that speak protobuf.
pub(crate) fn identity(message: Bytes) -> Result<ObjectMeta, Error> {
    Ok(Identity::decode(message)?.into())
}

/// `runtime.Unknown`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Unknown {
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) raw: Bytes,
}

/// `meta/v1.Status`: what the API server says when it refuses.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Status {
    #[prost(string, tag = "3")]
    pub(crate) message: String,
    #[prost(int32, tag = "6")]
    pub(crate) code: i32,
}

/// `meta/v1.ListMeta`.
#[derive(Clone, PartialEq, prost::Message)]
struct ListMeta {
    #[prost(string, tag = "2")]
    resource_version: String,
}

/// A part of a list.
#[derive(Debug, PartialEq)]
pub(crate) enum Part {
    /// The version of the whole, from which a watch goes on.
    Version(String),
    /// An item's message, without an envelope.
    Item(Bytes),
}

/// A list, taken apart as its bytes come in.
#[derive(Debug, Default)]
pub(crate) struct List {
    buffer: BytesMut,
    /// Bytes of the list's message still to come, `None` before it has begun.
    remaining: Option<usize>,
}

impl List {
    /// More bytes of the answer's body.
    pub(crate) fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next part that is there in full, `None` until more bytes are pushed.
    pub(crate) fn next(&mut self) -> Result<Option<Part>, Error> {
        loop {
            let Some(remaining) = self.remaining else {
                if !self.begin()? {
                    return Ok(None);
                }
                continue;
            };
            if remaining == 0 {
                // What comes after the list are words on its encoding.
                self.buffer.clear();
                return Ok(None);
            }
            let Some((tag, length, head)) = field(&self.buffer)? else {
                return Ok(None);
            };
            if length > LONGEST {
                return Err(Error::TooLong(length));
            }
            if self.buffer.len() < head + length {
                self.buffer.reserve(head + length - self.buffer.len());
                return Ok(None);
            }
            self.remaining = Some(remaining.checked_sub(head + length).ok_or(Error::Truncated)?);
            self.buffer.advance(head);
            let message = self.buffer.split_to(length).freeze();
            match tag {
                1 => return Ok(Some(Part::Version(ListMeta::decode(message)?.resource_version))),
                2 => return Ok(Some(Part::Item(message))),
                _ => {}
            }
        }
    }

    /// Whether all of it has come.
    pub(crate) fn finish(self) -> Result<(), Error> {
        match self.remaining {
            Some(0) => Ok(()),
            _ => Err(Error::Truncated),
        }
    }

    /// Reads up to the beginning of the list's message; false while that has not come.
    fn begin(&mut self) -> Result<bool, Error> {
        let known = self.buffer.len().min(MAGIC.len());
        if self.buffer[..known] != MAGIC[..known] {
            return Err(Error::Magic);
        }
        let mut at = MAGIC.len();
        while at < self.buffer.len() {
            let Some((tag, length, head)) = field(&self.buffer[at..])? else {
                return Ok(false);
            };
            at += head;
            if tag == 2 {
                self.buffer.advance(at);
                self.remaining = Some(length);
                return Ok(true);
            }
            if length > LONGEST {
                return Err(Error::TooLong(length));
            }
            at += length;
        }
        Ok(false)
    }
}

/// The tag and length of the field at the beginning, and how long these two are; `None` if they are not there in full.
/// All fields of the messages that are read so have a length.
fn field(bytes: &[u8]) -> Result<Option<(u32, usize, usize)>, Error> {
    /// A key and a length, each a number of at most ten bytes.
    const HEAD: usize = 20;
    let mut head = &bytes[..bytes.len().min(HEAD)];
    let whole = head.len();
    // A number ends with a byte below 128.
    if head.iter().filter(|&&byte| byte < 0x80).count() < 2 {
        return if whole < HEAD { Ok(None) } else { Err(Error::Truncated) };
    }
    let (tag, wire_type) = decode_key(&mut head)?;
    if wire_type != WireType::LengthDelimited {
        return Err(Error::Magic);
    }
    let length = usize::try_from(decode_varint(&mut head)?).map_err(|_| Error::TooLong(usize::MAX))?;
    Ok(Some((tag, length, whole - head.len())))
}

/// What a watch tells of one object.
#[derive(Debug, PartialEq)]
pub(crate) enum Change {
    /// Added or modified: its message.
    Applied(Bytes),
    /// Deleted: its last message.
    Deleted(Bytes),
    /// All changes up to this version have been told.
    Bookmark(String),
    /// The watch ends.
    Refused(Status),
}

/// The frames of a watch, cut as their bytes come in.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    buffer: BytesMut,
}

impl Frames {
    /// More bytes of the answer's body.
    pub(crate) fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next change that is there in full, `None` until more bytes are pushed.
    pub(crate) fn next(&mut self) -> Result<Option<Change>, Error> {
        const HEAD: usize = 4;
        let Some(head) = self.buffer.first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*head)).map_err(|_| Error::TooLong(usize::MAX))?;
        if length > LONGEST {
            return Err(Error::TooLong(length));
        }
        if self.buffer.len() < HEAD + length {
            self.buffer.reserve(HEAD + length - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(HEAD);
        let event = WatchEvent::decode(self.buffer.split_to(length).freeze())?;
        let message = open(&event.object.raw)?;
        Ok(Some(match event.kind.as_str() {
            "ADDED" | "MODIFIED" => Change::Applied(message),
            "DELETED" => Change::Deleted(message),
            "BOOKMARK" => Change::Bookmark(identity(message)?.resource_version.unwrap_or_default()),
            // ERROR, which is the only one left.
            _ => Change::Refused(Status::decode(message)?),
        }))
    }
}

/// `meta/v1.WatchEvent`.
#[derive(Clone, PartialEq, prost::Message)]
struct WatchEvent {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(message, required, tag = "2")]
    object: RawExtension,
}

/// `runtime.RawExtension`: an object in an envelope.
#[derive(Clone, PartialEq, prost::Message)]
struct RawExtension {
    #[prost(bytes = "bytes", tag = "1")]
    raw: Bytes,
}

#[cfg(test)]
pub(crate) mod encode;

#[cfg(test)]
mod tests;
