//! Files that are either the old or the new one, never half of one, whenever the power goes.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::fcntl::OFlag;

/// The mode of every file of the state.
pub(super) const MODE: u32 = 0o600;
/// The end of a draft's name.
const DRAFT: &str = ".draft";

/// The steps of a write, in order; a test stops before any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Making the draft.
    Create,
    /// Writing half of it.
    WriteHalf,
    /// Writing the rest.
    WriteRest,
    /// fsync of the draft.
    SyncFile,
    /// Giving it its name.
    Place,
    /// fsync of the directory.
    SyncDirectory,
}

/// Stops a write before a step, as a crash or a full disk would.
pub(super) trait Faults {
    /// An error where the write shall end.
    fn before(&self, step: Step) -> io::Result<()>;
}

/// No faults but the system's.
pub(super) struct NoFaults;

impl Faults for NoFaults {
    fn before(&self, _: Step) -> io::Result<()> {
        Ok(())
    }
}

/// What happens to a file that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    /// It is replaced at once.
    Replace,
    /// It stays, and the write fails with `AlreadyExists`.
    Keep,
}

pub(super) fn is_draft(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.ends_with(DRAFT))
}

/// Writes `name` in `directory` whole, durable when it returns.
pub(super) fn write(
    directory: &Path,
    name: &str,
    bytes: &[u8],
    existing: Existing,
    faults: &impl Faults,
) -> io::Result<()> {
    let place = directory.join(name);
    let draft = directory.join(format!("{name}{DRAFT}"));
    faults.before(Step::Create)?;
    // A draft that an earlier crash left is worth nothing.
    match fs::remove_file(&draft) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(&draft)?;
    let (first, rest) = bytes.split_at(bytes.len() / 2);
    faults.before(Step::WriteHalf)?;
    file.write_all(first)?;
    faults.before(Step::WriteRest)?;
    file.write_all(rest)?;
    faults.before(Step::SyncFile)?;
    file.sync_all()?;
    faults.before(Step::Place)?;
    match existing {
        Existing::Replace => fs::rename(&draft, &place)?,
        Existing::Keep => {
            fs::hard_link(&draft, &place)?;
            fs::remove_file(&draft)?;
        }
    }
    faults.before(Step::SyncDirectory)?;
    File::open(directory)?.sync_all()
}

/// Reads `name` in `directory`, at most `max` bytes; `None` if there is no such file.
pub(super) fn read(directory: &Path, name: &str, max: u64) -> io::Result<Option<Vec<u8>>> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(directory.join(name));
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len <= max) {
        Ok(Some(bytes))
    } else {
        Err(io::Error::from(io::ErrorKind::FileTooLarge))
    }
}

#[cfg(test)]
pub(super) mod faults {
    use super::*;

    /// Every step, in order.
    pub(in crate::store) const STEPS: [Step; 6] = [
        Step::Create,
        Step::WriteHalf,
        Step::WriteRest,
        Step::SyncFile,
        Step::Place,
        Step::SyncDirectory,
    ];

    /// Ends the write before one step.
    pub(in crate::store) struct StopBefore(pub(in crate::store) Step);

    impl Faults for StopBefore {
        fn before(&self, step: Step) -> io::Result<()> {
            if step == self.0 {
                Err(io::Error::from(io::ErrorKind::StorageFull))
            } else {
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::faults::{STEPS, StopBefore};
    use super::*;

    #[test]
    fn a_write_that_ends_at_any_step_leaves_the_old_or_the_new_file() {
        for step in STEPS {
            let directory = tempfile::tempdir().unwrap();
            let at = directory.path();
            write(at, "f", b"old one", Existing::Replace, &NoFaults).unwrap();
            let error =
                write(at, "f", b"the new", Existing::Replace, &StopBefore(step)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            let want: &[u8] = if step == Step::SyncDirectory {
                b"the new"
            } else {
                b"old one"
            };
            assert_eq!(read(at, "f", 100).unwrap().unwrap(), want, "{step:?}");
            write(at, "f", b"again", Existing::Replace, &NoFaults).unwrap();
            assert_eq!(read(at, "f", 100).unwrap().unwrap(), b"again");
        }
    }

    #[test]
    fn a_kept_file_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        write(at, "f", b"first", Existing::Keep, &NoFaults).unwrap();
        let error = write(at, "f", b"second", Existing::Keep, &NoFaults).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read(at, "f", 100).unwrap().unwrap(), b"first");
    }

    #[test]
    fn files_are_0600() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "f", b"x", Existing::Replace, &NoFaults).unwrap();
        let mode = fs::metadata(directory.path().join("f")).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o600);
    }

    #[test]
    fn a_file_over_the_limit_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "f", b"1234", Existing::Replace, &NoFaults).unwrap();
        assert_eq!(read(directory.path(), "f", 4).unwrap().unwrap(), b"1234");
        assert_eq!(
            read(directory.path(), "f", 3).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
    }
}
