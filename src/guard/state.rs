//! The policy in force, swapped as one pointer: no decision sees two versions.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::policy::Policy;
use crate::time::Timestamp;

/// What the node's policy is.
#[derive(Clone, Debug)]
pub enum State {
    /// No policy was ever put in force here. A state, not permission.
    Bootstrap {
        /// Since when.
        since: Timestamp,
        /// Why, for people.
        why: String,
    },
    /// This policy is in force.
    Active {
        /// Since when.
        since: Timestamp,
        /// The policy.
        policy: Arc<Policy>,
    },
}

/// The state, and the names that were carried or hidden under the policy in force.
#[derive(Debug)]
pub struct InForce {
    state: RwLock<State>,
    names: Mutex<Names>,
}

/// Both sets end with the version that they belong to.
#[derive(Debug, Default)]
struct Names {
    version: String,
    carried: BTreeSet<String>,
    hidden: BTreeSet<String>,
}

/// Names remembered of one policy version; a node has a few hundred.
const MAX_NAMES: usize = 8192;

impl InForce {
    pub(super) fn bootstrap(since: Timestamp, why: &str) -> Self {
        Self {
            state: RwLock::new(State::Bootstrap {
                since,
                why: why.to_owned(),
            }),
            names: Mutex::default(),
        }
    }

    /// The state now.
    pub fn state(&self) -> State {
        self.state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The policy in force; `None` in Bootstrap.
    pub fn policy(&self) -> Option<Arc<Policy>> {
        match self.state() {
            State::Bootstrap { .. } => None,
            State::Active { policy, .. } => Some(policy),
        }
    }

    pub(super) fn activate(&self, policy: Arc<Policy>, since: Timestamp) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        *state = State::Active { since, policy };
    }

    /// Remembers that a pull of `name` was carried under `version`: from now on its image is
    /// present for that version, whatever the pull proved.
    pub(super) fn carried(&self, version: &str, name: &str) {
        let mut names = self.names(version);
        names.hidden.remove(name);
        names.carried.insert(name.to_owned());
    }

    pub(super) fn was_carried(&self, version: &str, name: &str) -> bool {
        self.names(version).carried.contains(name)
    }

    /// Remembers that the image of `name` was answered absent under `version`.
    pub(super) fn hid(&self, version: &str, name: &str) {
        self.names(version).hidden.insert(name.to_owned());
    }

    pub(super) fn is_hidden(&self, version: &str, name: &str) -> bool {
        self.names(version).hidden.contains(name)
    }

    fn names(&self, version: &str) -> MutexGuard<'_, Names> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let full = names.carried.len() + names.hidden.len() >= MAX_NAMES;
        if names.version != version || full {
            *names = Names {
                version: version.to_owned(),
                ..Names::default()
            };
        }
        names
    }
}
