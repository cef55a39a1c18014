use proptest::prelude::*;

use super::encode::{frame, list, pod, seal, status};
use super::*;

/// All parts of a list whose bytes come in pieces of these lengths.
fn parts(bytes: &[u8], pieces: &[usize]) -> Result<Vec<Part>, Error> {
    let mut read = List::default();
    let mut parts = Vec::new();
    for piece in cut(bytes, pieces) {
        read.push(piece);
        while let Some(part) = read.next()? {
            parts.push(part);
        }
    }
    read.finish()?;
    Ok(parts)
}

fn changes(bytes: &[u8], pieces: &[usize]) -> Result<Vec<Change>, Error> {
    let mut read = Frames::default();
    let mut changes = Vec::new();
    for piece in cut(bytes, pieces) {
        read.push(piece);
        while let Some(change) = read.next()? {
            changes.push(change);
        }
    }
    Ok(changes)
}

fn cut<'a>(mut bytes: &'a [u8], pieces: &[usize]) -> Vec<&'a [u8]> {
    let mut cut = Vec::new();
    for &length in pieces {
        let (piece, rest) = bytes.split_at(length.min(bytes.len()));
        cut.push(piece);
        bytes = rest;
    }
    cut.push(bytes);
    cut
}

fn names(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|number| pod(&"p".repeat(number * 7), "1")).collect()
}

proptest! {
    #[test]
    fn a_list_reads_the_same_however_its_bytes_come(count in 0_usize..40, pieces in prop::collection::vec(0_usize..90, 0..80)) {
        let items = names(count);
        let mut expected = vec![Part::Version("77".to_owned())];
        expected.extend(items.iter().map(|item| Part::Item(item.clone().into())));
        prop_assert_eq!(parts(&list("77", &items), &pieces).unwrap(), expected);
    }

    #[test]
    fn a_watch_reads_the_same_however_its_bytes_come(count in 0_usize..40, pieces in prop::collection::vec(0_usize..90, 0..80)) {
        let items = names(count);
        let bytes: Vec<u8> = items.iter().flat_map(|item| frame("ADDED", item)).collect();
        let expected: Vec<_> = items.into_iter().map(|item| Change::Applied(item.into())).collect();
        prop_assert_eq!(changes(&bytes, &pieces).unwrap(), expected);
    }

    #[test]
    fn no_bytes_make_it_panic_or_read_for_ever(bytes in prop::collection::vec(any::<u8>(), 0..200), from in 0_usize..60) {
        let _ = parts(&bytes, &[]);
        let _ = changes(&bytes, &[]);
        // Garbage that begins well.
        let mut begun = list("1", &names(3));
        begun.truncate(from);
        begun.extend(&bytes);
        let _ = parts(&begun, &[]);
        let mut begun = frame("ADDED", &pod("a", "1"));
        begun.truncate(from);
        begun.extend(&bytes);
        let _ = changes(&begun, &[]);
    }
}

#[test]
fn a_list_that_breaks_off_is_not_taken_for_a_whole_one() {
    let whole = list("77", &names(3));
    let after_items = seal(b"").len() - seal(b"").iter().position(|&byte| byte == b'A').unwrap();
    for length in 0..whole.len() - after_items {
        let broken = parts(&whole[..length], &[]);
        assert!(matches!(broken, Err(Error::Truncated)), "{length}: {broken:?}");
    }
}

#[test]
fn a_page_of_a_proxy_is_told_from_protobuf() {
    for bytes in [&b"<html>"[..], b"{\"kind\":\"PodList\"}", b"k8s!"] {
        assert!(matches!(parts(bytes, &[]), Err(Error::Magic)), "{bytes:?}");
    }
    assert!(matches!(open(&Bytes::from_static(b"{}")), Err(Error::Magic)));
}

#[test]
fn lengths_beyond_any_object_are_refused_before_they_are_kept() {
    let mut bytes = (u32::MAX).to_be_bytes().to_vec();
    bytes.push(0);
    assert!(matches!(changes(&bytes, &[]), Err(Error::TooLong(_))));
    // The list's own length is that of all items; an item's is bounded.
    let mut bytes = MAGIC.to_vec();
    bytes.extend([0x12, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x12, 0xff, 0xff, 0xff, 0x7f]);
    assert!(matches!(parts(&bytes, &[]), Err(Error::TooLong(_))));
}

#[test]
fn all_kinds_of_changes_are_told_apart() {
    let bytes = [
        frame("ADDED", &pod("a", "1")),
        frame("MODIFIED", &pod("a", "2")),
        frame("DELETED", &pod("a", "3")),
        frame("BOOKMARK", &pod("", "9")),
        frame("ERROR", &status(410, "too old resource version")),
    ];
    let expected = [
        Change::Applied(pod("a", "1").into()),
        Change::Applied(pod("a", "2").into()),
        Change::Deleted(pod("a", "3").into()),
        Change::Bookmark("9".to_owned()),
        Change::Refused(Status {
            message: "too old resource version".to_owned(),
            code: 410,
        }),
    ];
    assert_eq!(changes(&bytes.concat(), &[]).unwrap(), expected);
}
