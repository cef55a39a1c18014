//! Where caches and the state of local clusters live: never in the checkout, always movable by an environment variable.

use std::ffi::OsString;
use std::path::PathBuf;

/// Why no folder can be named.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither the variable of KOMPASS, nor the XDG one, nor `HOME` is set.
    #[error("failed to find a folder for {purpose}: set {variable} or HOME")]
    NoHome {
        /// What the folder is for.
        purpose: &'static str,
        /// The variable that names it directly.
        variable: &'static str,
    },
}

/// The folder of everything that can be made again: `$KOMPASS_CACHE`, else `$XDG_CACHE_HOME/kompass`, else
/// `~/.cache/kompass`.
pub fn cache() -> Result<PathBuf, Error> {
    choose(env("KOMPASS_CACHE"), env("XDG_CACHE_HOME"), env("HOME"), ".cache").ok_or(Error::NoHome {
        purpose: "caches",
        variable: "KOMPASS_CACHE",
    })
}

/// The folder of running clusters: `$KOMPASS_STATE`, else `$XDG_STATE_HOME/kompass`, else `~/.local/state/kompass`.
pub fn state() -> Result<PathBuf, Error> {
    choose(env("KOMPASS_STATE"), env("XDG_STATE_HOME"), env("HOME"), ".local/state").ok_or(Error::NoHome {
        purpose: "the state of local clusters",
        variable: "KOMPASS_STATE",
    })
}

fn env(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn choose(own: Option<OsString>, xdg: Option<OsString>, home: Option<OsString>, below_home: &str) -> Option<PathBuf> {
    own.map(PathBuf::from)
        .or_else(|| xdg.map(|xdg| PathBuf::from(xdg).join("kompass")))
        .or_else(|| home.map(|home| PathBuf::from(home).join(below_home).join("kompass")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_variable_wins_over_xdg_and_home() {
        let some = |text: &str| Some(OsString::from(text));
        for (own, xdg, home, expected) in [
            (some("/own"), some("/xdg"), some("/home/u"), Some("/own")),
            (None, some("/xdg"), some("/home/u"), Some("/xdg/kompass")),
            (None, None, some("/home/u"), Some("/home/u/.cache/kompass")),
            (None, None, None, None),
        ] {
            assert_eq!(choose(own, xdg, home, ".cache"), expected.map(PathBuf::from));
        }
    }
}
