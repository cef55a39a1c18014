//! The cluster's own control group in every hierarchy of the machine: pods live below it and nowhere else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::mounts::{self, Mount};

/// What the kubelet needs of the unified hierarchy.
const UNIFIED_CONTROLLERS: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

/// The control groups of one cluster.
#[derive(Debug, Clone)]
pub(crate) struct Cgroups {
    /// The top folder of each hierarchy.
    hierarchies: Vec<PathBuf>,
    /// Whether the machine has the unified hierarchy alone.
    unified: bool,
    name: String,
}

impl Cgroups {
    /// The groups called `name`, which need not exist.
    pub(crate) fn find(name: &str) -> io::Result<Self> {
        Ok(Self::among(&mounts::all()?, name))
    }

    fn among(mounts: &[Mount], name: &str) -> Self {
        let of_kind = |kind: &str| {
            mounts
                .iter()
                .filter(|mount| mount.kind == kind)
                .map(|mount| mount.target.clone())
                .collect()
        };
        let separate: Vec<PathBuf> = of_kind("cgroup");
        let together: Vec<PathBuf> = of_kind("cgroup2");
        Self {
            unified: separate.is_empty(),
            // Mixed machines have both; containers then have a group in the unified one, too.
            hierarchies: separate.into_iter().chain(together).collect(),
            name: name.to_owned(),
        }
    }

    /// Whether the machine still has one hierarchy per controller, which the kubelet must be told.
    pub(crate) const fn is_v1(&self) -> bool {
        !self.unified
    }

    /// Makes the groups.
    pub(crate) fn create(&self) -> io::Result<()> {
        for hierarchy in &self.hierarchies {
            if self.unified {
                let available = fs::read_to_string(hierarchy.join("cgroup.controllers"))?;
                let wanted: Vec<_> = available
                    .split_whitespace()
                    .filter(|controller| UNIFIED_CONTROLLERS.contains(controller))
                    .map(|controller| format!("+{controller}"))
                    .collect();
                fs::write(hierarchy.join("cgroup.subtree_control"), wanted.join(" "))?;
            }
            fs::create_dir_all(hierarchy.join(&self.name))?;
        }
        Ok(())
    }

    /// The groups that exist, deepest first.
    pub(crate) fn existing(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for hierarchy in &self.hierarchies {
            collect(&hierarchy.join(&self.name), &mut found);
        }
        found
    }

    /// The processes in the groups.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let mut pids: Vec<i32> = self
            .existing()
            .iter()
            .filter_map(|group| fs::read_to_string(group.join("cgroup.procs")).ok())
            .flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<_>>())
            .collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Removes the groups. Fails while a process is left in one of them.
    pub(crate) fn remove(&self) -> io::Result<()> {
        self.existing()
            .iter()
            .try_for_each(|group| match fs::remove_dir(group) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            })
    }
}

fn collect(group: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(group) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), found);
        }
    }
    found.push(group.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(target: &Path, kind: &str) -> Mount {
        Mount {
            target: target.to_owned(),
            kind: kind.to_owned(),
            options: String::new(),
        }
    }

    #[test]
    fn mixed_machines_count_as_version_one() {
        let one = Path::new("/sys/fs/cgroup");
        for (mounts, is_v1, hierarchies) in [
            (vec![mount(one, "cgroup2")], false, 1),
            (
                vec![mount(one, "tmpfs"), mount(one, "cgroup"), mount(one, "cgroup2")],
                true,
                2,
            ),
        ] {
            let groups = Cgroups::among(&mounts, "kompass-x");
            assert_eq!((groups.is_v1(), groups.hierarchies.len()), (is_v1, hierarchies));
        }
    }

    #[test]
    fn groups_are_made_in_each_hierarchy_and_removed_deepest_first() {
        let top = tempfile::tempdir().unwrap();
        let (cpu, memory) = (top.path().join("cpu"), top.path().join("memory"));
        let groups = Cgroups::among(&[mount(&cpu, "cgroup"), mount(&memory, "cgroup")], "kompass-x");
        groups.create().unwrap();
        let pod = cpu.join("kompass-x/kubepods/pod1");
        fs::create_dir_all(&pod).unwrap();
        let existing = groups.existing();
        assert_eq!(existing.len(), 4);
        assert_eq!(existing[0], pod);

        fs::write(memory.join("kompass-x/cgroup.procs"), "12\n13\n").unwrap();
        assert_eq!(groups.processes(), [12, 13]);
        groups.remove().unwrap_err();
        fs::remove_file(memory.join("kompass-x/cgroup.procs")).unwrap();
        groups.remove().unwrap();
        assert!(groups.existing().is_empty());
        assert!(cpu.exists());
    }

    #[test]
    fn the_unified_hierarchy_gets_only_the_controllers_that_it_has() {
        let top = tempfile::tempdir().unwrap();
        fs::write(top.path().join("cgroup.controllers"), "cpu memory hugetlb").unwrap();
        Cgroups::among(&[mount(top.path(), "cgroup2")], "kompass-x")
            .create()
            .unwrap();
        assert_eq!(
            fs::read_to_string(top.path().join("cgroup.subtree_control")).unwrap(),
            "+cpu +memory"
        );
    }
}
