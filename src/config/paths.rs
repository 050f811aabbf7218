//! Where the configuration file, the state directory and the admin socket are.
//!
//! Pure: flags, environment, configuration and "are we root" come in as arguments, and nothing
//! is created, opened or checked for, except whether a configuration file exists, which is a
//! question passed in as well. The one ambient read is [`process_environment`], for the caller
//! to pass on.
//!
//! Invariant: the order is always flag, `POSTRIDER_*` variable, configuration, what systemd
//! says, default; an empty variable counts as not set, a relative XDG one too.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Config;

/// Looks up one environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Reads one variable of this process, for passing as an [`Environment`].
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads it; everything else is handed a function"
)]
pub fn process_environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Where a setting came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A command line flag, such as `--state-dir`.
    Flag(&'static str),
    /// An environment variable.
    Variable(&'static str),
    /// A key of the configuration file.
    Config(&'static str),
    /// Nothing said otherwise.
    Default,
}

impl fmt::Display for Origin {
    /// `--state-dir`, `$POSTRIDER_STATE_DIR`, `admin.socket`, `default`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::Variable(name) => write!(f, "${name}"),
            Self::Config(key) => f.write_str(key),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A path and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The path.
    pub path: PathBuf,
    /// Who named it.
    pub origin: Origin,
}

impl Located {
    fn new(path: impl Into<PathBuf>, origin: Origin) -> Self {
        Self { path: path.into(), origin }
    }
}

/// There is no state directory to be had: not root, and neither `$XDG_STATE_HOME` nor `$HOME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no state directory: set --state-dir, $POSTRIDER_STATE_DIR or state_dir in the configuration file ($HOME is not set)"
)]
pub struct NoStateDir;

/// The configuration file, or `None` when there is none and every default applies.
///
/// A file named by flag or variable is returned whether it exists or not, so that a mistyped
/// name is an error later and never silently the defaults. `exists` is asked for the others.
#[must_use]
pub fn config_file(flag: Option<&Path>, env: Environment<'_>, exists: &dyn Fn(&Path) -> bool) -> Option<Located> {
    if let Some(named) = named(flag, "--config", env, "POSTRIDER_CONFIG") {
        return Some(named);
    }
    let system = Located::new("/etc/postrider/postrider.toml", Origin::Default);
    let home = xdg(env, "XDG_CONFIG_HOME", ".config")
        .map(|(folder, origin)| Located::new(folder.join("postrider/postrider.toml"), origin));
    [Some(system), home].into_iter().flatten().find(|located| exists(&located.path))
}

/// The state directory.
///
/// # Errors
///
/// [`NoStateDir`] when nothing names one and there is no home to put it in.
pub fn state_dir(
    flag: Option<&Path>,
    env: Environment<'_>,
    config: &Config,
    is_root: bool,
) -> Result<Located, NoStateDir> {
    if let Some(named) = named(flag, "--state-dir", env, "POSTRIDER_STATE_DIR") {
        return Ok(named);
    }
    if let Some(path) = &config.state_dir {
        return Ok(Located::new(path, Origin::Config("state_dir")));
    }
    if let Some(path) = systemd_directory(env, "STATE_DIRECTORY") {
        return Ok(Located::new(path, Origin::Variable("STATE_DIRECTORY")));
    }
    if is_root {
        return Ok(Located::new("/var/lib/postrider", Origin::Default));
    }
    let (folder, origin) = xdg(env, "XDG_STATE_HOME", ".local/state").ok_or(NoStateDir)?;
    Ok(Located::new(folder.join("postrider"), origin))
}

/// Where the daemon puts its admin socket.
#[must_use]
pub fn server_socket(flag: Option<&Path>, env: Environment<'_>, config: &Config, state_dir: &Path) -> Located {
    named_socket(flag, env, config).unwrap_or_else(|| Located::new(state_dir.join("admin.sock"), Origin::Default))
}

/// The socket on which everybody may only look, beside the admin socket.
#[must_use]
pub fn readonly_socket(admin_socket: &Path) -> PathBuf {
    admin_socket.with_file_name("readonly.sock")
}

/// Where a client looks for the daemon's admin socket, in order; never empty if `state_dir` is
/// known or a socket is named. Behind all of them come the sockets for looking only, for whoever
/// may use no other.
///
/// A socket named by flag or variable is the only candidate: whoever names one does not want to
/// reach another.
#[must_use]
pub fn client_sockets(
    flag: Option<&Path>,
    env: Environment<'_>,
    config: &Config,
    state_dir: Option<&Path>,
) -> Vec<Located> {
    let mut candidates = match named_socket(flag, env, config) {
        Some(named) if matches!(named.origin, Origin::Flag(_) | Origin::Variable("POSTRIDER_SOCKET")) => {
            return vec![named];
        }
        Some(named) => vec![named],
        None => {
            let mut candidates = vec![Located::new("/run/postrider/admin.sock", Origin::Default)];
            if let Some(folder) = absolute(env, "XDG_RUNTIME_DIR") {
                candidates.push(Located::new(folder.join("postrider/admin.sock"), Origin::Variable("XDG_RUNTIME_DIR")));
            }
            candidates.extend(state_dir.map(|folder| Located::new(folder.join("admin.sock"), Origin::Default)));
            candidates
        }
    };
    let looking = candidates.iter().map(|located| Located::new(readonly_socket(&located.path), located.origin));
    let looking: Vec<Located> = looking.collect();
    candidates.extend(looking);
    candidates
}

fn named_socket(flag: Option<&Path>, env: Environment<'_>, config: &Config) -> Option<Located> {
    named(flag, "--socket", env, "POSTRIDER_SOCKET")
        .or_else(|| config.admin.socket.as_ref().map(|path| Located::new(path, Origin::Config("admin.socket"))))
        .or_else(|| {
            let folder = systemd_directory(env, "RUNTIME_DIRECTORY")?;
            Some(Located::new(folder.join("admin.sock"), Origin::Variable("RUNTIME_DIRECTORY")))
        })
}

fn named(flag: Option<&Path>, flag_name: &'static str, env: Environment<'_>, name: &'static str) -> Option<Located> {
    flag.map(|path| Located::new(path, Origin::Flag(flag_name)))
        .or_else(|| variable(env, name).map(|path| Located::new(path, Origin::Variable(name))))
}

fn variable(env: Environment<'_>, name: &str) -> Option<PathBuf> {
    env(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn absolute(env: Environment<'_>, name: &str) -> Option<PathBuf> {
    variable(env, name).filter(|path| path.is_absolute())
}

/// The first of the directories: systemd joins several by colons.
fn systemd_directory(env: Environment<'_>, name: &str) -> Option<PathBuf> {
    let value = variable(env, name)?;
    let bytes = value.as_os_str().as_bytes();
    let first = bytes.split(|byte| *byte == b':').next().unwrap_or(bytes);
    Some(PathBuf::from(OsStr::from_bytes(first))).filter(|path| path.is_absolute())
}

/// An XDG base directory, or its default below `$HOME`.
fn xdg(env: Environment<'_>, name: &'static str, below_home: &str) -> Option<(PathBuf, Origin)> {
    absolute(env, name)
        .map(|folder| (folder, Origin::Variable(name)))
        .or_else(|| absolute(env, "HOME").map(|home| (home.join(below_home), Origin::Default)))
}
