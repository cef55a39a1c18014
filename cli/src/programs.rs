//! Where the services' programs are: beside this one, else on the PATH.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The program of this name.
pub(crate) fn find(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("failed to find this program itself")?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    find_in(own.parent(), &std::env::split_paths(&path).collect::<Vec<_>>(), name).with_context(|| {
        format!(
            "failed to find {name}: it is neither beside {} nor on the PATH. Build it with `cargo build --release --bins`",
            own.display()
        )
    })
}

fn find_in(beside: Option<&Path>, path: &[PathBuf], name: &str) -> Option<PathBuf> {
    let folders = beside.into_iter().chain(path.iter().map(PathBuf::as_path));
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_comes_before_the_path() {
        let folder = std::env::temp_dir().join(format!("kompass-programs-{}", std::process::id()));
        let (a, b) = (folder.join("a"), folder.join("b"));
        for folder in [&a, &b] {
            std::fs::create_dir_all(folder).unwrap();
            std::fs::write(folder.join("p"), "").unwrap();
        }
        std::fs::write(b.join("q"), "").unwrap();
        assert_eq!(find_in(Some(&a), std::slice::from_ref(&b), "p"), Some(a.join("p")));
        assert_eq!(find_in(Some(&a), std::slice::from_ref(&b), "q"), Some(b.join("q")));
        assert_eq!(find_in(None, &[a, b], "r"), None);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
