//! Picks from lists.

use crate::random::Random;

impl Random {
    /// Some of them, at least one, each once, in their order.
    pub(crate) fn some<T: Clone>(&mut self, list: &[T]) -> Vec<T> {
        loop {
            let some: Vec<T> = list.iter().filter(|_| self.once_in(3)).cloned().collect();
            if !some.is_empty() {
                return some;
            }
        }
    }

    pub(crate) fn word(&mut self, list: &[&str]) -> String {
        self.one(list).to_owned()
    }

    pub(crate) fn words(&mut self, list: &[&str]) -> Vec<String> {
        self.some(list).into_iter().map(str::to_owned).collect()
    }
}
