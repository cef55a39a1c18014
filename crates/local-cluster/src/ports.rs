//! Free loopback ports. Nothing can hold a port for another program, so whoever uses one must be ready to ask again.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Ports below the usual range of outgoing connections (32768 and up): the kernel does not hand them to others meanwhile.
const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

/// Where this process looks next; different processes begin far apart.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A loopback port that nothing listens on now, or none when all are taken. It is not given out again by this process
/// until all others were.
pub(crate) fn free() -> Option<u16> {
    let start = std::process::id().wrapping_mul(389);
    (0..COUNT).find_map(|_| {
        let offset = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + offset).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(port)
    })
}

/// A loopback address with such a port. Another program may take it before its owner does; then the owner's start fails and
/// says so.
///
/// # Errors
/// All are taken.
pub fn free_address() -> std::io::Result<SocketAddr> {
    let port = free().ok_or(std::io::ErrorKind::AddrInUse)?;
    Ok((Ipv4Addr::LOCALHOST, port).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_passed_over() {
        let first = free().unwrap();
        let next = u16::try_from((u32::from(first) - FIRST + 1) % COUNT + FIRST).unwrap();
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, next));
        let second = free().unwrap();
        assert_ne!(second, first);
        assert_ne!(second, next);
    }
}
