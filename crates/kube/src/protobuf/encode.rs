//! What an API server would send, for tests.

use prost::Message;
use prost::encoding::encode_varint;

/// A pod of which only names matter.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Pod {
    #[prost(message, required, tag = "1")]
    metadata: Metadata,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(string, tag = "5")]
    uid: String,
    #[prost(string, tag = "6")]
    resource_version: String,
    /// Go does not look whether texts are UTF-8.
    #[prost(btree_map = "string, bytes", tag = "12")]
    annotations: std::collections::BTreeMap<String, Vec<u8>>,
}

/// The message of a pod with this name and UID.
pub(crate) fn pod(name: &str, version: &str) -> Vec<u8> {
    annotated(name, version, &[])
}

/// The same with an annotation.
pub(crate) fn annotated(name: &str, version: &str, annotations: &[(&str, &[u8])]) -> Vec<u8> {
    let metadata = Metadata {
        name: name.to_owned(),
        namespace: "ns".to_owned(),
        uid: name.to_owned(),
        resource_version: version.to_owned(),
        annotations: annotations
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_vec()))
            .collect(),
    };
    Pod { metadata }.encode_to_vec()
}

/// A message in its envelope.
pub(crate) fn seal(message: &[u8]) -> Vec<u8> {
    let mut sealed = super::MAGIC.to_vec();
    let kind = field(1, &[field(1, b"v1"), field(2, b"Any")].concat());
    sealed.extend(kind);
    sealed.extend(field(2, message));
    sealed.extend(field(3, b""));
    sealed.extend(field(4, b""));
    sealed
}

/// A list of messages.
pub(crate) fn list(version: &str, items: &[Vec<u8>]) -> Vec<u8> {
    let mut list = field(1, &field(2, version.as_bytes()));
    for item in items {
        list.extend(field(2, item));
    }
    seal(&list)
}

/// A frame of a watch.
pub(crate) fn frame(kind: &str, message: &[u8]) -> Vec<u8> {
    let event = [field(1, kind.as_bytes()), field(2, &field(1, &seal(message)))].concat();
    let mut frame = u32::try_from(event.len()).unwrap().to_be_bytes().to_vec();
    frame.extend(event);
    frame
}

/// A status in its message.
pub(crate) fn status(code: i32, message: &str) -> Vec<u8> {
    super::Status {
        message: message.to_owned(),
        code,
    }
    .encode_to_vec()
}

fn field(tag: u32, bytes: &[u8]) -> Vec<u8> {
    let mut field = Vec::new();
    encode_varint(u64::from(tag << 3 | 2), &mut field);
    encode_varint(bytes.len() as u64, &mut field);
    field.extend(bytes);
    field
}
