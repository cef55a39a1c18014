use super::*;

/// The same pod, node, quota and namespace in both encodings, as an API server 1.36.3 sent them.
macro_rules! recorded {
    ($name:literal) => {
        (
            include_bytes!(concat!("../../tests/data/", $name, ".pb")),
            include_str!(concat!("../../tests/data/", $name, ".json")),
        )
    };
}

fn same<T: Object>((protobuf, json): (&'static [u8], &str)) {
    let message = crate::protobuf::open(&bytes::Bytes::from_static(protobuf)).unwrap();
    let from_protobuf = T::from_protobuf(&message).unwrap();
    let from_json: T = serde_json::from_str(json).unwrap();
    // What is compared is what is printed: every field that is read.
    let (ours, theirs) = (format!("{from_protobuf:#?}"), format!("{from_json:#?}"));
    for (line, (ours, theirs)) in ours.lines().zip(theirs.lines()).enumerate() {
        assert_eq!(ours, theirs, "line {line} of protobuf and JSON");
    }
    assert_eq!(ours.len(), theirs.len());
}

#[test]
fn both_encodings_say_the_same() {
    same::<Pod>(recorded!("pod"));
    same::<Node>(recorded!("node"));
    same::<ResourceQuota>(recorded!("quota"));
    same::<Namespace>(recorded!("namespace"));
}
