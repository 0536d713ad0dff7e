//! The admin socket: the status as JSON, read-only, for `pullguard status` and the reporter. It
//! lies alone in its directory, so that mounting the directory hands out nothing else.

use std::convert::Infallible;
use std::fmt;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use crate::report::{Answer, Clients, StatusSource, serve_unix};

/// Why there is no admin socket. The daemon serves without one.
#[derive(Debug)]
pub enum AdminError {
    /// Another process answers on it.
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is no socket stands in its place.
    NoSocket {
        /// The path.
        path: PathBuf,
    },
    /// The system refused.
    System {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { path } => write!(f, "`{}` is served by another process", path.display()),
            Self::NoSocket { path } => write!(f, "`{}` exists and is no socket", path.display()),
            Self::System { path, source } => write!(f, "`{}`: {source}", path.display()),
        }
    }
}

impl std::error::Error for AdminError {}

/// Binds the admin socket: its directory is made (0700) if it is missing, a socket that nobody
/// answers on is replaced, the new one is 0600. Needs a running tokio runtime.
///
/// # Errors
/// [`AdminError`]; nothing is removed that is not a dead socket.
pub fn bind(path: &Path) -> Result<UnixListener, AdminError> {
    let system = |source| AdminError::System {
        path: path.to_path_buf(),
        source,
    };
    if let Some(directory) = path.parent().filter(|directory| !directory.is_dir()) {
        DirBuilder::new()
            .mode(0o700)
            .recursive(true)
            .create(directory)
            .map_err(system)?;
    }
    remove_dead(path)?;
    let listener = UnixListener::bind(path).map_err(system)?;
    // Before this line only the umask speaks; every client is asked for its user all the same.
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(system)?;
    Ok(listener)
}

fn remove_dead(path: &Path) -> Result<(), AdminError> {
    let system = |source| AdminError::System {
        path: path.to_path_buf(),
        source,
    };
    let facts = match fs::symlink_metadata(path) {
        Ok(facts) => facts,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system(error)),
    };
    if !facts.file_type().is_socket() {
        return Err(AdminError::NoSocket {
            path: path.to_path_buf(),
        });
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(system)
        }
        Err(error) => Err(system(error)),
        Ok(_) => Err(AdminError::InUse {
            path: path.to_path_buf(),
        }),
    }
}

/// Answers `GET /status` until the future is dropped. Only root and the daemon's own user are
/// served; nothing can be changed through this socket.
///
/// # Errors
/// As [`serve_unix`].
pub async fn serve(listener: UnixListener, status: StatusSource) -> io::Result<Infallible> {
    serve_unix(listener, Clients::RootAndSelf, move |path| {
        (path == "/status").then(|| Answer {
            content_type: "application/json",
            // Strings, numbers and no maps: serialising this cannot fail.
            body: serde_json::to_string(&status()).unwrap_or_default(),
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_the_new_one_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin/admin.sock");
        drop(bind(&path).unwrap());
        let listener = bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let place = fs::metadata(path.parent().unwrap()).unwrap();
        assert_eq!(place.permissions().mode() & 0o777, 0o700);
        drop(listener);
    }

    #[tokio::test]
    async fn a_living_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let _first = bind(&path).unwrap();
        assert_eq!(
            bind(&path).unwrap_err().to_string(),
            format!("`{}` is served by another process", path.display())
        );
    }

    #[tokio::test]
    async fn a_file_in_the_place_of_the_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        fs::write(&path, "kept").unwrap();
        assert_eq!(
            bind(&path).unwrap_err().to_string(),
            format!("`{}` exists and is no socket", path.display())
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "kept");
    }
}
