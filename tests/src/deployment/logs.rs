//! The logs of a test that fails: they end with its cluster, and are the best hint at what went wrong.

use std::path::{Path, PathBuf};

/// How much of each log is shown.
const LINES: usize = 60;
/// Where whole logs are kept when this names a folder.
const KEEP: &str = "KOMPASS_TEST_LOGS";

/// The folder of the logs; shown when it is dropped by a panic.
#[derive(Debug)]
pub(super) struct Logs(pub(super) PathBuf);

impl Drop for Logs {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for name in ["kompass-scheduler-extender", "kompass-admission-webhook"] {
                show(&self.0.join(format!("{name}.log")));
            }
        }
        if let Some(folder) = std::env::var_os(KEEP) {
            // Nothing can be done about logs that can't be kept, least of all while panicking.
            keep(&self.0, Path::new(&folder)).ok();
        }
    }
}

#[expect(
    clippy::print_stdout,
    reason = "the test harness shows what a failed test has printed"
)]
fn show(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    println!(
        "the end of {}:\n{}",
        path.display(),
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    );
}

fn keep(logs: &Path, folder: &Path) -> std::io::Result<()> {
    let name = std::thread::current().name().unwrap_or("test").replace("::", "-");
    let folder = folder.join(name);
    std::fs::create_dir_all(&folder)?;
    for entry in std::fs::read_dir(logs)? {
        let path = entry?.path();
        if let Some(name) = path.file_name() {
            std::fs::copy(&path, folder.join(name))?;
        }
    }
    Ok(())
}
