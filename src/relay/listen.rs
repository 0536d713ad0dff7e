//! The socket that the kubelet connects to: our own at a path, or one that systemd holds.

use std::fmt;
use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::io::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    file: SocketFile,
    _owned: Option<Owned>,
}

/// The file that we made.
#[derive(Debug)]
struct Owned {
    file: SocketFile,
}

/// Which file we listen at, and the lock that says so where we made it.
#[derive(Clone, Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    place: Option<Place>,
    lock: Option<Arc<File>>,
}

/// What tells one file from another, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    device: u64,
    inode: u64,
}

impl Place {
    fn of(path: &Path) -> io::Result<Self> {
        path.symlink_metadata().map(|found| Self::new(&found))
    }

    fn new(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
        }
    }
}

impl Listener {
    /// Makes a socket at `path` with mode 0600, and its directory with mode 0700 if it is missing.
    /// A socket file that nobody serves is replaced.
    ///
    /// # Errors
    ///
    /// [`ListenError`]; a file that is in use or no socket is left alone.
    pub fn bind(path: &Path) -> Result<Self, ListenError> {
        Self::bind_with(path, None)
    }

    /// As [`Listener::bind`], under a lock that is held already.
    fn bind_with(path: &Path, lock: Option<Arc<File>>) -> Result<Self, ListenError> {
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
        let lock = match lock.filter(|lock| is_beside(lock, path)) {
            Some(held) => held,
            None => Arc::new(lock_beside(path)?),
        };
        clear_stale(path)?;
        let socket = UnixListener::bind(path).map_err(failed("bind"))?;
        std::fs::set_permissions(path, Permissions::from_mode(0o600))
            .map_err(failed("set mode 0600"))?;
        socket
            .set_nonblocking(true)
            .map_err(failed("set non-blocking mode"))?;
        let place = Place::of(path).map_err(failed("read back the file"))?;
        let file = SocketFile {
            path: path.to_owned(),
            place: Some(place),
            lock: Some(lock),
        };
        Ok(Self {
            socket,
            file: file.clone(),
            _owned: Some(Owned { file }),
        })
    }

    /// Where clients find it.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// The file that it listens at.
    pub(super) fn file(&self) -> SocketFile {
        self.file.clone()
    }
}

impl SocketFile {
    /// Whether the path still leads to it.
    pub(super) fn is_there(&self) -> bool {
        self.place.is_some() && Place::of(&self.path).ok() == self.place
    }

    /// A new socket at the same path; none for a socket of systemd's, which holds it.
    ///
    /// # Errors
    ///
    /// As [`Listener::bind`].
    pub(super) fn bind_again(&self) -> Result<Option<Listener>, ListenError> {
        match &self.lock {
            Some(lock) => Listener::bind_with(&self.path, Some(lock.clone())).map(Some),
            None => Ok(None),
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if self.file.is_there() {
            // Nothing to do about a failure: the next start finds a stale socket and replaces it.
            drop(std::fs::remove_file(&self.file.path));
        }
    }
}

/// Two starts at once would each find the other's socket stale between bind and listen. The lock
/// file stays behind: removing it would let a third process lock a file that no other sees.
fn lock_beside(path: &Path) -> Result<File, ListenError> {
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
        .open(lock_path(path))
        .map_err(failed("open the lock file"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ListenError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(failed("lock the lock file")(source)),
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

/// Whether another process that looks for the lock of `path` finds this one.
fn is_beside(lock: &File, path: &Path) -> bool {
    let held = lock.metadata().map(|found| Place::new(&found));
    matches!((held, Place::of(&lock_path(path))), (Ok(held), Ok(found)) if held == found)
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

    /// The socket that listens at `path`, if one was passed: under this name, or under another that
    /// leads to the same file.
    ///
    /// # Errors
    ///
    /// [`ListenError::Io`] if it cannot be made non-blocking.
    pub fn take(&mut self, path: &Path) -> Result<Option<Listener>, ListenError> {
        let at = self
            .sockets
            .iter()
            .position(|socket| leads_to(socket, path));
        at.map(|at| self.listener(at)).transpose()
    }

    /// The only socket that was passed beside that at `admin`, if there is exactly one: then it is
    /// the one that the kubelet connects to, whatever the settings say.
    ///
    /// # Errors
    ///
    /// As [`InheritedSockets::take`].
    pub fn take_only(&mut self, admin: &Path) -> Result<Option<Listener>, ListenError> {
        let mut others = self
            .sockets
            .iter()
            .enumerate()
            .filter(|(_, socket)| bound_at(socket).is_some() && !leads_to(socket, admin));
        let only = others.next().filter(|_| others.next().is_none());
        let at = only.map(|(at, _)| at);
        at.map(|at| self.listener(at)).transpose()
    }

    fn listener(&mut self, at: usize) -> Result<Listener, ListenError> {
        let socket = self.sockets.swap_remove(at);
        let path = bound_at(&socket).unwrap_or_default();
        socket
            .set_nonblocking(true)
            .map_err(|source| ListenError::Io {
                path: path.clone(),
                step: "set non-blocking mode",
                source,
            })?;
        let place = Place::of(&path).ok();
        Ok(Listener {
            socket,
            file: SocketFile {
                path,
                place,
                lock: None,
            },
            _owned: None,
        })
    }

    /// The paths of the sockets that nobody took, to say in the log.
    pub fn left(&self) -> Vec<PathBuf> {
        self.sockets.iter().filter_map(bound_at).collect()
    }
}

/// The path that a socket was bound to.
fn bound_at(socket: &UnixListener) -> Option<PathBuf> {
    Some(socket.local_addr().ok()?.as_pathname()?.to_owned())
}

/// Whether `path` is the socket's own, by name or by file (`/var/run` is a link to `/run`).
fn leads_to(socket: &UnixListener, path: &Path) -> bool {
    let Some(bound) = bound_at(socket) else {
        return false;
    };
    let place = |path: &Path| path.metadata().map(|found| Place::new(&found));
    bound == path || matches!((place(&bound), place(path)), (Ok(one), Ok(two)) if one == two)
}
