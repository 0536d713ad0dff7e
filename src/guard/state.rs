//! The policy in force, swapped as one pointer: no decision sees two versions.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::watch;

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
    changed: watch::Sender<()>,
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
            changed: watch::Sender::new(()),
        }
    }

    /// Hears of every policy that is put in force from now on.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
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
        drop(state);
        self.changed.send_replace(());
    }

    /// Remembers that a pull of `name` was carried under `version`: from now on its image is
    /// present for that version, whatever the pull proved.
    pub(super) fn carried(&self, version: &str, name: &str) {
        if let Some(mut names) = self.names(version) {
            names.hidden.remove(name);
            names.carried.insert(name.to_owned());
        }
    }

    pub(super) fn was_carried(&self, version: &str, name: &str) -> bool {
        self.names(version)
            .is_some_and(|names| names.carried.contains(name))
    }

    /// Remembers that the image of `name` was answered absent under `version`.
    pub(super) fn hid(&self, version: &str, name: &str) {
        if let Some(mut names) = self.names(version) {
            names.hidden.insert(name.to_owned());
        }
    }

    pub(super) fn is_hidden(&self, version: &str, name: &str) -> bool {
        self.names(version)
            .is_some_and(|names| names.hidden.contains(name))
    }

    /// The names of the version in force; `None` for any other: a call that began under an earlier
    /// one must not wipe what is known of this one.
    fn names(&self, version: &str) -> Option<MutexGuard<'_, Names>> {
        if self.policy()?.version().to_string() != version {
            return None;
        }
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let full = names.carried.len() + names.hidden.len() >= MAX_NAMES;
        if names.version != version || full {
            *names = Names {
                version: version.to_owned(),
                ..Names::default()
            };
        }
        Some(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn policy(name: &str) -> Arc<Policy> {
        let json = format!(
            r#"[{{"apiVersion":"pullguard.io/v1alpha1","kind":"PolicySet",
            "metadata":{{"name":"{name}"}},"spec":{{"audience":"a",
            "unmatched":{{"pods":"Allow","images":"Allow"}}}}}}]"#
        );
        Arc::new(crate::policy::compile::from_json(json.as_bytes(), &Limits::default()).unwrap())
    }

    #[test]
    fn a_call_that_began_under_an_earlier_policy_wipes_nothing_of_the_one_in_force() {
        let at = Timestamp::from_unix_seconds(1);
        let (old, new) = (policy("old"), policy("new"));
        let (before, now) = (old.version().to_string(), new.version().to_string());
        let in_force = InForce::bootstrap(at, "none yet");
        in_force.activate(old, at);
        in_force.activate(new, at);
        in_force.carried(&now, "r.example/a:1");
        in_force.carried(&before, "r.example/b:1");
        assert!(in_force.was_carried(&now, "r.example/a:1"));
        assert!(!in_force.was_carried(&now, "r.example/b:1"));
    }
}
