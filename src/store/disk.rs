//! The ledger's file (redb), as the writing thread holds it. A file that is torn, foreign or of
//! another version is renamed to `ledger.redb.bad-N` and begun anew; a disk that fails is tried
//! again later, and then gets everything that memory holds.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, StorageError,
    TableDefinition, TableError,
};

use super::file;
use super::writer::Sink;

/// The file's name in the state directory.
pub(super) const NAME: &str = "ledger.redb";
/// redb's page cache, in bytes.
const CACHE: usize = 4 * 1024 * 1024;
/// Files set aside at most; the last one is replaced then.
const MAX_BAD: u32 = 4;
/// The version of the tables.
const FORMAT: u64 = 1;
/// How long a failed disk is left alone.
const PAUSE: Duration = Duration::from_secs(30);

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const FORMAT_KEY: &str = "format";

/// One of the ledger's tables: text keys, JSON values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Table {
    /// Carried pulls by image ID.
    Carried,
    /// Chains by image ID.
    Chains,
    /// Containers by ID.
    Containers,
    /// Sandboxes by ID.
    Sandboxes,
}

impl Table {
    pub(super) const ALL: [Self; 4] = [
        Self::Carried,
        Self::Chains,
        Self::Containers,
        Self::Sandboxes,
    ];

    const fn definition(self) -> TableDefinition<'static, &'static str, &'static [u8]> {
        TableDefinition::new(match self {
            Self::Carried => "carried",
            Self::Chains => "chains",
            Self::Containers => "containers",
            Self::Sandboxes => "sandboxes",
        })
    }
}

/// One row, or its end (`None`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) table: Table,
    pub(super) key: String,
    pub(super) value: Option<Vec<u8>>,
}

/// Takes the rows of a file that was never read before, if there is one, and gives everything that
/// memory holds then.
pub(super) type Memory = Box<dyn Fn(Option<Vec<Change>>) -> Vec<Change> + Send>;

/// Why the file cannot be used now.
enum Trouble {
    /// Its content is not ours: set it aside.
    Foreign(String),
    /// The system refuses, or another process holds it: try again later.
    Away(String),
}

/// How opening went.
pub(super) struct Opened {
    /// Why the file cannot be used now, if it cannot.
    pub(super) usable: Result<(), String>,
    /// What was wrong with a file that was set aside, if one was.
    pub(super) set_aside: Option<String>,
}

/// The file, or the time at which to try again.
pub(super) struct Disk {
    path: PathBuf,
    database: Option<Database>,
    memory: Memory,
    /// Whether memory holds what the file held.
    was_read: bool,
    again: Instant,
    set_aside: Option<String>,
}

impl Disk {
    /// Opens the file and gives its rows to memory.
    pub(super) fn open(directory: &Path, memory: Memory) -> (Self, Opened) {
        let mut disk = Self {
            path: directory.join(NAME),
            database: None,
            memory,
            was_read: false,
            again: Instant::now(),
            set_aside: None,
        };
        let usable = disk.bring_up();
        let set_aside = disk.set_aside.clone();
        (disk, Opened { usable, set_aside })
    }

    /// Opens the file and brings it and memory to the same: what only the file knows is learnt, the
    /// first time that it can be read; then the file gets what memory holds.
    fn bring_up(&mut self) -> Result<(), String> {
        let rows = self.attach()?;
        self.settle(rows)
    }

    fn settle(&mut self, rows: Vec<Change>) -> Result<(), String> {
        let mut stale: HashMap<(Table, String), Option<Vec<u8>>> = rows
            .iter()
            .map(|row| ((row.table, row.key.clone()), row.value.clone()))
            .collect();
        let held = (self.memory)((!self.was_read).then_some(rows));
        self.was_read = true;
        let mut changes = Vec::new();
        for row in held {
            if stale.remove(&(row.table, row.key.clone())) != Some(row.value.clone()) {
                changes.push(row);
            }
        }
        changes.extend(stale.into_keys().map(|(table, key)| Change {
            table,
            key,
            value: None,
        }));
        if changes.is_empty() {
            return Ok(());
        }
        self.commit(&changes)
    }

    /// Opens the file; a foreign one is set aside, and the next one is begun.
    fn attach(&mut self) -> Result<Vec<Change>, String> {
        let first = match open_and_read(&self.path) {
            Err(Trouble::Foreign(why)) => {
                let aside = set_aside(&self.path).map_err(|error| self.fail(error.to_string()))?;
                self.set_aside = Some(format!("{why}; the old file is {aside}"));
                open_and_read(&self.path)
            }
            other => other,
        };
        match first {
            Ok((database, rows)) => {
                self.database = Some(database);
                Ok(rows)
            }
            Err(Trouble::Foreign(why) | Trouble::Away(why)) => Err(self.fail(why)),
        }
    }

    /// As if the pause after a failure were over.
    #[cfg(test)]
    pub(super) fn try_now(&mut self) -> Result<(), String> {
        self.again = Instant::now();
        self.idle()
    }

    fn fail(&mut self, why: String) -> String {
        self.database = None;
        self.again = Instant::now() + PAUSE;
        why
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), String> {
        let Some(database) = &self.database else {
            return Err("the ledger's file is not open".to_owned());
        };
        match guarded(|| commit(database, changes)) {
            Ok(()) => Ok(()),
            Err(Trouble::Foreign(why) | Trouble::Away(why)) => Err(self.fail(why)),
        }
    }

    /// Opens the file again after a failure and brings it up to memory.
    fn mend(&mut self) -> Result<(), String> {
        if Instant::now() < self.again {
            return Err("the ledger's file failed and is tried again soon".to_owned());
        }
        self.bring_up()
    }
}

impl Sink<Change> for Disk {
    fn write(&mut self, changes: Vec<Change>) -> Result<(), String> {
        if self.database.is_none() {
            return self.mend();
        }
        self.commit(&changes)
    }

    fn idle(&mut self) -> Result<(), String> {
        if self.database.is_none() {
            return self.mend();
        }
        Ok(())
    }

    fn catch_up(&mut self) -> Result<(), String> {
        let Some(database) = &self.database else {
            return self.mend();
        };
        match guarded(|| read(database)) {
            Ok(rows) => self.settle(rows),
            Err(Trouble::Foreign(why) | Trouble::Away(why)) => Err(self.fail(why)),
        }
    }
}

fn open_and_read(path: &Path) -> Result<(Database, Vec<Change>), Trouble> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(file::MODE)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(path)
        .map_err(|error| Trouble::Away(error.to_string()))?;
    file.set_permissions(fs::Permissions::from_mode(file::MODE))
        .map_err(|error| Trouble::Away(error.to_string()))?;
    guarded(|| {
        let database = Builder::new().set_cache_size(CACHE).create_file(file)?;
        let rows = read(&database)?;
        Ok((database, rows))
    })
}

/// redb may panic over a file that something else wrote; that is a foreign file, not our end.
fn guarded<T>(work: impl FnOnce() -> Result<T, Trouble>) -> Result<T, Trouble> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Trouble::Foreign("the ledger's file is damaged".to_owned())))
}

fn read(database: &Database) -> Result<Vec<Change>, Trouble> {
    let reading = database.begin_read()?;
    match reading.open_table(META) {
        Ok(meta) => {
            let format = meta.get(FORMAT_KEY)?.map(|value| value.value());
            if format != Some(FORMAT) {
                return Err(Trouble::Foreign("another version of the ledger".to_owned()));
            }
        }
        Err(TableError::TableDoesNotExist(_)) => {
            if reading.list_tables()?.next().is_some() {
                return Err(Trouble::Foreign("not a ledger".to_owned()));
            }
            drop(reading);
            commit(database, &[])?;
            return Ok(Vec::new());
        }
        Err(error) => return Err(error.into()),
    }
    let mut rows = Vec::new();
    for table in Table::ALL {
        let opened = match reading.open_table(table.definition()) {
            Ok(opened) => opened,
            Err(TableError::TableDoesNotExist(_)) => continue,
            Err(error) => return Err(error.into()),
        };
        for row in opened.iter()? {
            let (key, value) = row?;
            rows.push(Change {
                table,
                key: key.value().to_owned(),
                value: Some(value.value().to_vec()),
            });
        }
    }
    Ok(rows)
}

fn commit(database: &Database, changes: &[Change]) -> Result<(), Trouble> {
    let writing = database.begin_write()?;
    writing.open_table(META)?.insert(FORMAT_KEY, FORMAT)?;
    for table in Table::ALL {
        let mut open = writing.open_table(table.definition())?;
        for change in changes.iter().filter(|change| change.table == table) {
            let key = change.key.as_str();
            match &change.value {
                Some(value) => open.insert(key, value.as_slice())?,
                None => open.remove(key)?,
            };
        }
    }
    writing.commit()?;
    Ok(())
}

/// Renames the file; returns its new name.
fn set_aside(path: &Path) -> io::Result<String> {
    let name = |n: u32| path.with_file_name(format!("{NAME}.bad-{n}"));
    let free = (1..MAX_BAD)
        .map(name)
        .find(|path| fs::symlink_metadata(path).is_err())
        .unwrap_or_else(|| name(MAX_BAD));
    fs::rename(path, &free)?;
    Ok(free.display().to_string())
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "redb's errors, not ours: all the others say that the file is not a ledger"
)]
impl From<DatabaseError> for Trouble {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen => {
                Self::Away("another process holds the ledger's file".to_owned())
            }
            DatabaseError::Storage(error) => error.into(),
            other => Self::Foreign(other.to_string()),
        }
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "redb's errors, not ours: all the others say that the file is not a ledger"
)]
impl From<StorageError> for Trouble {
    fn from(error: StorageError) -> Self {
        let text = error.to_string();
        match error {
            // An error of the system, not redb's opinion about what it read.
            StorageError::Io(io) if io.raw_os_error().is_some() => Self::Away(text),
            StorageError::LockPoisoned(_) | StorageError::PreviousIo => Self::Away(text),
            _ => Self::Foreign(text),
        }
    }
}

/// The errors of single steps, by what they have in common.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "redb's errors, not ours: all the others say that the file is not a ledger"
)]
impl From<redb::Error> for Trouble {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(io) => StorageError::Io(io).into(),
            redb::Error::PreviousIo => StorageError::PreviousIo.into(),
            other => Self::Foreign(other.to_string()),
        }
    }
}

macro_rules! through_error {
    ($($kind:ty),*) => {$(
        impl From<$kind> for Trouble {
            fn from(error: $kind) -> Self {
                redb::Error::from(error).into()
            }
        }
    )*};
}

through_error!(TableError, redb::TransactionError, redb::CommitError);
