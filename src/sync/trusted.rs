//! Opens a directory that nobody else can replace: every directory on the way to it, and every link,
//! belongs to root or to the daemon's own user. Refuses what another user could swap for his own.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::Mode;

use super::LocalError;

/// Links on the way, as many as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// A directory that was opened step by step, so that it is the one that was looked at.
#[derive(Debug)]
pub(super) struct Directory {
    file: File,
}

impl Directory {
    /// Opens `path`, following links that nobody else could have made.
    pub(super) fn open(path: &Path) -> Result<Self, LocalError> {
        let whole = std::path::absolute(path).map_err(unreadable(path))?;
        let mut steps = steps(&whole);
        let mut at = PathBuf::from("/");
        let mut directory = root().map_err(unreadable(&at))?;
        let mut links = 0;
        while let Some(step) = steps.pop() {
            let here = at.join(&step);
            let next = look(&directory, &step).map_err(unreadable(&here))?;
            let metadata = next.metadata().map_err(unreadable(&here))?;
            if metadata.is_symlink() {
                if !is_own(&metadata) {
                    return Err(LocalError::ForeignLink { path: here });
                }
                links += 1;
                let target = readlinkat(&next, "").map_err(io::Error::from);
                let target = PathBuf::from(target.map_err(unreadable(&here))?);
                if links > MAX_LINKS {
                    return Err(unreadable(&here)(nix::errno::Errno::ELOOP.into()));
                }
                if target.is_absolute() {
                    at = PathBuf::from("/");
                    directory = root().map_err(unreadable(&at))?;
                }
                steps.extend(self::steps(&target));
                continue;
            }
            at = here;
            let is_last = steps.is_empty();
            if !metadata.is_dir() {
                return Err(unreadable(&at)(nix::errno::Errno::ENOTDIR.into()));
            }
            let holds = if is_last { is_closed } else { keeps_entries };
            if !is_own(&metadata) || !holds(&metadata) {
                return Err(LocalError::Untrusted { path: at });
            }
            directory = next;
        }
        Ok(Self { file: directory })
    }

    /// The names in it.
    pub(super) fn names(&self) -> io::Result<Vec<OsString>> {
        use std::os::fd::AsRawFd;
        // proc(5): the very directory of the descriptor, wherever its name leads by now.
        let by_descriptor = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        std::fs::read_dir(by_descriptor)?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect()
    }

    /// Opens one file of it for reading; a link is ELOOP, a pipe does not block.
    pub(super) fn file(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        Ok(openat(&self.file, name, flags, Mode::empty())?.into())
    }
}

/// Whether a file or directory is one that only root or the daemon's own user can change.
pub(super) fn is_trusted(metadata: &Metadata) -> bool {
    is_own(metadata) && is_closed(metadata)
}

fn is_own(metadata: &Metadata) -> bool {
    metadata.uid() == 0 || metadata.uid() == nix::unistd::geteuid().as_raw()
}

fn is_closed(metadata: &Metadata) -> bool {
    metadata.mode() & 0o022 == 0
}

/// Whether nobody else can rename or remove what stands in a directory: in a sticky one, such as
/// /tmp, only the owner of an entry can (inode(7)), and the entry is looked at next.
fn keeps_entries(metadata: &Metadata) -> bool {
    is_closed(metadata) || metadata.mode() & 0o1000 != 0
}

/// The parts of a path, last one first.
fn steps(path: &Path) -> Vec<OsString> {
    let named = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut steps: Vec<OsString> = named.collect();
    steps.reverse();
    steps
}

fn root() -> io::Result<File> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(open("/", flags, Mode::empty())?.into())
}

fn look(directory: &File, name: &OsStr) -> io::Result<File> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(directory, name, flags, Mode::empty())?.into())
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> LocalError {
    let path = path.to_path_buf();
    move |cause| LocalError::Unreadable { path, cause }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, lchown, symlink};

    /// `DIR/a/policy`, with `a` of this mode.
    fn below(mode: u32) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/policy")).unwrap();
        let a = dir.path().join("a");
        fs::set_permissions(a, fs::Permissions::from_mode(mode)).unwrap();
        dir
    }

    fn refused(path: &Path) -> String {
        Directory::open(path).unwrap_err().to_string()
    }

    #[test]
    fn a_parent_that_others_may_write_could_hold_another_directory_tomorrow() {
        let dir = below(0o777);
        let parent = dir.path().join("a");
        let wanted = format!(
            "`{}` could have been written by another user; make it owned by root and writable by root alone (chown root, chmod go-w)",
            parent.display()
        );
        assert_eq!(refused(&parent.join("policy")), wanted);
    }

    #[test]
    fn a_sticky_parent_keeps_what_root_put_into_it() {
        let dir = below(0o1777);
        assert!(Directory::open(&dir.path().join("a/policy")).is_ok());
        // The directory itself must not take files of others.
        assert!(matches!(
            Directory::open(&dir.path().join("a")),
            Err(LocalError::Untrusted { .. })
        ));
    }

    #[test]
    fn a_parent_of_another_user_is_refused() {
        let dir = below(0o755);
        let parent = dir.path().join("a");
        assert!(Directory::open(&parent.join("policy")).is_ok());
        if nix::unistd::geteuid().is_root() {
            lchown(&parent, Some(65_534), None).unwrap();
            assert!(refused(&parent.join("policy")).contains("another user"));
        }
    }

    #[test]
    fn a_link_of_the_own_user_is_followed_and_what_it_leads_through_is_looked_at() {
        let dir = below(0o755);
        let link = dir.path().join("link");
        symlink("a/../a/policy", &link).unwrap();
        assert!(Directory::open(&link).is_ok());
        let parent = dir.path().join("a");
        fs::set_permissions(&parent, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(refused(&link).contains("another user"));
    }

    #[test]
    fn a_link_of_another_user_is_refused() {
        let dir = below(0o755);
        let link = dir.path().join("link");
        symlink(dir.path().join("a/policy"), &link).unwrap();
        assert!(Directory::open(&link).is_ok());
        if nix::unistd::geteuid().is_root() {
            lchown(&link, Some(65_534), None).unwrap();
            let wanted = format!(
                "`{}` is a link of another user; give it to root (chown -h root), or name the directory itself",
                link.display()
            );
            assert_eq!(refused(&link), wanted);
        }
    }

    #[test]
    fn links_in_a_circle_end() {
        let dir = tempfile::tempdir().unwrap();
        symlink("two", dir.path().join("one")).unwrap();
        symlink("one", dir.path().join("two")).unwrap();
        assert!(refused(&dir.path().join("one")).starts_with("cannot read `"));
    }
}
