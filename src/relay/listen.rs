//! The socket that the kubelet connects to: our own at a path, or one that systemd holds.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::io::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

/// `sockaddr_un.sun_path` holds 108 bytes with its final zero (unix(7)).
const MAX_PATH: usize = 107;

/// Why there is no socket to listen on.
#[derive(Debug)]
pub enum ListenError {
    /// The path does not fit into a socket address.
    PathTooLong {
        /// The configured path.
        path: PathBuf,
    },
    /// Something that is no socket is in the way.
    NotASocket {
        /// The configured path.
        path: PathBuf,
    },
    /// Another process answers there, or holds the lock beside it.
    InUse {
        /// The configured path.
        path: PathBuf,
    },
    /// The system refused one step.
    Io {
        /// The configured path.
        path: PathBuf,
        /// The step, as in "create its directory".
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PathTooLong { path } => write!(
                f,
                "the socket path `{}` is longer than {MAX_PATH} bytes; choose a shorter one",
                path.display()
            ),
            Self::NotASocket { path } => write!(
                f,
                "`{}` exists and is no socket; remove it or choose another path",
                path.display()
            ),
            Self::InUse { path } => write!(
                f,
                "another process serves `{}`; stop it or choose another path",
                path.display()
            ),
            Self::Io { path, step, source } => {
                write!(
                    f,
                    "cannot {step} for the socket `{}`: {source}",
                    path.display()
                )
            }
        }
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::PathTooLong { .. } | Self::NotASocket { .. } | Self::InUse { .. } => None,
        }
    }
}

/// A listening socket. Dropping it removes our own socket file, if it is still ours; a socket of
/// systemd's stays.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: UnixListener,
    owned: Option<Owned>,
}

/// The file that we made, and the lock that says so.
#[derive(Debug)]
struct Owned {
    file: SocketFile,
    _lock: File,
}

/// Which file we made.
#[derive(Clone, Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Listener {
    /// Makes a socket at `path` with mode 0600, and its directory with mode 0700 if it is missing.
    /// A socket file that nobody serves is replaced.
    ///
    /// # Errors
    ///
    /// [`ListenError`]; a file that is in use or no socket is left alone.
    pub fn bind(path: &Path) -> Result<Self, ListenError> {
        if path.as_os_str().as_bytes().len() > MAX_PATH {
            return Err(ListenError::PathTooLong {
                path: path.to_owned(),
            });
        }
        let failed = |step| {
            move |source| ListenError::Io {
                path: path.to_owned(),
                step,
                source,
            }
        };
        if let Some(directory) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(failed("create the directory"))?;
        }
        let lock = lock_beside(path)?;
        clear_stale(path)?;
        let socket = UnixListener::bind(path).map_err(failed("bind"))?;
        std::fs::set_permissions(path, Permissions::from_mode(0o600))
            .map_err(failed("set mode 0600"))?;
        socket
            .set_nonblocking(true)
            .map_err(failed("set non-blocking mode"))?;
        let made = path
            .symlink_metadata()
            .map_err(failed("read back the file"))?;
        let file = SocketFile {
            path: path.to_owned(),
            device: made.dev(),
            inode: made.ino(),
        };
        Ok(Self {
            socket,
            owned: Some(Owned { file, _lock: lock }),
        })
    }

    /// The file that we made, if we made one.
    pub(super) fn file(&self) -> Option<SocketFile> {
        self.owned.as_ref().map(|owned| owned.file.clone())
    }
}

impl SocketFile {
    /// Whether the path still leads to it.
    pub(super) fn is_ours(&self) -> bool {
        self.path
            .symlink_metadata()
            .is_ok_and(|now| now.dev() == self.device && now.ino() == self.inode)
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if self.file.is_ours() {
            // Nothing to do about a failure: the next start finds a stale socket and replaces it.
            drop(std::fs::remove_file(&self.file.path));
        }
    }
}

/// Two starts at once would each find the other's socket stale between bind and listen. The lock
/// file stays behind: removing it would let a third process lock a file that no other sees.
fn lock_beside(path: &Path) -> Result<File, ListenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let failed = |step| {
        move |source| ListenError::Io {
            path: path.to_owned(),
            step,
            source,
        }
    };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(PathBuf::from(name))
        .map_err(failed("open the lock file"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ListenError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(failed("lock the lock file")(source)),
    }
}

/// Removes a socket file that nobody serves.
fn clear_stale(path: &Path) -> Result<(), ListenError> {
    let failed = |step| {
        move |source| ListenError::Io {
            path: path.to_owned(),
            step,
            source,
        }
    };
    match path.symlink_metadata() {
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => {
            return Err(ListenError::NotASocket {
                path: path.to_owned(),
            });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at the path")(error)),
    }
    match probe(path) {
        Err(Errno::ECONNREFUSED) => {
            std::fs::remove_file(path).map_err(failed("remove the stale socket"))
        }
        Err(Errno::ENOENT) => Ok(()),
        // A full queue is a sign of life, too.
        Ok(()) | Err(Errno::EAGAIN) => Err(ListenError::InUse {
            path: path.to_owned(),
        }),
        Err(error) => Err(failed("ask whether it is in use")(error.into())),
    }
}

/// Connects without waiting.
fn probe(path: &Path) -> Result<(), Errno> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let probe = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(probe.as_raw_fd(), &UnixAddr::new(path)?)
}

/// The sockets that systemd passed to this process (sd_listen_fds(3)).
pub struct InheritedSockets {
    sockets: Vec<UnixListener>,
}

impl fmt::Debug for InheritedSockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InheritedSockets")
            .field("sockets", &self.sockets.len())
            .finish()
    }
}

impl InheritedSockets {
    /// Reads `LISTEN_FDS` and `LISTEN_PID`, and removes them: call it once, before any thread.
    /// Descriptors that are no unix stream sockets are closed.
    pub fn from_env() -> Self {
        let mut passed = ListenFd::from_env();
        let sockets = (0..passed.len())
            .filter_map(|index| passed.take_unix_listener(index).ok().flatten())
            .collect();
        Self { sockets }
    }

    /// The socket that listens at `path`, if one was passed.
    ///
    /// # Errors
    ///
    /// [`ListenError::Io`] if it cannot be made non-blocking.
    pub fn take(&mut self, path: &Path) -> Result<Option<Listener>, ListenError> {
        let at_path = |socket: &UnixListener| {
            socket
                .local_addr()
                .is_ok_and(|address| address.as_pathname() == Some(path))
        };
        let Some(index) = self.sockets.iter().position(at_path) else {
            return Ok(None);
        };
        let socket = self.sockets.swap_remove(index);
        socket
            .set_nonblocking(true)
            .map_err(|source| ListenError::Io {
                path: path.to_owned(),
                step: "set non-blocking mode",
                source,
            })?;
        Ok(Some(Listener {
            socket,
            owned: None,
        }))
    }

    /// The paths of the sockets that nobody took, to say in the log.
    pub fn left(&self) -> Vec<PathBuf> {
        self.sockets
            .iter()
            .filter_map(|socket| Some(socket.local_addr().ok()?.as_pathname()?.to_owned()))
            .collect()
    }
}
