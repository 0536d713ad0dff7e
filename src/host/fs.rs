//! The few looks at the filesystem that a classification takes, behind a trait. No look follows a
//! symbolic link, and none opens anything for reading.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

/// The largest file of /proc that is read (64 MiB: mountinfo of hundreds of thousands of mounts).
const MAX_PROC: u64 = 64 * 1024 * 1024;
/// What mountinfo, and the information of a descriptor, usually take, in bytes: so much is read at once.
const USUAL_MOUNTINFO: usize = 64 * 1024;
const USUAL_FDINFO: usize = 512;
/// The longest path that is walked, in bytes (PATH_MAX).
const MAX_PATH: usize = 4096;

/// What kind of object a component of a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// Anything else.
    Other,
}

/// One existing component of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Its owner.
    pub uid: u32,
    /// Its permission bits (the lower twelve of `st_mode`).
    pub mode: u32,
}

/// Where a walk along a path ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At the path's last component.
    Found,
    /// At a component that does not exist.
    Missing,
    /// At a component that is a symbolic link; the last component included.
    Symlink,
    /// At a component that is no directory, with more to come.
    NotDirectory,
}

/// A walk along a path, from `/`, without following symbolic links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trail {
    /// Every component that exists, `/` first. With [`End::Found`] the last one is the object.
    pub nodes: Vec<Node>,
    /// Where it ended.
    pub end: End,
    /// The id of the mount that holds the object; only with [`End::Found`].
    pub mount: Option<u64>,
}

/// What a classification looks at.
pub trait HostFs {
    /// Walks an absolute path without `.`, `..` and doubled slashes.
    ///
    /// # Errors
    /// Whatever the system says beyond the four [`End`]s.
    fn trail(&self, path: &str) -> io::Result<Trail>;

    /// Where such a walk ends, and the id of the mount that holds the object (only with
    /// [`End::Found`]): for who does not look at the components.
    ///
    /// # Errors
    /// As [`HostFs::trail`].
    fn reach(&self, path: &str) -> io::Result<(End, Option<u64>)> {
        self.trail(path).map(|trail| (trail.end, trail.mount))
    }

    /// The text of mountinfo.
    ///
    /// # Errors
    /// Whatever the system says; a text over 64 MiB.
    fn mountinfo(&self) -> io::Result<Vec<u8>>;

    /// The path without symbolic links.
    ///
    /// # Errors
    /// Whatever the system says; a path that is not UTF-8.
    fn real_path(&self, path: &str) -> io::Result<String>;

    /// What the symbolic link at a path says.
    ///
    /// # Errors
    /// Whatever the system says; a target that is not UTF-8.
    fn read_link(&self, path: &str) -> io::Result<String>;
}

/// The host that the guard runs on. The guard must live in the host's mount namespace, or in one
/// that receives its mounts (a systemd service's does). The calls block: a dead network filesystem
/// below the path can hold them, so callers on a runtime use a blocking thread and a deadline.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealHost;

impl HostFs for RealHost {
    fn trail(&self, path: &str) -> io::Result<Trail> {
        walkable(path)?;
        let mut at = open(AT_FDCWD, "/")?;
        let mut nodes = vec![node(&fstat(&at)?)];
        for component in path.split('/').filter(|part| !part.is_empty()) {
            let next = match open(&at, component) {
                Ok(next) => next,
                Err(Errno::ENOENT) => return Ok(ended(nodes, End::Missing)),
                Err(Errno::ENOTDIR) => return Ok(ended(nodes, End::NotDirectory)),
                Err(errno) => return Err(errno.into()),
            };
            let here = node(&fstat(&next)?);
            nodes.push(here);
            if here.kind == NodeKind::Symlink {
                return Ok(ended(nodes, End::Symlink));
            }
            at = next;
        }
        Ok(Trail {
            nodes,
            end: End::Found,
            mount: Some(mount_id(&at)?),
        })
    }

    fn reach(&self, path: &str) -> io::Result<(End, Option<u64>)> {
        walkable(path)?;
        // Without O_NOFOLLOW, so that a link at the end is refused too (openat2(2)).
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
        match openat2(AT_FDCWD, path, how) {
            Ok(object) => Ok((End::Found, Some(mount_id(&object)?))),
            Err(Errno::ELOOP) => Ok((End::Symlink, None)),
            Err(Errno::ENOENT) => Ok((End::Missing, None)),
            Err(Errno::ENOTDIR) => Ok((End::NotDirectory, None)),
            // A kernel or a filter without the call: step by step.
            Err(_) => self.trail(path).map(|trail| (trail.end, trail.mount)),
        }
    }

    fn mountinfo(&self) -> io::Result<Vec<u8>> {
        read("/proc/self/mountinfo", USUAL_MOUNTINFO)
    }

    fn real_path(&self, path: &str) -> io::Result<String> {
        text(Path::new(path).canonicalize()?)
    }

    fn read_link(&self, path: &str) -> io::Result<String> {
        text(std::fs::read_link(path)?)
    }
}

fn text(path: PathBuf) -> io::Result<String> {
    path.into_os_string()
        .into_string()
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

fn open<Fd: std::os::fd::AsFd>(at: Fd, component: &str) -> Result<OwnedFd, Errno> {
    openat(
        at,
        component,
        OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
}

fn node(stat: &FileStat) -> Node {
    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    Node {
        kind: if kind == SFlag::S_IFDIR {
            NodeKind::Directory
        } else if kind == SFlag::S_IFLNK {
            NodeKind::Symlink
        } else {
            NodeKind::Other
        },
        uid: stat.st_uid,
        mode: stat.st_mode & 0o7777,
    }
}

fn ended(nodes: Vec<Node>, end: End) -> Trail {
    Trail {
        nodes,
        end,
        mount: None,
    }
}

/// The whole of a file of /proc, which usually has not more than `usual` bytes.
fn read(path: &str, usual: usize) -> io::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(usual);
    let file = File::open(path)?;
    let read = file.take(MAX_PROC).read_to_end(&mut text)?;
    if u64::try_from(read).is_ok_and(|read| read < MAX_PROC) {
        Ok(text)
    } else {
        Err(io::Error::from(io::ErrorKind::FileTooLarge))
    }
}

/// Only an absolute path that the system takes can be walked.
fn walkable(path: &str) -> io::Result<()> {
    if !path.starts_with('/') || path.len() > MAX_PATH {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    Ok(())
}

/// `mnt_id` of /proc/self/fdinfo (proc_pid_fdinfo(5)): also there where statx does not tell it.
fn mount_id(of: &OwnedFd) -> io::Result<u64> {
    let text = read(
        &format!("/proc/self/fdinfo/{}", of.as_raw_fd()),
        USUAL_FDINFO,
    )?;
    std::str::from_utf8(&text)
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?
        .lines()
        .find_map(|line| line.strip_prefix("mnt_id:"))
        .and_then(|id| id.trim().parse().ok())
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_reach_ends_where_a_walk_ends() {
        let directory = tempfile::tempdir().unwrap();
        let at = RealHost
            .real_path(directory.path().to_str().unwrap())
            .unwrap();
        std::fs::create_dir(format!("{at}/dir")).unwrap();
        std::fs::write(format!("{at}/dir/file"), "").unwrap();
        symlink("dir", format!("{at}/link")).unwrap();
        symlink("nothing", format!("{at}/dangling")).unwrap();
        for (path, end) in [
            ("", End::Found),
            ("/dir", End::Found),
            ("/dir/file", End::Found),
            ("/link", End::Symlink),
            ("/link/file", End::Symlink),
            ("/dangling", End::Symlink),
            ("/missing", End::Missing),
            ("/missing/below", End::Missing),
            ("/dir/file/below", End::NotDirectory),
        ] {
            let path = format!("{at}{path}");
            let walked = RealHost.trail(&path).unwrap();
            assert_eq!(walked.end, end, "{path}");
            let reached = RealHost.reach(&path).unwrap();
            assert_eq!(reached, (walked.end, walked.mount), "{path}");
        }
    }

    #[test]
    fn a_path_that_is_not_absolute_or_too_long_is_not_reached() {
        let long = format!("/{}", "a".repeat(MAX_PATH));
        for path in ["dir", "", &long] {
            assert!(RealHost.reach(path).is_err(), "{path}");
        }
    }
}
