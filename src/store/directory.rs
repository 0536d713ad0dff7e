//! The state directory: owned by the daemon's user, 0700, whatever the umask.

use std::fmt;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};

/// The mode of the state directory.
const MODE: u32 = 0o700;

/// Files that only a guard that has served leaves behind; also as the beginning of a name.
const FACTS: [&str; 4] = ["ledger.redb", "admissions", "adoption.json", "last-policy"];
/// What else a guard leaves there, or the file system does: the copy of the settings, audit files.
const BESIDE: [&str; 3] = ["settings.last-good.toml", "audit", "lost+found"];
/// Says that the adoption record is still to be made.
const PENDING: &str = "adoption-pending";

/// Held as long as a guard uses the directory; it names that guard's process.
const LOCK: &str = "lock";
/// A process ID has at most so many digits.
const MAX_PID: u64 = 20;

/// Whether a state directory was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// No facts in it: this is the first start, and the adoption record may be made. A copy of the
    /// settings or audit files are no facts.
    Empty,
    /// A guard served with it.
    Used,
}

/// A state directory that only this user can change, and that only this guard uses: two that wrote
/// there would each erase what the other learnt. Let go with the last copy, or with the process.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: PathBuf,
    usage: Usage,
    _lock: Option<Arc<Flock<File>>>,
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
    /// Others may look into it, and it holds what is not a guard's: to close it would take that away
    /// from who uses it.
    Shared {
        /// Where.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// One of the things in it.
        holds: String,
    },
    /// Another guard uses it.
    Held {
        /// Where.
        path: PathBuf,
        /// Its process ID; empty if it does not say.
        by: String,
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
            Self::Shared { path, mode, holds } => write!(
                f,
                "the state directory `{}` has mode {mode:o} and holds `{holds}`, which is not the guard's; set `state_dir` to a directory of its own",
                path.display()
            ),
            Self::Held { path, by } => write!(
                f,
                "the state directory `{}` is used by another guard, process {by}; set another `state_dir`",
                path.display(),
                by = if by.is_empty() { "unknown" } else { by }
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
    /// tightened to 0700 if nothing but a guard's own files is in it; a directory that others could
    /// have changed, or use, is refused.
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
            if let Some(holds) = foreign(path).map_err(failed)? {
                return Err(StateDirError::Shared {
                    path: path.to_owned(),
                    mode,
                    holds,
                });
            }
            fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(failed)?;
        }
        let lock = hold(path)?;
        let usage = usage(path).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            usage,
            _lock: lock.map(Arc::new),
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

    /// Remembers whether the adoption record is still to be made: containerd was away at the first
    /// start. While it is, the directory counts as empty at the next one.
    ///
    /// # Errors
    /// What the system said.
    pub fn set_adoption_pending(&self, pending: bool) -> io::Result<()> {
        let path = self.path.join(PENDING);
        let done = if pending {
            fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(super::file::MODE)
                .open(path)
                .map(drop)
        } else {
            fs::remove_file(path)
        };
        match done {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }
}

/// Takes the directory for this process, and says so in the lock's file. `None` where the disk lets
/// nobody make that file: facts are read from there all the same.
fn hold(directory: &Path) -> Result<Option<Flock<File>>, StateDirError> {
    let failed = |error: io::Error| StateDirError::Io {
        path: directory.to_owned(),
        text: error.to_string(),
    };
    let open = |writable: bool| {
        fs::OpenOptions::new()
            .read(true)
            .write(writable)
            .create(writable)
            .truncate(false)
            .mode(super::file::MODE)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(directory.join(LOCK))
    };
    let mut file = match open(true) {
        Ok(file) => file,
        Err(error) if is_disk(&error) => match open(false) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        },
        Err(error) => return Err(failed(error)),
    };
    let mut by = String::new();
    // Only for people; what is no text is nobody's name.
    let read = (&mut file).take(MAX_PID).read_to_string(&mut by);
    let mut lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
        if errno == Errno::EWOULDBLOCK {
            StateDirError::Held {
                path: directory.to_owned(),
                by: read.map_or_else(|_| String::new(), |_| by.trim().to_owned()),
            }
        } else {
            failed(errno.into())
        }
    })?;
    if let Err(error) = name_holder(&mut lock) {
        tracing::debug!("the lock of the state directory names nobody: {error}");
    }
    Ok(Some(lock))
}

/// Whether the disk takes nothing: it is mounted read-only, or full.
fn is_disk(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
    )
}

fn name_holder(lock: &mut File) -> io::Result<()> {
    use std::io::Seek as _;
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

/// Something in the directory that no guard left there.
fn foreign(path: &Path) -> io::Result<Option<String>> {
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        let bytes = name.as_encoded_bytes();
        let is_own = FACTS.iter().any(|fact| bytes.starts_with(fact.as_bytes()))
            || BESIDE
                .iter()
                .chain(&[PENDING, LOCK])
                .any(|own| name == **own)
            || super::file::is_draft(&name);
        if !is_own {
            return Ok(Some(name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

/// A draft of a file that was never put in its place is nothing.
fn usage(path: &Path) -> io::Result<Usage> {
    let mut usage = Usage::Empty;
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        if name == PENDING {
            return Ok(Usage::Empty);
        }
        let is_fact = FACTS
            .iter()
            .any(|fact| name.as_encoded_bytes().starts_with(fact.as_bytes()));
        if is_fact && !super::file::is_draft(&name) {
            usage = Usage::Used;
        }
    }
    Ok(usage)
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
    fn a_directory_that_another_guard_uses_is_refused_until_it_ends() {
        let (_parent, path) = with_mode(0o700);
        let first = StateDir::open(&path).unwrap();
        let copy = first.clone();
        drop(first);
        let by = std::process::id().to_string();
        let error = StateDir::open(&path).unwrap_err();
        let words = format!(
            "the state directory `{}` is used by another guard, process {by}; set another `state_dir`",
            path.display()
        );
        assert_eq!(error.to_string(), words);
        assert_eq!(
            error,
            StateDirError::Held {
                path: path.clone(),
                by
            }
        );
        drop(copy);
        StateDir::open(&path).unwrap();
    }

    #[test]
    fn a_readable_directory_is_tightened() {
        let (_parent, path) = with_mode(0o755);
        StateDir::open(&path).unwrap();
        assert_eq!(mode_of(&path), 0o700);
    }

    #[test]
    fn a_readable_directory_with_a_guards_files_alone_is_tightened() {
        let (_parent, path) = with_mode(0o755);
        for name in [
            "ledger.redb.bad-1",
            "admissions.draft",
            "lock",
            "adoption-pending",
            "settings.last-good.toml",
            "audit",
            "lost+found",
        ] {
            fs::write(path.join(name), "").unwrap();
        }
        StateDir::open(&path).unwrap();
        assert_eq!(mode_of(&path), 0o700);
    }

    #[test]
    fn a_directory_that_others_use_is_refused_and_stays_open_to_them() {
        let (_parent, path) = with_mode(0o755);
        fs::create_dir(path.join("dpkg")).unwrap();
        let error = StateDir::open(&path).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the state directory `{}` has mode 755 and holds `dpkg`, which is not the guard's; set `state_dir` to a directory of its own",
                path.display()
            )
        );
        assert_eq!(mode_of(&path), 0o755);
        assert!(!path.join("lock").exists());
        fs::remove_dir(path.join("dpkg")).unwrap();
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
    fn every_fact_makes_it_used() {
        for fact in [
            "ledger.redb",
            "ledger.redb.bad-1",
            "admissions",
            "last-policy",
        ] {
            let (_parent, path) = with_mode(0o700);
            fs::write(path.join(fact), "").unwrap();
            assert_eq!(StateDir::open(&path).unwrap().usage(), Usage::Used);
        }
    }

    #[test]
    fn the_copy_of_the_settings_and_audit_files_leave_it_empty() {
        let (_parent, path) = with_mode(0o700);
        fs::write(path.join("settings.last-good.toml"), "").unwrap();
        fs::create_dir(path.join("audit")).unwrap();
        assert_eq!(StateDir::open(&path).unwrap().usage(), Usage::Empty);
    }

    #[test]
    fn it_counts_as_empty_until_the_adoption_record_is_made() {
        let (_parent, path) = with_mode(0o700);
        let state = StateDir::open(&path).unwrap();
        state.set_adoption_pending(true).unwrap();
        fs::write(path.join("ledger.redb"), "").unwrap();
        drop(state);
        let state = StateDir::open(&path).unwrap();
        assert_eq!(state.usage(), Usage::Empty);
        state.set_adoption_pending(false).unwrap();
        state.set_adoption_pending(false).unwrap();
        drop(state);
        assert_eq!(StateDir::open(&path).unwrap().usage(), Usage::Used);
    }
}
