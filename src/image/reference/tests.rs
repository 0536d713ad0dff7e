use super::*;

const D: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn normal(text: &str) -> String {
    match Reference::parse(text) {
        Ok(reference) => reference.to_string(),
        Err(error) => panic!("`{text}` was refused: {error}"),
    }
}

fn refused(text: &str) -> ReferenceError {
    match Reference::parse(text) {
        Ok(reference) => panic!("`{text}` was taken for {reference}"),
        Err(error) => error,
    }
}

#[test]
fn b5_the_spellings_of_one_hub_image_are_one_identity() {
    for text in [
        "busybox",
        "busybox:latest",
        "library/busybox",
        "docker.io/busybox",
        "docker.io/library/busybox",
        "index.docker.io/busybox",
        "index.docker.io/library/busybox:latest",
    ] {
        assert_eq!(normal(text), "docker.io/library/busybox:latest", "{text}");
    }
}

#[test]
fn b5_a_sister_of_library_is_another_repository() {
    assert_eq!(
        normal("docker.io/libraryx/y"),
        "docker.io/libraryx/y:latest"
    );
}

#[test]
fn a_first_component_is_a_host_only_with_a_dot_a_port_or_as_localhost() {
    assert_eq!(normal("org/x"), "docker.io/org/x:latest");
    assert_eq!(normal("localhost/x"), "localhost/x:latest");
    assert_eq!(normal("host:5000/x"), "host:5000/x:latest");
    assert_eq!(normal("ghcr.io/org/x:v1"), "ghcr.io/org/x:v1");
    assert_eq!(normal("[::1]:5000/x"), "[::1]:5000/x:latest");
    assert_eq!(normal("[fe80::1]/x"), "[fe80::1]/x:latest");
}

#[test]
fn a_lone_name_with_a_colon_has_a_tag_and_no_port() {
    assert_eq!(normal("test.com:tag"), "docker.io/library/test.com:tag");
    assert_eq!(
        normal("192.168.1.1:5000"),
        "docker.io/library/192.168.1.1:5000"
    );
}

#[test]
fn b6_a_tag_beside_a_digest_is_dropped() {
    assert_eq!(
        normal(&format!("r:latest@{D}")),
        format!("docker.io/library/r@{D}")
    );
    assert_eq!(refused(&format!("r:-@{D}")), ReferenceError::Tag);
}

#[test]
fn b4_hosts_in_upper_case_are_refused() {
    for text in [
        "Foo/bar",
        "LOCALHOST/x",
        "DOCKER.IO/library/x",
        "Docker.io/x",
        "GHCR.io/org/x",
        "[FE80::1]/x",
    ] {
        assert_eq!(refused(text), ReferenceError::UpperCaseHost, "{text}");
    }
}

#[test]
fn b4_a_written_port_is_part_of_the_host() {
    assert_eq!(normal("ghcr.io:443/org/x"), "ghcr.io:443/org/x:latest");
    assert_eq!(normal("docker.io:443/x"), "docker.io:443/x:latest");
    assert_eq!(
        normal("registry-1.docker.io/x"),
        "registry-1.docker.io/x:latest"
    );
}

#[test]
fn a6_image_ids_are_no_names() {
    let hex = "0123456789abcdef".repeat(4);
    assert_eq!(refused(&hex), ReferenceError::BareId);
    for text in [
        format!("sha256:{hex}"),
        "sha256:abcd".to_owned(),
        "sha256".to_owned(),
        format!("sha256@{D}"),
        "sha512:ab/cd".to_owned(),
        "sha384:0".to_owned(),
    ] {
        assert_eq!(refused(&text), ReferenceError::TypedId, "{text}");
    }
    assert_eq!(refused(""), ReferenceError::Empty);
}

#[test]
fn a_hub_organisation_named_like_an_algorithm_is_a_name() {
    assert_eq!(normal("sha256/x"), "docker.io/sha256/x:latest");
    assert_eq!(
        normal("docker.io/library/sha256:abcd"),
        "docker.io/library/sha256:abcd"
    );
}

#[test]
fn a6_short_hexadecimal_names_are_names_that_could_be_truncated_ids() {
    assert_eq!(normal("cafe"), "docker.io/library/cafe:latest");
    assert!(Reference::could_be_truncated_id("cafe"));
    assert!(Reference::could_be_truncated_id(&"a".repeat(63)));
    assert!(!Reference::could_be_truncated_id("cafe:latest"));
    assert!(!Reference::could_be_truncated_id("nginx"));
    assert!(!Reference::could_be_truncated_id(""));
}

#[test]
fn a8_paths_on_the_node_are_no_names() {
    for text in ["/var/tmp/cp.tar", "./x", "../x", ".x"] {
        assert_eq!(refused(text), ReferenceError::HostPath, "{text}");
    }
    assert_eq!(
        normal("tmp/checkpoint.tar"),
        "docker.io/tmp/checkpoint.tar:latest"
    );
}

#[test]
fn b7_digests_other_than_lower_case_sha256_are_refused() {
    let upper = D.to_uppercase().replace("SHA256", "sha256");
    let cases = [
        (format!("x@{upper}"), DigestError::Hex),
        ("x@sha256:abcd".to_owned(), DigestError::Hex),
        (
            format!("x@sha512:{}", "a".repeat(128)),
            DigestError::Algorithm,
        ),
        (format!("x@sha1:{}", "a".repeat(40)), DigestError::Algorithm),
        (
            format!("x@sha256+b64:{}", "a".repeat(64)),
            DigestError::Algorithm,
        ),
        ("x@".to_owned(), DigestError::Shape),
        (format!("x@{D}@{D}"), DigestError::Hex),
    ];
    for (text, error) in cases {
        assert_eq!(refused(&text), ReferenceError::Digest(error), "{text}");
    }
    assert_eq!(
        normal(&format!("x@{D}")),
        format!("docker.io/library/x@{D}")
    );
}

#[test]
fn b9_bytes_outside_printable_ascii_are_refused() {
    for text in ["x:тег", "x\n", "x\0", "x y", "a/b\u{1b}[0m", "\u{feff}x"] {
        assert_eq!(refused(text), ReferenceError::Character, "{text:?}");
    }
}

#[test]
fn b9_strings_outside_the_grammar_are_refused() {
    let cases = [
        ("https://ghcr.io/x", ReferenceError::Host),
        ("user@host.io/x", ReferenceError::Host),
        ("a_b.c/x", ReferenceError::Host),
        ("-a.io/x", ReferenceError::Host),
        ("[::1%eth0]:5000/x", ReferenceError::Host),
        ("host:/x", ReferenceError::Host),
        ("ghcr.io//x", ReferenceError::Grammar),
        ("ghcr.io/x/", ReferenceError::Grammar),
        ("ghcr.io/a..b", ReferenceError::Grammar),
        ("ghcr.io/a/../b", ReferenceError::Grammar),
        ("ghcr.io/a%2fb", ReferenceError::Grammar),
        ("ghcr.io/a___b", ReferenceError::Grammar),
        ("ghcr.io/Foo", ReferenceError::UpperCasePath),
        ("ghcr.io/x:", ReferenceError::Tag),
        ("ghcr.io/x:a:b", ReferenceError::Tag),
        ("ghcr.io/x:.a", ReferenceError::Tag),
    ];
    for (text, error) in cases {
        assert_eq!(refused(text), error, "{text}");
    }
}

#[test]
fn b9_a_path_ends_at_255_bytes_and_a_tag_at_128() {
    assert_eq!(
        normal(&format!("g.io/{}", "a".repeat(255))).len(),
        5 + 255 + 7
    );
    assert_eq!(
        refused(&format!("g.io/{}", "a".repeat(256))),
        ReferenceError::Length
    );
    assert_eq!(normal(&format!("x:{}", "a".repeat(128))).len(), 20 + 128);
    assert_eq!(
        refused(&format!("x:{}", "a".repeat(129))),
        ReferenceError::Tag
    );
}

#[test]
fn a_repository_is_written_without_tag_and_digest() {
    assert_eq!(
        Repository::parse("nginx").map(|r| r.to_string()),
        Ok("docker.io/library/nginx".to_owned())
    );
    assert_eq!(
        Repository::parse("nginx:1"),
        Err(ReferenceError::NotARepository)
    );
    assert_eq!(
        Repository::parse(&format!("nginx@{D}")),
        Err(ReferenceError::NotARepository)
    );
}

#[test]
fn a_reference_can_be_pinned_to_a_digest() {
    let digest = Digest::parse(D).unwrap();
    let pinned = Reference::parse("nginx:1").unwrap().with_digest(digest);
    assert_eq!(pinned.to_string(), format!("docker.io/library/nginx@{D}"));
}

#[test]
fn what_is_printed_parses_to_the_same_value() {
    for text in [
        "nginx",
        "ghcr.io/a/b:v1",
        "[::1]:5000/x",
        &format!("x:1@{D}"),
    ] {
        let reference = Reference::parse(text).unwrap();
        assert_eq!(Reference::parse(&reference.to_string()), Ok(reference));
    }
}
