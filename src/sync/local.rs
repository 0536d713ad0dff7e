//! A root-owned directory of YAML files on the node. Refuses what another user could have written:
//! the directory decides what may run here.

use std::ffi::OsStr;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::trusted::{Directory, is_trusted};
use crate::limits::Limits;

/// One policy file, as read.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SourceFile {
    /// File name without its directory.
    pub name: String,
    /// Its whole text.
    pub text: String,
}

/// Why a policy directory was not read. Nothing of it is used then.
#[derive(Debug)]
pub enum LocalError {
    /// The directory or a file could not be read.
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// Somebody else than root (or the daemon's own user) could have written it.
    Untrusted {
        /// Which.
        path: PathBuf,
    },
    /// A link on the way to the directory that somebody else made.
    ForeignLink {
        /// Which.
        path: PathBuf,
    },
    /// No regular file where one is due: a link could lead anywhere.
    NotRegular {
        /// Which.
        path: PathBuf,
    },
    /// All files together are larger than `max_policy_bytes`.
    TooLarge {
        /// The bound, in bytes.
        limit: usize,
    },
    /// A file that is not UTF-8.
    NotText {
        /// Which.
        path: PathBuf,
    },
    /// No `*.yaml` or `*.yml` in the directory.
    Empty {
        /// Which.
        path: PathBuf,
    },
}

impl fmt::Display for LocalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, cause } => {
                write!(f, "cannot read `{}`: {cause}", path.display())
            }
            Self::Untrusted { path } => write!(
                f,
                "`{}` could have been written by another user; make it owned by root and writable by root alone (chown root, chmod go-w)",
                path.display()
            ),
            Self::ForeignLink { path } => write!(
                f,
                "`{}` is a link of another user; give it to root (chown -h root), or name the directory itself",
                path.display()
            ),
            Self::NotRegular { path } => {
                write!(
                    f,
                    "`{}` is not a regular file; put the file itself there",
                    path.display()
                )
            }
            Self::TooLarge { limit } => {
                write!(
                    f,
                    "the policy is larger than `max_policy_bytes` ({limit} bytes)"
                )
            }
            Self::NotText { path } => write!(f, "`{}` is not UTF-8 text", path.display()),
            Self::Empty { path } => {
                write!(f, "`{}` holds no *.yaml and no *.yml file", path.display())
            }
        }
    }
}

impl std::error::Error for LocalError {}

/// Reads every `*.yaml` and `*.yml` of `directory`, sorted by name. Hidden files (editors leave
/// them) are passed over.
///
/// # Errors
/// [`LocalError`] if anything in it cannot be read or trusted: all or nothing.
pub fn read_directory(directory: &Path, limits: &Limits) -> Result<Vec<SourceFile>, LocalError> {
    let unreadable = |path: &Path| {
        let path = path.to_path_buf();
        move |cause| LocalError::Unreadable { path, cause }
    };
    let opened = Directory::open(directory)?;
    let mut paths = Vec::new();
    for entry in opened.names().map_err(unreadable(directory))? {
        let name = entry.to_string_lossy().into_owned();
        if !name.starts_with('.') && (name.ends_with(".yaml") || name.ends_with(".yml")) {
            paths.push((name, entry));
        }
    }
    paths.sort();
    let mut room = limits.max_policy_bytes;
    let mut files = Vec::new();
    for (name, entry) in paths {
        let path = directory.join(&entry);
        let bytes = read_file(&opened, &entry, &path, room)?.ok_or(LocalError::TooLarge {
            limit: limits.max_policy_bytes,
        })?;
        room = room.saturating_sub(bytes.len());
        let text = String::from_utf8(bytes).map_err(|_| LocalError::NotText { path })?;
        files.push(SourceFile { name, text });
    }
    if files.is_empty() {
        return Err(LocalError::Empty {
            path: directory.to_path_buf(),
        });
    }
    Ok(files)
}

/// The bytes of one trusted regular file; `None` if there are more than `room`.
fn read_file(
    directory: &Directory,
    name: &OsStr,
    path: &Path,
    room: usize,
) -> Result<Option<Vec<u8>>, LocalError> {
    let unreadable = |cause| LocalError::Unreadable {
        path: path.to_path_buf(),
        cause,
    };
    let file = match directory.file(name) {
        Err(cause) if cause.raw_os_error() == Some(nix::libc::ELOOP) => {
            return Err(LocalError::NotRegular {
                path: path.to_path_buf(),
            });
        }
        opened => opened.map_err(unreadable)?,
    };
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(LocalError::NotRegular {
            path: path.to_path_buf(),
        });
    }
    if !is_trusted(&metadata) {
        return Err(LocalError::Untrusted {
            path: path.to_path_buf(),
        });
    }
    let bound = u64::try_from(room).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    file.take(bound.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    Ok((bytes.len() <= room).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn yaml_files_are_read_in_the_order_of_their_names() {
        let dir = directory();
        fs::write(dir.path().join("b.yml"), "two").unwrap();
        fs::write(dir.path().join("a.yaml"), "one").unwrap();
        fs::write(dir.path().join("notes.txt"), "no").unwrap();
        fs::write(dir.path().join(".a.yaml.swp.yaml"), "no").unwrap();
        let files = read_directory(dir.path(), &Limits::default()).unwrap();
        let names: Vec<_> = files
            .iter()
            .map(|f| (f.name.as_str(), f.text.as_str()))
            .collect();
        assert_eq!(names, [("a.yaml", "one"), ("b.yml", "two")]);
    }

    #[test]
    fn a_file_that_others_may_write_refuses_the_whole_directory() {
        let dir = directory();
        let file = dir.path().join("a.yaml");
        fs::write(&file, "one").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        let error = read_directory(dir.path(), &Limits::default()).unwrap_err();
        assert!(matches!(error, LocalError::Untrusted { path } if path == file));
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = directory();
        std::os::unix::fs::symlink("/etc/hostname", dir.path().join("a.yaml")).unwrap();
        let error = read_directory(dir.path(), &Limits::default()).unwrap_err();
        assert!(matches!(error, LocalError::NotRegular { .. }));
    }

    #[test]
    fn more_than_the_limit_is_refused_before_it_is_parsed() {
        let dir = directory();
        fs::write(dir.path().join("a.yaml"), "12345").unwrap();
        let limits = Limits {
            max_policy_bytes: 4,
            ..Limits::default()
        };
        let error = read_directory(dir.path(), &limits).unwrap_err();
        assert!(matches!(error, LocalError::TooLarge { limit: 4 }));
    }

    #[test]
    fn an_empty_directory_is_an_error_and_not_an_empty_policy() {
        let dir = directory();
        let error = read_directory(dir.path(), &Limits::default()).unwrap_err();
        assert!(matches!(error, LocalError::Empty { .. }));
    }
}
