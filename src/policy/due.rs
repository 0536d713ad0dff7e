//! When what runs is to be judged again, though the policy stays the same. Pure.

use super::compile::Policy;
use crate::time::Timestamp;

/// The longest that a judgement of what runs stands, in seconds: an hour. Mounts, documents and facts
/// change without a policy's doing.
const LONGEST_SECONDS: u64 = 3_600;

impl Policy {
    /// The moment at which a judgement of what runs that was made `now` is to be made anew: within an
    /// hour, and as soon as something that the policy itself dates begins or ends. Always later than
    /// `now`.
    pub fn next_due(&self, now: Timestamp) -> Timestamp {
        earliest(now, self.turning_points())
    }

    /// Moments at which this policy comes to say something else: the ends of its exceptions.
    fn turning_points(&self) -> impl Iterator<Item = Timestamp> + '_ {
        let exceptions = self.policies.iter().flat_map(|one| &one.exceptions);
        exceptions.map(|one| one.expires)
    }
}

fn earliest(now: Timestamp, points: impl Iterator<Item = Timestamp>) -> Timestamp {
    let hourly = now.unix_seconds().saturating_add(LONGEST_SECONDS);
    let to_come = points.filter(|point| *point > now);
    to_come.fold(Timestamp::from_unix_seconds(hourly), Timestamp::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(now: u64, points: &[u64]) -> u64 {
        let points = points.iter().copied().map(Timestamp::from_unix_seconds);
        earliest(Timestamp::from_unix_seconds(now), points).unix_seconds()
    }

    #[test]
    fn what_runs_is_judged_again_within_the_hour_and_at_what_comes_before() {
        assert_eq!(due(100, &[]), 3_700);
        assert_eq!(due(100, &[9_000]), 3_700);
        assert_eq!(due(100, &[3_000, 200]), 200);
    }

    #[test]
    fn a_moment_that_has_come_is_not_due_again() {
        assert_eq!(due(200, &[100, 200]), 3_800);
        assert_eq!(due(199, &[100, 200]), 200);
    }
}
