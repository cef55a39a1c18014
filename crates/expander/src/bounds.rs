//! How much a request may hold: counted before it is decoded, because an empty option is two bytes on the wire and fifty
//! times as many in memory.

use prost::DecodeError;
use prost::bytes::Buf as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// Node groups that could grow; an autoscaler has some dozens.
const OPTIONS_MAX: usize = 4_096;
/// Pods of all options together: what 128 MiB hold of real ones is less.
const PODS_MAX: usize = 1 << 20;

/// Field of a request: an option.
const OPTION: u32 = 1;
/// Fields of an option: a pod, the way that older autoscalers send it, and the newer.
const PODS: [u32; 2] = [4, 5];

/// Why a request is not decoded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("failed to read the request: more than {OPTIONS_MAX} options")]
    Options,
    #[error("failed to read the request: more than {PODS_MAX} pods")]
    Pods,
    #[error("failed to read the request: it is no message")]
    Malformed(#[from] DecodeError),
}

/// Counts what is in the bytes of a request.
pub(crate) fn check(mut request: &[u8]) -> Result<(), Error> {
    let (mut options, mut pods) = (0_usize, 0_usize);
    while request.has_remaining() {
        let (tag, wire) = decode_key(&mut request)?;
        if tag != OPTION || wire != WireType::LengthDelimited {
            skip_field(wire, tag, &mut request, DecodeContext::default())?;
            continue;
        }
        options += 1;
        if options > OPTIONS_MAX {
            return Err(Error::Options);
        }
        let length = usize::try_from(decode_varint(&mut request)?).unwrap_or(usize::MAX);
        let Some((mut option, rest)) = request.split_at_checked(length) else {
            // The decoder says what is wrong with it.
            return Ok(());
        };
        request = rest;
        while option.has_remaining() {
            let (tag, wire) = decode_key(&mut option)?;
            pods += usize::from(PODS.contains(&tag));
            if pods > PODS_MAX {
                return Err(Error::Pods);
            }
            skip_field(wire, tag, &mut option, DecodeContext::default())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;
    use prost::bytes::Bytes;

    use super::*;
    use crate::messages::{BestOptionsRequest, Candidate};

    fn request(options: usize, pods: usize) -> Vec<u8> {
        let option = Candidate {
            node_group_id: "spark".to_owned(),
            pod_bytes: vec![Bytes::new(); pods],
            ..Candidate::default()
        };
        let request = BestOptionsRequest {
            options: vec![option; options],
            ..BestOptionsRequest::default()
        };
        request.encode_to_vec()
    }

    #[test]
    fn what_would_swell_is_refused_before_it_does() {
        assert!(check(&request(OPTIONS_MAX, 2)).is_ok());
        assert!(matches!(check(&request(OPTIONS_MAX + 1, 0)), Err(Error::Options)));
        assert!(check(&request(1, PODS_MAX)).is_ok());
        assert!(matches!(check(&request(2, PODS_MAX / 2 + 1)), Err(Error::Pods)));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_what_is_a_request_passes(bytes in prop::collection::vec(any::<u8>(), 0..200), options in 0_usize..5) {
            let _ = check(&bytes);
            prop_assert!(check(&request(options, options)).is_ok());
        }
    }
}
