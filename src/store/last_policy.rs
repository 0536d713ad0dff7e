//! The last good policy, byte for byte, so that a restart with a broken source keeps it.

use std::fmt;

use super::StateDir;
use super::file::{self, Existing, Faults, NoFaults};
use crate::image::Digest;

/// The file's name in the state directory.
const NAME: &str = "last-policy";
/// The first word of its first line; the number is the version of the format.
const MAGIC: &str = "pullguard-last-policy-1";
/// Room for the first line.
const HEADER: u64 = 256;

/// Why there is no last good policy to go on with, or why it was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LastPolicyError {
    /// The system refused.
    Io {
        /// Its words.
        text: String,
    },
    /// The file is torn, foreign or of a later version.
    Torn,
}

impl fmt::Display for LastPolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { text } => write!(f, "the copy of the last good policy: {text}"),
            Self::Torn => f.write_str("the copy of the last good policy is damaged"),
        }
    }
}

impl std::error::Error for LastPolicyError {}

impl From<std::io::Error> for LastPolicyError {
    fn from(error: std::io::Error) -> Self {
        Self::Io {
            text: error.to_string(),
        }
    }
}

/// Keeps `bytes` as the last good policy. Blocks until it is on the disk.
///
/// # Errors
/// [`LastPolicyError::Io`]; the copy before it then stays.
pub fn save_last_policy(state: &StateDir, bytes: &[u8]) -> Result<(), LastPolicyError> {
    save(state, bytes, &NoFaults)
}

fn save(state: &StateDir, bytes: &[u8], faults: &impl Faults) -> Result<(), LastPolicyError> {
    let mut text = format!("{MAGIC} {}\n", Digest::of(bytes)).into_bytes();
    text.extend_from_slice(bytes);
    file::write(state.path(), NAME, &text, Existing::Replace, faults)?;
    Ok(())
}

/// The last good policy, at most `max` bytes; `None` if none was ever kept.
///
/// # Errors
/// [`LastPolicyError::Torn`] if what is there is not what was kept.
pub fn load_last_policy(state: &StateDir, max: usize) -> Result<Option<Vec<u8>>, LastPolicyError> {
    let max = u64::try_from(max).unwrap_or(u64::MAX);
    let Some(text) = file::read(state.path(), NAME, max.saturating_add(HEADER))? else {
        return Ok(None);
    };
    let end = text
        .iter()
        .position(|byte| *byte == b'\n')
        .ok_or(LastPolicyError::Torn)?;
    let (header, rest) = text.split_at_checked(end).ok_or(LastPolicyError::Torn)?;
    let bytes = rest.get(1..).ok_or(LastPolicyError::Torn)?;
    let sum = std::str::from_utf8(header)
        .ok()
        .and_then(|line| line.strip_prefix(MAGIC))
        .and_then(|line| line.strip_prefix(' '))
        .and_then(|sum| Digest::parse(sum).ok())
        .ok_or(LastPolicyError::Torn)?;
    if Digest::of(bytes) == sum {
        Ok(Some(bytes.to_vec()))
    } else {
        Err(LastPolicyError::Torn)
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::faults::{STEPS, StopBefore};
    use super::*;

    const MAX: usize = 1024;

    fn state() -> (tempfile::TempDir, StateDir) {
        let parent = tempfile::tempdir().unwrap();
        let state = StateDir::open(&parent.path().join("state")).unwrap();
        (parent, state)
    }

    #[test]
    fn what_was_kept_is_what_comes_back() {
        let (_parent, state) = state();
        assert_eq!(load_last_policy(&state, MAX), Ok(None));
        save_last_policy(&state, b"a: 1\n").unwrap();
        assert_eq!(load_last_policy(&state, MAX), Ok(Some(b"a: 1\n".to_vec())));
    }

    #[test]
    fn a_copy_cut_at_any_byte_is_damaged() {
        let (_parent, state) = state();
        save_last_policy(&state, b"a: 1\nb: 2\n").unwrap();
        let path = state.path().join(NAME);
        let whole = std::fs::read(&path).unwrap();
        for end in 0..whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            assert_eq!(
                load_last_policy(&state, MAX),
                Err(LastPolicyError::Torn),
                "cut after {end} bytes"
            );
        }
    }

    #[test]
    fn a_copy_with_any_byte_changed_is_damaged() {
        let (_parent, state) = state();
        save_last_policy(&state, b"a: 1\n").unwrap();
        let path = state.path().join(NAME);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            std::fs::write(&path, &changed).unwrap();
            assert_eq!(
                load_last_policy(&state, MAX),
                Err(LastPolicyError::Torn),
                "byte {at}"
            );
        }
    }

    #[test]
    fn a_save_that_ends_at_any_step_leaves_a_whole_copy() {
        for step in STEPS {
            let (_parent, state) = state();
            save_last_policy(&state, b"old").unwrap();
            save(&state, b"new", &StopBefore(step)).unwrap_err();
            let kept = load_last_policy(&state, MAX).unwrap().unwrap();
            assert!(kept == b"old" || kept == b"new", "{step:?}");
        }
    }
}
