//! Patterns, matched against a reference; the input is `PATTERN REFERENCE`. What an allowing use
//! takes, a denying one takes too and matches alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pullguard::image::{Pattern, PatternUse, Reference};

fuzz_target!(|text: &str| {
    let (pattern, reference) = text.split_once(' ').unwrap_or((text, "nginx"));
    let (Ok(deny), Ok(reference)) = (
        Pattern::parse(pattern, PatternUse::Deny),
        Reference::parse(reference),
    ) else {
        assert!(
            Pattern::parse(pattern, PatternUse::Allow).is_err()
                || Pattern::parse(pattern, PatternUse::Deny).is_ok()
        );
        return;
    };
    let denied = deny.matches(&reference, &[]);
    if let Ok(allow) = Pattern::parse(pattern, PatternUse::Allow) {
        assert_eq!(allow.matches(&reference, &[]), denied);
    }
});
