//! The mount table: what is mounted below a folder, and taking it away.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

/// One line of the mount table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Where it is mounted.
    pub(crate) target: PathBuf,
    /// File system type, for example `cgroup2`.
    pub(crate) kind: String,
    /// The options of the file system itself, for example the controllers of a cgroup hierarchy.
    pub(crate) options: String,
}

/// All mounts that this process sees, in the order in which they were made.
pub(crate) fn all() -> io::Result<Vec<Mount>> {
    Ok(parse(&fs::read_to_string("/proc/self/mountinfo")?))
}

/// What is mounted on `folder` or below it, the last mounted first.
pub(crate) fn below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut targets: Vec<_> = all()?.into_iter().map(|mount| mount.target).collect();
    targets.retain(|target| target.starts_with(folder));
    targets.reverse();
    Ok(targets)
}

/// Unmounts everything on `folder` and below it.
///
/// A mount that is still in use is detached: it is gone from the tree at once and from the kernel with its last user.
pub(crate) fn unmount_below(folder: &Path) -> io::Result<()> {
    // One pass is enough for what is seen at its begin; the second finds what was hidden below another mount.
    for _ in 0..8 {
        let targets = below(folder)?;
        if targets.is_empty() {
            return Ok(());
        }
        for target in targets {
            match umount2(&target, MntFlags::UMOUNT_NOFOLLOW) {
                // Gone together with another one.
                Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
                Err(_) => umount2(&target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)?,
            }
        }
    }
    Ok(())
}

fn parse(mountinfo: &str) -> Vec<Mount> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let target = line.split(' ').nth(4)?;
            // Optional fields end with a single dash.
            let (_, rest) = line.split_once(" - ")?;
            let mut rest = rest.split(' ');
            let kind = rest.next()?.to_owned();
            let options = rest.nth(1).unwrap_or_default().to_owned();
            Some(Mount {
                target: unescape(target),
                kind,
                options,
            })
        })
        .collect()
}

/// The kernel writes space, tab, newline and backslash as a backslash and three octal digits.
fn unescape(field: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&first, others)) = rest.split_first() {
        let escaped = (first == b'\\').then(|| others.get(..3)).flatten();
        let octal = escaped.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(octal.unwrap_or(first));
        rest = if octal.is_some() {
            others.get(3..).unwrap_or_default()
        } else {
            others
        };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_mount_table_are_read() {
        let text = "36 25 0:31 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu\n\
                    99 25 0:44 / /tmp/with\\040space\\134 rw - tmpfs tmpfs rw\n";
        let mounts = parse(text);
        assert_eq!(mounts[0].target, Path::new("/sys/fs/cgroup/cpu"));
        assert_eq!(
            (mounts[0].kind.as_str(), mounts[0].options.as_str()),
            ("cgroup", "rw,cpu")
        );
        assert_eq!(mounts[1].target, Path::new("/tmp/with space\\"));
    }

    #[test]
    fn a_folder_with_a_longer_name_is_not_below() {
        assert!(below(Path::new("/pro")).unwrap().is_empty());
        assert!(below(Path::new("/proc")).unwrap().contains(&PathBuf::from("/proc")));
    }
}
