//! The chart, carried inside the program so that an installed one needs no checkout.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

#[derive(rust_embed::Embed)]
#[folder = "../charts/kompass"]
struct Chart;

/// Writes the chart to a folder, in place of what is there.
pub(crate) fn write(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("failed to remove {}", folder.display()));
        }
        _ => {}
    }
    for name in Chart::iter() {
        let Some(file) = Chart::get(&name) else { continue };
        let path = folder.join(name.as_ref());
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&path, &file.data))
            .with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_chart_is_carried() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("old"), "").unwrap();
        write(folder.path()).unwrap();
        assert!(!folder.path().join("old").exists());
        for file in [
            "Chart.yaml",
            "values.yaml",
            "values.schema.json",
            "templates/_helpers.tpl",
        ] {
            assert!(folder.path().join(file).is_file(), "{file}");
        }
    }
}
