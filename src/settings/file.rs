//! Settings from disk: the only part of the settings that touches files. The daemon always gets
//! settings to serve with: the file, else the last good copy, else the defaults.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::resolve::check_where_sockets_lead;
use super::{DEFAULT_PATH, Effect, LAST_GOOD_PATH, RowSource, Settings, SettingsError};

/// What a node starts with.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings to serve with.
    pub settings: Settings,
    /// The text that they were read from, for `settings show`; `None` for defaults.
    pub text: Option<String>,
    /// Where they came from.
    pub origin: Origin,
    /// The file, absolute, whether it could be used or not.
    pub file: PathBuf,
    /// The copy of the last one that could be used, absolute.
    pub last_good: PathBuf,
    /// Why it is not the file as written, or what else went wrong; shown in status. One line.
    pub problem: Option<String>,
}

impl Loaded {
    /// The keys that somebody wrote and that do nothing in this version.
    pub fn without_effect(&self) -> Vec<String> {
        self.settings
            .rows(self.text.as_deref())
            .into_iter()
            .filter(|row| row.effect == Effect::None && row.source != RowSource::Default)
            .map(|row| row.key)
            .collect()
    }
}

/// Where settings came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The file.
    File(PathBuf),
    /// The copy of the last file that could be read.
    LastGood(PathBuf),
    /// Built in: no policy source, empty bootstrap list.
    Defaults,
}

impl Origin {
    /// One word for status and metrics: `file`, `last-good`, `defaults`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::LastGood(_) => "last-good",
            Self::Defaults => "defaults",
        }
    }
}

/// Larger than any settings file can sensibly be.
const MAX_SETTINGS_BYTES: u64 = 1024 * 1024;

/// Settings to serve with, whatever state the file is in: the file if it can be read (a copy is
/// kept at `last_good`), else that copy, else the defaults with an empty bootstrap list. Never
/// fails, because a node without its CRI socket can start nothing at all.
pub fn load(path: &Path, last_good: &Path) -> Loaded {
    let mut loaded = peek(path, last_good);
    if let (Origin::File(_), Some(text)) = (&loaded.origin, &loaded.text) {
        loaded.problem = keep(last_good, text)
            .err()
            .map(|error| format!("{}: cannot keep a copy: {error}", last_good.display()));
    }
    loaded
}

/// The same without keeping a copy: what a daemon with these files serves with. For commands that
/// want to find it.
pub fn peek(path: &Path, last_good: &Path) -> Loaded {
    let loaded = |settings, text, origin, problem| Loaded {
        settings,
        text,
        origin,
        file: absolute(path),
        last_good: absolute(last_good),
        problem,
    };
    let problem = match read_and_parse(path) {
        Ok((text, settings)) => {
            let origin = Origin::File(path.to_path_buf());
            return loaded(settings, Some(text), origin, None);
        }
        Err(error) => Some(error.to_string()),
    };
    match read_and_parse(last_good) {
        Ok((text, settings)) => {
            let origin = Origin::LastGood(last_good.to_path_buf());
            loaded(settings, Some(text), origin, problem)
        }
        Err(_) => {
            let settings = Settings::defaults(&host_name());
            loaded(settings, None, Origin::Defaults, problem)
        }
    }
}

/// Where the last good copy of a settings file is: settings elsewhere keep theirs beside them, so
/// that two daemons never share one.
pub fn last_good_of(config: &Path) -> PathBuf {
    if config == Path::new(DEFAULT_PATH) {
        return PathBuf::from(LAST_GOOD_PATH);
    }
    let mut beside = config.as_os_str().to_owned();
    beside.push(".last-good");
    PathBuf::from(beside)
}

/// By its components, as every path of the settings.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path)
        .unwrap_or_else(|_| path.to_path_buf())
        .components()
        .collect()
}

/// The file alone, for `pullguard settings check`: its text and its settings.
///
/// # Errors
/// [`SettingsError`] as the daemon would meet it.
pub fn check(path: &Path) -> Result<(String, Settings), SettingsError> {
    read_and_parse(path)
}

fn read_and_parse(path: &Path) -> Result<(String, Settings), SettingsError> {
    let name = path.display().to_string();
    let text = read(path, &name)?;
    let settings = Settings::parse(&text, &name, &host_name())?;
    check_where_sockets_lead(&settings, &text, &name, where_it_leads)?;
    Ok((text, settings))
}

/// `path` without links, as far as it is there already.
fn where_it_leads(path: &Path) -> PathBuf {
    let mut missing = Vec::new();
    for part in path.ancestors() {
        if let Ok(real) = part.canonicalize() {
            return missing
                .iter()
                .rev()
                .fold(real, |path, name| path.join(name));
        }
        missing.extend(part.file_name());
    }
    path.to_path_buf()
}

fn read(path: &Path, name: &str) -> Result<String, SettingsError> {
    let unreadable = |error: io::Error| SettingsError::Unreadable {
        file: name.to_owned(),
        reason: reason(&error),
    };
    // A named pipe in place of the file must not hold up the start.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits())
        .open(path)
        .map_err(unreadable)?;
    let facts = file.metadata().map_err(unreadable)?;
    if !facts.is_file() {
        return Err(SettingsError::Unreadable {
            file: name.to_owned(),
            reason: "not a regular file".to_owned(),
        });
    }
    let own = nix::unistd::geteuid().as_raw();
    if (facts.uid() != 0 && facts.uid() != own) || facts.mode() & 0o022 != 0 {
        return Err(SettingsError::Writable {
            file: name.to_owned(),
            fix: format!("chown root:root {name} && chmod 0644 {name}"),
        });
    }
    let mut bytes = Vec::new();
    file.take(MAX_SETTINGS_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if u64::try_from(bytes.len()).map_or(true, |length| length > MAX_SETTINGS_BYTES) {
        return Err(SettingsError::TooLarge {
            file: name.to_owned(),
        });
    }
    String::from_utf8(bytes).map_err(|_| SettingsError::Unreadable {
        file: name.to_owned(),
        reason: "not UTF-8 text".to_owned(),
    })
}

fn reason(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound {
        return "there is no such file".to_owned();
    }
    error.to_string()
}

/// Writes beside and renames, so that a crash leaves the old copy or the new one.
fn keep(last_good: &Path, text: &str) -> io::Result<()> {
    if fs::read(last_good).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(());
    }
    let directory = last_good.parent().unwrap_or(Path::new("/"));
    if !directory.exists() {
        let mut builder = fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.recursive(true).create(directory)?;
    }
    let mut beside = last_good.as_os_str().to_owned();
    beside.push(".new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, last_good)?;
    File::open(directory)?.sync_all()
}

/// The kernel's host name; `node` where it cannot be read.
fn host_name() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "node".to_owned())
}
