use proptest::prelude::*;

use super::*;

const D: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const E: &str = "sha256:eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee";

fn allows(pattern: &str, reference: &str) -> bool {
    matches(pattern, PatternUse::Allow, reference, &[])
}

fn denies(pattern: &str, reference: &str) -> bool {
    matches(pattern, PatternUse::Deny, reference, &[])
}

fn matches(pattern: &str, purpose: PatternUse, reference: &str, proven: &[Digest]) -> bool {
    let pattern = Pattern::parse(pattern, purpose).unwrap();
    pattern.matches(&Reference::parse(reference).unwrap(), proven)
}

fn refused(pattern: &str) -> PatternError {
    Pattern::parse(pattern, PatternUse::Allow).unwrap_err()
}

#[test]
fn b2_two_stars_match_whole_segments_below_one_host_only() {
    assert!(allows("cgr.dev/**", "cgr.dev/a"));
    assert!(allows("cgr.dev/**", "cgr.dev/a/b"));
    assert!(!allows("cgr.dev/**", "cgr.dev.evil.com/a"));
    assert!(!allows("cgr.dev/**", "cgr.dev:443/a"));
    assert!(!allows("cgr.dev/**", "evil.com/cgr.dev/a"));
}

#[test]
fn b2_a_path_without_stars_is_one_repository() {
    assert!(allows("ghcr.io/org/x", "ghcr.io/org/x:v1"));
    assert!(!allows("ghcr.io/org/x", "ghcr.io/org/x/y"));
    assert!(!allows("ghcr.io/org/x", "ghcr.io/org-evil/x"));
    assert!(!allows("ghcr.io/org/**", "ghcr.io/org"));
    assert!(!allows("ghcr.io/org/**", "ghcr.io/org-evil/x"));
}

#[test]
fn b3_a_star_in_a_path_stays_inside_one_segment() {
    assert!(allows("ghcr.io/org*", "ghcr.io/org-evil"));
    assert!(!allows("ghcr.io/org*", "ghcr.io/org-evil/x"));
    assert!(allows("ghcr.io/*/x", "ghcr.io/a/x"));
    assert!(!allows("ghcr.io/*/x", "ghcr.io/a/b/x"));
    assert!(allows("ghcr.io/a*b*c", "ghcr.io/a1b2b3c"));
    assert!(!allows("ghcr.io/a*b*c", "ghcr.io/acb"));
    assert!(!allows("ghcr.io/ab*bc", "ghcr.io/abc"));
}

#[test]
fn b3_a_star_in_a_host_is_whole_leading_labels() {
    assert!(allows("*.example.com/x", "a.example.com/x"));
    assert!(allows("*.example.com/x", "a.b.example.com/x"));
    assert!(!allows("*.example.com/x", "example.com/x"));
    assert!(!allows("*.example.com/x", "evilexample.com/x"));
    assert!(!allows("*.example.com/x", "a.example.com:5000/x"));
    assert!(allows("*.example.com:5000/x", "a.example.com:5000/x"));
    assert!(!allows(
        "*.trusted.example.org/org/*",
        "attacker.com/x.trusted.example.org/org/m"
    ));
}

#[test]
fn every_separator_that_a_repository_can_have_can_be_written() {
    for (pattern, image) in [
        ("cgr.dev/a.b", "cgr.dev/a.b"),
        ("cgr.dev/a_b", "cgr.dev/a_b"),
        ("cgr.dev/a__b", "cgr.dev/a__b"),
        ("cgr.dev/a---b", "cgr.dev/a---b"),
        ("cgr.dev/a_*", "cgr.dev/a__b"),
        ("cgr.dev/*__*", "cgr.dev/a__b"),
        ("cgr.dev/a.*-b", "cgr.dev/a.c-b"),
    ] {
        assert!(allows(pattern, image), "{pattern}");
    }
}

#[test]
fn two_stars_alone_are_any_host() {
    assert!(denies("**/**", "localhost:5000/x"));
    assert!(denies("**/**", "[::1]/x"));
    assert!(denies("**/**:latest", "nginx"));
    assert!(!denies("**/**:latest", "nginx:1"));
}

#[test]
fn b6_a_tag_pattern_does_not_match_a_reference_with_a_digest() {
    assert!(allows("docker.io/library/r:latest", "r"));
    assert!(!allows(
        "docker.io/library/r:latest",
        &format!("r:latest@{D}")
    ));
    assert!(allows("docker.io/library/r:v1.*", "r:v1.2"));
    assert!(!allows("docker.io/library/r:v1.*", "r:v12"));
}

#[test]
fn a_digest_pattern_matches_what_is_proven_and_not_what_is_written() {
    let pattern = Pattern::parse(&format!("docker.io/library/r@{D}"), PatternUse::Allow).unwrap();
    let proven = [Digest::parse(E).unwrap(), Digest::parse(D).unwrap()];
    let tagged = Reference::parse("r:1").unwrap();
    let written = Reference::parse(&format!("r@{D}")).unwrap();
    assert!(pattern.needs_digest());
    assert!(pattern.matches(&tagged, &proven));
    assert!(!pattern.matches(&tagged, &proven[..1]));
    assert!(!pattern.matches(&written, &[]));
}

#[test]
fn a_pattern_without_digest_needs_none() {
    let pattern = Pattern::parse("cgr.dev/**:v1", PatternUse::Allow).unwrap();
    assert!(!pattern.needs_digest());
    assert_eq!(pattern.to_string(), "cgr.dev/**:v1");
}

#[test]
fn an_allowing_pattern_needs_a_host_that_is_somebodys() {
    let cases = [
        ("**/**", "stranger.example/x"),
        ("**/library/nginx", "stranger.example/library/nginx"),
        ("*.com/a/*", "stranger.com/a/x"),
        ("*.co.uk/x:v*", "stranger.co.uk/x:vx"),
        ("*.github.io/x", "stranger.github.io/x"),
        ("*.168.1.1/x", "stranger.168.1.1/x"),
        ("*.localhost:5000/x", "stranger.localhost:5000/x"),
    ];
    for (pattern, example) in cases {
        let expected = PatternError::TooBroad {
            counter_example: example.to_owned(),
        };
        for purpose in [PatternUse::Allow, PatternUse::Skip, PatternUse::Exception] {
            assert_eq!(
                Pattern::parse(pattern, purpose),
                Err(expected.clone()),
                "{pattern}"
            );
        }
        assert!(
            denies(pattern, example),
            "`{pattern}` does not match `{example}`"
        );
        assert!(
            Pattern::parse(pattern, PatternUse::Verify).is_ok(),
            "{pattern}"
        );
    }
}

#[test]
fn an_allowing_pattern_takes_addresses_single_labels_and_registrable_domains() {
    for pattern in [
        "192.168.1.1/**",
        "127.0.0.1:5000/**",
        "[::1]:5000/**",
        "localhost/**",
        "registry:5000/**",
        "*.example.com/**",
        "*.example.co.uk/**",
        "*.acme.github.io/**",
        "ghcr.io/**",
        "*.registry.corp.internal/**",
    ] {
        assert_eq!(
            Pattern::parse(pattern, PatternUse::Allow).map(|p| p.to_string()),
            Ok(pattern.to_owned())
        );
    }
}

#[test]
fn a_pattern_without_host_is_refused_with_the_full_name() {
    let hint = |text: &str| PatternError::NoHost {
        hint: text.to_owned(),
    };
    assert_eq!(refused("nginx"), hint("docker.io/library/nginx"));
    assert_eq!(refused("library/nginx"), hint("docker.io/library/nginx"));
    assert_eq!(refused("registry/x"), hint("docker.io/registry/x"));
    assert_eq!(refused("cgr.dev"), PatternError::NoPath);
    assert_eq!(refused("cgr.dev/"), PatternError::NoPath);
    assert_eq!(refused("**"), PatternError::NoPath);
}

#[test]
fn b5_a_hub_spelling_that_no_reference_has_is_refused() {
    let hint = |text: &str| PatternError::HubName {
        hint: text.to_owned(),
    };
    assert_eq!(refused("docker.io/nginx"), hint("docker.io/library/nginx"));
    assert_eq!(refused("docker.io/*:v1"), hint("docker.io/library/*:v1"));
    assert_eq!(refused("index.docker.io/a/b"), hint("docker.io/a/b"));
}

#[test]
fn patterns_outside_the_dialect_are_refused() {
    let cases = [
        ("", PatternError::Length),
        ("cgr.dev/ x", PatternError::Character),
        ("CGR.dev/x", PatternError::UpperCase),
        ("cgr.dev/X", PatternError::UpperCase),
        ("*/x", PatternError::HostWildcard),
        ("a*.dev/x", PatternError::HostWildcard),
        ("a.*.dev/x", PatternError::HostWildcard),
        ("**.dev/x", PatternError::HostWildcard),
        ("**:5000/x", PatternError::HostWildcard),
        ("*.*.example.com/x", PatternError::HostWildcard),
        ("cgr.dev:*/x", PatternError::HostWildcard),
        ("*.[::1]/x", PatternError::HostWildcard),
        ("cgr..dev/x", PatternError::Host),
        ("https://cgr.dev/x", PatternError::Host),
        ("cgr.dev//x", PatternError::Path),
        ("cgr.dev/x/", PatternError::Path),
        ("cgr.dev/a**", PatternError::Path),
        ("cgr.dev/-a", PatternError::Path),
        ("cgr.dev/a..b", PatternError::Path),
        ("cgr.dev/a___b", PatternError::Path),
        ("cgr.dev/a._b", PatternError::Path),
        ("cgr.dev/a-.b", PatternError::Path),
        ("cgr.dev/x/a..*", PatternError::Path),
        ("cgr.dev/*._*", PatternError::Path),
        ("cgr.dev/a?", PatternError::Path),
        ("cgr.dev/x:", PatternError::Tag),
        ("cgr.dev/x:-*", PatternError::Tag),
        ("cgr.dev/x:a**", PatternError::Tag),
        (
            "cgr.dev/x@sha256:ab",
            PatternError::Digest(DigestError::Hex),
        ),
        ("cgr.dev/x@sha256:*", PatternError::Digest(DigestError::Hex)),
    ];
    for (text, error) in cases {
        assert_eq!(refused(text), error, "{text}");
    }
    assert_eq!(
        refused(&format!("cgr.dev/x:1@{D}")),
        PatternError::TagAndDigest
    );
}

/// A second matcher, by plain backtracking over the whole name.
fn naive(pattern: &str, host: &str, path: &str) -> bool {
    let (host_pattern, path_pattern) = pattern.split_once('/').unwrap();
    let hosts = match host_pattern {
        "**" => true,
        other => match other.strip_prefix("*.") {
            Some(rest) => {
                let labels: Vec<&str> = host.split('.').collect();
                (1..labels.len()).any(|from| labels[from..].join(".") == rest)
            }
            None => host == other,
        },
    };
    let pattern: Vec<&str> = path_pattern.split('/').collect();
    let path: Vec<&str> = path.split('/').collect();
    hosts && naive_path(&pattern, &path)
}

fn naive_path(pattern: &[&str], path: &[&str]) -> bool {
    match pattern.split_first() {
        None => path.is_empty(),
        Some((&"**", rest)) => (1..=path.len()).any(|n| naive_path(rest, &path[n..])),
        Some((first, rest)) => match path.split_first() {
            Some((segment, below)) => {
                naive_glob(first.as_bytes(), segment.as_bytes()) && naive_path(rest, below)
            }
            None => false,
        },
    }
}

fn naive_glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|n| naive_glob(rest, &text[n..])),
        Some((byte, rest)) => text.first() == Some(byte) && naive_glob(rest, &text[1..]),
    }
}

proptest! {
    #[test]
    fn two_matchers_agree(
        pattern_host in "(\\*\\*|(\\*\\.)?[ab]\\.[ab](:1)?|(\\*\\.)?a(:1))",
        pattern_path in "((a|b|\\*|a\\*|\\*b|a\\*b\\*|\\*\\*)/){0,3}(a|b|\\*|\\*b|\\*a\\*|\\*\\*)",
        host in "([ab]\\.){0,2}[ab]\\.[ab](:1)?",
        path in "([ab]{1,3}/){0,4}[ab]{1,4}",
    ) {
        let text = format!("{pattern_host}/{pattern_path}");
        let pattern = Pattern::parse(&text, PatternUse::Deny).unwrap();
        let reference = Reference::parse(&format!("{host}/{path}")).unwrap();
        prop_assert_eq!(pattern.matches(&reference, &[]), naive(&text, &host, &path), "{} {}/{}", text, host, path);
    }

    #[test]
    fn a_pattern_never_panics(text in "\\PC{0,40}") {
        for purpose in [PatternUse::Allow, PatternUse::Deny] {
            if let Ok(pattern) = Pattern::parse(&text, purpose) {
                prop_assert_eq!(pattern.as_str(), text.as_str());
            }
        }
    }
}
