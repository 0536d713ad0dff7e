//! The state directory: owned by the daemon's user, 0700, whatever the umask.

use std::fmt;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The mode of the state directory.
const MODE: u32 = 0o700;

/// The last settings that could be read: kept here by default, and no state.
const SETTINGS_COPY: &str = "settings.last-good.toml";

/// Whether a state directory was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Nothing in it: this is the first start, and the adoption record may be made.
    Empty,
    /// Something in it.
    Used,
}

/// A state directory that only this user can change.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: PathBuf,
    usage: Usage,
}

/// Why a directory cannot hold the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateDirError {
    /// There is something else than a directory (a symbolic link included).
    NotDirectory {
        /// Where.
        path: PathBuf,
    },
    /// Another user owns it.
    Foreign {
        /// Where.
        path: PathBuf,
        /// The owner.
        uid: u32,
    },
    /// Its group or everybody may write there.
    Writable {
        /// Where.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The system refused.
    Io {
        /// Where.
        path: PathBuf,
        /// The system's words.
        text: String,
    },
}

impl fmt::Display for StateDirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDirectory { path } => {
                write!(
                    f,
                    "the state directory `{}` is no directory",
                    path.display()
                )
            }
            Self::Foreign { path, uid } => write!(
                f,
                "the state directory `{}` belongs to uid {uid}; it must be the daemon's own",
                path.display()
            ),
            Self::Writable { path, mode } => write!(
                f,
                "the state directory `{}` has mode {mode:o}; only its owner may write there",
                path.display()
            ),
            Self::Io { path, text } => {
                write!(f, "the state directory `{}`: {text}", path.display())
            }
        }
    }
}

impl std::error::Error for StateDirError {}

impl StateDir {
    /// Opens the directory, or makes it (its parent must exist). A looser reading mode is
    /// tightened to 0700; a directory that others could have changed is refused.
    ///
    /// # Errors
    /// [`StateDirError`].
    pub fn open(path: &Path) -> Result<Self, StateDirError> {
        let failed = |error: io::Error| StateDirError::Io {
            path: path.to_owned(),
            text: error.to_string(),
        };
        match DirBuilder::new().mode(MODE).create(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        let meta = fs::symlink_metadata(path).map_err(failed)?;
        if !meta.is_dir() {
            return Err(StateDirError::NotDirectory {
                path: path.to_owned(),
            });
        }
        if meta.uid() != nix::unistd::geteuid().as_raw() {
            return Err(StateDirError::Foreign {
                path: path.to_owned(),
                uid: meta.uid(),
            });
        }
        let mode = meta.mode() & 0o7777;
        if mode & 0o022 != 0 {
            return Err(StateDirError::Writable {
                path: path.to_owned(),
                mode,
            });
        }
        if mode != MODE {
            fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(failed)?;
        }
        let usage = usage(path).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            usage,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it held anything when it was opened.
    pub fn usage(&self) -> Usage {
        self.usage
    }
}

/// A draft of a file that was never put in its place is nothing, and the copy of the settings is
/// written before the state is opened.
fn usage(path: &Path) -> io::Result<Usage> {
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        if !super::file::is_draft(&name) && name != SETTINGS_COPY {
            return Ok(Usage::Used);
        }
    }
    Ok(Usage::Empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_mode(mode: u32) -> (tempfile::TempDir, PathBuf) {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("state");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        (parent, path)
    }

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_new_directory_is_empty_and_0700() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("state");
        let state = StateDir::open(&path).unwrap();
        assert_eq!((state.usage(), mode_of(&path)), (Usage::Empty, 0o700));
    }

    #[test]
    fn a_readable_directory_is_tightened() {
        let (_parent, path) = with_mode(0o755);
        StateDir::open(&path).unwrap();
        assert_eq!(mode_of(&path), 0o700);
    }

    #[test]
    fn a_directory_that_the_group_may_write_is_refused() {
        let (_parent, path) = with_mode(0o770);
        assert_eq!(
            StateDir::open(&path).unwrap_err(),
            StateDirError::Writable { path, mode: 0o770 }
        );
    }

    #[test]
    fn a_directory_of_another_user_is_refused() {
        let (_parent, path) = with_mode(0o700);
        if std::os::unix::fs::chown(&path, Some(12345), None).is_err() {
            panic!("this test gives a directory away: run it as root");
        }
        assert_eq!(
            StateDir::open(&path).unwrap_err(),
            StateDirError::Foreign { path, uid: 12345 }
        );
    }

    #[test]
    fn a_symbolic_link_is_refused() {
        let (_parent, path) = with_mode(0o700);
        let link = path.with_file_name("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(
            StateDir::open(&link).unwrap_err(),
            StateDirError::NotDirectory { path: link }
        );
    }

    #[test]
    fn the_copy_of_the_settings_does_not_make_it_used() {
        let (_parent, path) = with_mode(0o700);
        let copy = Path::new(crate::settings::LAST_GOOD_PATH).file_name();
        assert_eq!(copy, Some(SETTINGS_COPY.as_ref()));
        fs::write(path.join(SETTINGS_COPY), "").unwrap();
        assert_eq!(StateDir::open(&path).unwrap().usage(), Usage::Empty);
    }

    #[test]
    fn any_file_makes_it_used() {
        let (_parent, path) = with_mode(0o700);
        fs::write(path.join("x"), "").unwrap();
        assert_eq!(StateDir::open(&path).unwrap().usage(), Usage::Used);
    }
}
