//! The adoption record: which images and containers were on the node before the guard. Written
//! once, at the first start on an empty state directory, whatever the policy says, and never again:
//! a record that could be rewritten would adopt whatever was smuggled in since.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use super::StateDir;
use super::file::{self, Existing, Faults, NoFaults};
use crate::image::{Digest, Reference, Repository};
use crate::time::Timestamp;

/// The file's name in the state directory.
const NAME: &str = "adoption.json";
/// The version of the format.
const VERSION: u32 = 1;
/// The largest record that is read (16 MiB: tens of thousands of images).
const MAX: u64 = 16 * 1024 * 1024;

/// What was on the node before the guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdoptionRecord {
    version: u32,
    written_at: u64,
    images: Vec<AdoptedImage>,
    containers: Vec<String>,
    /// Records of before have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    others: Vec<String>,
}

/// One image that was on the node: containerd's record names are its names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdoptedImage {
    /// The image ID.
    pub id: Digest,
    /// Its repo tags.
    pub names: Vec<String>,
    /// Its repo digests.
    pub digests: Vec<String>,
}

/// Why there is no adoption record, or why it was not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdoptionError {
    /// There is one already.
    Exists,
    /// The system refused.
    Io {
        /// Its words.
        text: String,
    },
    /// The file is not such a record, or of another version.
    Malformed {
        /// What is wrong.
        text: String,
    },
}

impl fmt::Display for AdoptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists => f.write_str("there is an adoption record already"),
            Self::Io { text } => write!(f, "the adoption record: {text}"),
            Self::Malformed { text } => write!(f, "the adoption record is not usable: {text}"),
        }
    }
}

impl std::error::Error for AdoptionError {}

impl AdoptionRecord {
    /// A record of what containerd knows now.
    pub fn new(
        images: Vec<AdoptedImage>,
        mut containers: Vec<String>,
        written_at: Timestamp,
    ) -> Self {
        containers.sort_unstable();
        Self {
            version: VERSION,
            written_at: written_at.unix_seconds(),
            images,
            containers,
            others: Vec::new(),
        }
    }

    /// The same with what else ran in containerd's namespace: sandboxes, and what was started past
    /// the CRI. Those that are containers of the record are no others.
    #[must_use]
    pub fn beside(mut self, running: impl IntoIterator<Item = String>) -> Self {
        self.others = running
            .into_iter()
            .filter(|id| !self.has_container(id))
            .collect();
        self.others.sort_unstable();
        self
    }

    /// When it was written.
    pub fn written_at(&self) -> Timestamp {
        Timestamp::from_unix_seconds(self.written_at)
    }

    /// The images.
    pub fn images(&self) -> &[AdoptedImage] {
        &self.images
    }

    /// The IDs of the containers, sorted.
    pub fn containers(&self) -> &[String] {
        &self.containers
    }

    /// Whether the container was there.
    pub fn has_container(&self, id: &str) -> bool {
        self.containers
            .binary_search_by(|known| known.as_str().cmp(id))
            .is_ok()
    }

    /// Whether it was there, as a container of the CRI or as something else that ran.
    pub fn was_here(&self, id: &str) -> bool {
        self.has_container(id)
            || self
                .others
                .binary_search_by(|known| known.as_str().cmp(id))
                .is_ok()
    }

    /// Whether any image was recorded under exactly this name, tag or digest included.
    pub fn names(&self, name: &Reference) -> bool {
        self.images
            .iter()
            .any(|image| self.has_name(&image.id, name))
    }

    /// Whether the image was recorded under exactly this name, tag or digest included.
    pub fn has_name(&self, id: &Digest, name: &Reference) -> bool {
        let same = |text: &String| Reference::parse(text).is_ok_and(|own| own == *name);
        let mut images = self.images.iter().filter(|image| image.id == *id);
        images.any(|image| image.names.iter().chain(&image.digests).any(same))
    }

    /// The digests under which the image `id` was known as one of `repository`; `None` if it was
    /// not there under that repository. A tag alone gives an empty list: the name, but no digest.
    pub fn adopted(&self, id: &Digest, repository: &Repository) -> Option<Vec<Digest>> {
        let mut known = None;
        for image in self.images.iter().filter(|image| image.id == *id) {
            for name in image.names.iter().chain(&image.digests) {
                let Ok(reference) = Reference::parse(name) else {
                    continue;
                };
                if reference.repository() == repository {
                    known
                        .get_or_insert_with(Vec::new)
                        .extend(reference.digest().copied());
                }
            }
        }
        known
    }

    /// Writes the record; blocks until it is on the disk.
    ///
    /// # Errors
    /// [`AdoptionError::Exists`] if there is one: it stays. [`AdoptionError::Io`].
    pub fn write_once(&self, state: &StateDir) -> Result<(), AdoptionError> {
        self.write(state, &NoFaults)
    }

    fn write(&self, state: &StateDir, faults: &impl Faults) -> Result<(), AdoptionError> {
        let mut text = serde_json::to_vec_pretty(self).map_err(|error| AdoptionError::Io {
            text: error.to_string(),
        })?;
        text.push(b'\n');
        match file::write(state.path(), NAME, &text, Existing::Keep, faults) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(AdoptionError::Exists)
            }
            Err(error) => Err(AdoptionError::Io {
                text: error.to_string(),
            }),
        }
    }

    /// The record of this node; `None` if none was ever written.
    ///
    /// # Errors
    /// [`AdoptionError::Malformed`] for anything but a record of this version, with every key once
    /// and no other; [`AdoptionError::Io`].
    pub fn load(state: &StateDir) -> Result<Option<Self>, AdoptionError> {
        let text = match file::read(state.path(), NAME, MAX) {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(None),
            Err(error) => {
                return Err(AdoptionError::Io {
                    text: error.to_string(),
                });
            }
        };
        let mut record: Self =
            serde_json::from_slice(&text).map_err(|error| AdoptionError::Malformed {
                text: error.to_string(),
            })?;
        if record.version != VERSION {
            return Err(AdoptionError::Malformed {
                text: format!("version {} is not known", record.version),
            });
        }
        record.containers.sort_unstable();
        record.others.sort_unstable();
        Ok(Some(record))
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::Step;
    use super::super::file::faults::{STEPS, StopBefore};
    use super::*;

    fn state() -> (tempfile::TempDir, StateDir) {
        let parent = tempfile::tempdir().unwrap();
        let state = StateDir::open(&parent.path().join("state")).unwrap();
        (parent, state)
    }

    fn record(container: &str) -> AdoptionRecord {
        AdoptionRecord::new(
            vec![AdoptedImage {
                id: Digest::of(b"config"),
                names: vec!["registry.example.com/app:1".to_owned()],
                digests: vec![format!(
                    "registry.example.com/app@{}",
                    Digest::of(b"manifest")
                )],
            }],
            vec![container.to_owned(), "a".to_owned()],
            Timestamp::from_unix_seconds(7),
        )
    }

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        let (_parent, state) = state();
        assert_eq!(AdoptionRecord::load(&state), Ok(None));
        record("c1").write_once(&state).unwrap();
        let loaded = AdoptionRecord::load(&state).unwrap().unwrap();
        assert_eq!(loaded, record("c1"));
        assert!(loaded.has_container("c1"));
        assert!(!loaded.has_container("c2"));
    }

    #[test]
    fn what_ran_beside_the_containers_is_recorded_apart() {
        let (_parent, state) = state();
        let ran = ["c1", "s1", "by-hand"].map(str::to_owned);
        record("c1").beside(ran).write_once(&state).unwrap();
        let loaded = AdoptionRecord::load(&state).unwrap().unwrap();
        assert!(
            ["a", "c1", "s1", "by-hand"]
                .iter()
                .all(|id| loaded.was_here(id))
        );
        assert!(!loaded.was_here("c2"));
        assert!(!loaded.has_container("s1"));
        assert_eq!(loaded.containers().len(), 2);
    }

    #[test]
    fn a_record_is_never_written_twice() {
        let (_parent, state) = state();
        record("c1").write_once(&state).unwrap();
        assert_eq!(record("c2").write_once(&state), Err(AdoptionError::Exists));
        assert_eq!(AdoptionRecord::load(&state), Ok(Some(record("c1"))));
    }

    #[test]
    fn an_image_is_adopted_only_under_its_own_repository() {
        let repository = |text| Reference::parse(text).unwrap().repository().clone();
        let record = record("c1");
        let id = Digest::of(b"config");
        assert_eq!(
            record.adopted(&id, &repository("registry.example.com/app:2")),
            Some(vec![Digest::of(b"manifest")])
        );
        assert_eq!(
            record.adopted(&id, &repository("registry.example.com/other:2")),
            None
        );
        assert_eq!(
            record.adopted(&Digest::of(b"x"), &repository("registry.example.com/app:2")),
            None
        );
    }

    #[test]
    fn a_write_that_ends_at_any_step_leaves_no_record_or_a_whole_one() {
        for step in STEPS {
            let (_parent, state) = state();
            record("c1").write(&state, &StopBefore(step)).unwrap_err();
            let want = (step == Step::SyncDirectory).then(|| record("c1"));
            assert_eq!(AdoptionRecord::load(&state), Ok(want), "{step:?}");
            let path = state.path().to_owned();
            drop(state);
            let again = StateDir::open(&path).unwrap();
            assert_eq!(
                again.usage() == super::super::Usage::Empty,
                step != Step::SyncDirectory
            );
        }
    }

    #[test]
    fn a_record_cut_at_any_byte_is_not_usable() {
        let (_parent, state) = state();
        record("c1").write_once(&state).unwrap();
        let path = state.path().join(NAME);
        let whole = std::fs::read(&path).unwrap();
        // The last byte is the newline after the document.
        for end in 0..whole.len() - 1 {
            std::fs::write(&path, &whole[..end]).unwrap();
            assert!(
                matches!(
                    AdoptionRecord::load(&state),
                    Err(AdoptionError::Malformed { .. })
                ),
                "cut after {end} bytes"
            );
        }
    }

    #[test]
    fn other_keys_and_versions_are_not_usable() {
        let (_parent, state) = state();
        for (text, why) in [
            (
                r#"{"version":2,"written_at":1,"images":[],"containers":[]}"#,
                "version 2 is not known",
            ),
            (
                r#"{"version":1,"written_at":1,"images":[],"containers":[],"x":1}"#,
                "unknown field `x`",
            ),
            (
                r#"{"version":1,"version":1,"written_at":1,"images":[],"containers":[]}"#,
                "duplicate field `version`",
            ),
        ] {
            std::fs::write(state.path().join(NAME), text).unwrap();
            let error = AdoptionRecord::load(&state).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("the adoption record is not usable: {why}")),
                "{error}"
            );
        }
    }
}
