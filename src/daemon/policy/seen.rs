//! What is known of the policy directory: which files were taken, which were refused and why, and
//! whether a look found them at rest. Pure, so that every order of changes can be tried.

use std::time::{Duration, Instant};

use crate::image::Digest;

/// How often the directory is looked at; a signal looks at once.
pub(super) const LOOK: Duration = Duration::from_secs(2);
/// The longest pause before the same files are tried again. Trying asks containerd and registries
/// about everything that runs.
const LONGEST: Duration = Duration::from_secs(60);

/// What a look at the directory asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// These files are in force: nothing is refused.
    InForce,
    /// These files were refused, and it is not time to try them again.
    Refused(String),
    /// They are not at rest yet: the next look decides.
    Wait,
    /// They are to be compiled and judged.
    Try(Tried),
}

/// Whether files were tried before, so that warnings are said once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tried {
    Never,
    Before,
}

/// What the looks so far have shown. Files are told apart by the digest of their names and texts.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// What the look before this one read; `None` if it could read nothing.
    before: Option<Digest>,
    /// The operator says that the files are whole: one look is enough.
    at_once: bool,
    /// The files of which the policy is in force.
    taken: Option<Digest>,
    /// Files that are wrong as they stand, and why.
    wrong: Option<(Digest, String)>,
    /// Files that may be taken later.
    again: Option<Again>,
}

/// When files that were refused for now are tried again: later each time.
#[derive(Debug)]
struct Again {
    files: Digest,
    why: String,
    pause: Duration,
    at: Instant,
}

impl Seen {
    /// What to do about files that a look has read. A file that is written in place is short for a
    /// moment, and what is there then can be a whole, weaker policy: so files count once two looks
    /// in a row have read the same.
    pub(super) fn read(&mut self, files: Digest, now: Instant) -> Look {
        let at_rest = self.before.replace(files) == Some(files);
        if self.taken == Some(files) {
            self.at_once = false;
            return Look::InForce;
        }
        match &self.wrong {
            Some((known, why)) if *known == files => {
                self.at_once = false;
                return Look::Refused(why.clone());
            }
            Some(_) | None => {}
        }
        let tried = match &self.again {
            Some(again) if again.files == files && again.at > now => {
                return Look::Refused(again.why.clone());
            }
            Some(again) if again.files == files => Tried::Before,
            Some(_) | None => Tried::Never,
        };
        if at_rest || self.at_once {
            self.at_once = false;
            Look::Try(tried)
        } else {
            Look::Wait
        }
    }

    /// The directory could not be read, or what it holds changed while it was judged.
    pub(super) fn restless(&mut self) {
        self.before = None;
    }

    /// These files are in force.
    pub(super) fn took(&mut self, files: Digest) {
        self.taken = Some(files);
        self.wrong = None;
        self.again = None;
    }

    /// These files are wrong as they stand.
    pub(super) fn wrong(&mut self, files: Digest, why: String) {
        self.wrong = Some((files, why));
        self.again = None;
    }

    /// These files may be taken later: containerd, a registry or the disk was away.
    pub(super) fn later(&mut self, files: Digest, why: String, now: Instant) {
        let pause = match &self.again {
            Some(again) if again.files == files => (again.pause * 2).min(LONGEST),
            Some(_) | None => LOOK,
        };
        self.again = Some(Again {
            files,
            why,
            pause,
            at: now + pause,
        });
    }

    /// A signal: whatever is known, the next look tries what it reads.
    pub(super) fn anew(&mut self) {
        *self = Self {
            at_once: true,
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    /// A directory whose policy `good` is in force.
    fn in_force() -> (Seen, Instant) {
        let (mut seen, now) = (Seen::default(), Instant::now());
        assert_eq!(seen.read(files("good"), now), Look::Wait);
        assert_eq!(seen.read(files("good"), now), Look::Try(Tried::Never));
        seen.took(files("good"));
        (seen, now)
    }

    #[test]
    fn files_are_tried_once_two_looks_in_a_row_read_the_same() {
        let (mut seen, now) = in_force();
        assert_eq!(seen.read(files("half"), now), Look::Wait);
        assert_eq!(seen.read(files("whole"), now), Look::Wait);
        assert_eq!(seen.read(files("whole"), now), Look::Try(Tried::Never));
    }

    #[test]
    fn a_look_that_could_read_nothing_stands_between_two_that_are_the_same() {
        let (mut seen, now) = in_force();
        assert_eq!(seen.read(files("new"), now), Look::Wait);
        seen.restless();
        assert_eq!(seen.read(files("new"), now), Look::Wait);
        assert_eq!(seen.read(files("new"), now), Look::Try(Tried::Never));
    }

    #[test]
    fn a_signal_tries_what_the_next_look_reads_and_no_later_one() {
        let (mut seen, now) = in_force();
        seen.anew();
        assert_eq!(seen.read(files("new"), now), Look::Try(Tried::Never));
        assert_eq!(seen.read(files("newer"), now), Look::Wait);
    }

    #[test]
    fn what_is_in_force_is_in_force_again_after_the_directory_could_not_be_read() {
        let (mut seen, now) = in_force();
        seen.restless();
        assert_eq!(seen.read(files("good"), now), Look::InForce);
    }

    #[test]
    fn what_is_in_force_is_in_force_again_after_a_change_that_was_refused_for_now() {
        let (mut seen, now) = in_force();
        seen.later(files("locks out"), "would lock out".to_owned(), now);
        assert_eq!(seen.read(files("good"), now), Look::InForce);
    }

    #[test]
    fn what_is_in_force_is_in_force_again_after_a_change_that_is_wrong() {
        let (mut seen, now) = in_force();
        seen.wrong(files("wrong"), "unknown key".to_owned());
        assert_eq!(seen.read(files("good"), now), Look::InForce);
    }

    #[test]
    fn wrong_files_are_not_tried_again_and_keep_their_reason() {
        let (mut seen, now) = in_force();
        let refused = Look::Refused("unknown key".to_owned());
        seen.wrong(files("wrong"), "unknown key".to_owned());
        assert_eq!(seen.read(files("wrong"), now), refused);
        seen.restless();
        assert_eq!(seen.read(files("wrong"), now), refused);
        seen.anew();
        assert_eq!(seen.read(files("wrong"), now), Look::Try(Tried::Never));
    }

    #[test]
    fn files_that_are_refused_for_now_are_tried_ever_more_seldom_up_to_a_minute() {
        let (mut seen, mut now) = in_force();
        let (wanted, why) = (files("new"), "away".to_owned());
        seen.read(wanted, now);
        let mut pauses = Vec::new();
        for tried in [Tried::Never].into_iter().chain([Tried::Before; 6]) {
            assert_eq!(seen.read(wanted, now), Look::Try(tried));
            seen.later(wanted, why.clone(), now);
            assert_eq!(seen.read(wanted, now), Look::Refused(why.clone()));
            let pause = seen.again.as_ref().unwrap().pause;
            pauses.push(pause.as_secs());
            now += pause;
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn changed_files_do_not_wait_for_those_that_were_refused_for_now() {
        let (mut seen, now) = in_force();
        seen.later(files("new"), "away".to_owned(), now);
        assert_eq!(seen.read(files("others"), now), Look::Wait);
        assert_eq!(seen.read(files("others"), now), Look::Try(Tried::Never));
    }
}
