//! Patterns, matched against a reference; the input is `PATTERN REFERENCE`. What an allowing use
//! takes, a denying one takes too and matches alike.
use pullguard::image::{Pattern, PatternUse, Reference};

/// One input; what came of it, for the driver to tell inputs apart.
pub(crate) fn run(input: &[u8]) -> String {
    match std::str::from_utf8(input) {
        Ok(text) => judge(text),
        Err(_) => "no text".to_owned(),
    }
}

fn judge(text: &str) -> String {
    let (pattern, reference) = text.split_once(' ').unwrap_or((text, "nginx"));
    let (Ok(deny), Ok(reference)) = (
        Pattern::parse(pattern, PatternUse::Deny),
        Reference::parse(reference),
    ) else {
        assert!(
            Pattern::parse(pattern, PatternUse::Allow).is_err()
                || Pattern::parse(pattern, PatternUse::Deny).is_ok()
        );
        return "refused".to_owned();
    };
    let denied = deny.matches(&reference, &[]);
    let allow = Pattern::parse(pattern, PatternUse::Allow);
    if let Ok(allow) = &allow {
        assert_eq!(allow.matches(&reference, &[]), denied);
    }
    format!(
        "{denied:?} {:?}",
        allow.err().map(|error| error.to_string())
    )
}
