//! The texts of denials: one golden file per code, in step with the documentation, and whole in
//! what a person sees.
#![expect(clippy::expect_used, reason = "a test says why it failed by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pullguard::policy::reply::{Rpc, StatusCode, reply};
use pullguard::policy::{Code, Denial, explain, unjudged};
use pullguard::request::{GatedMethod, HygieneError, Method, Tolerated, decode, unframe};

fn golden_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/denials")
}

fn golden(code: Code) -> String {
    let path = golden_dir().join(format!("{code}.txt"));
    let text = fs::read_to_string(&path).expect("a golden file for every code");
    text.strip_suffix('\n').expect("a line end").to_owned()
}

#[test]
fn every_code_has_one_golden_file_and_every_golden_file_a_code() {
    let files: BTreeSet<String> = fs::read_dir(golden_dir())
        .expect("the golden directory")
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let codes: BTreeSet<String> = Code::ALL.iter().map(|code| format!("{code}.txt")).collect();
    assert_eq!(files, codes);
}

#[test]
fn every_golden_text_is_one_line_of_printable_ascii_under_512_bytes_and_starts_with_its_code() {
    for code in Code::ALL {
        let line = golden(*code);
        assert!(line.len() < 512, "{line}");
        assert!(
            line.bytes()
                .all(|byte| byte.is_ascii_graphic() || byte == b' '),
            "{line}"
        );
        let head = line.split([' ', ':']).next();
        assert_eq!(head, Some(code.as_str()), "{line}");
        assert!(line.contains("; "), "says what to change: {line}");
    }
}

#[test]
fn the_documentation_shows_the_golden_text_of_every_code() {
    for code in Code::ALL {
        let section = explain(*code);
        assert!(
            section.contains(&format!("\n{}\n", golden(*code))),
            "{code}"
        );
    }
}

#[test]
fn a_code_is_parsed_from_its_own_text_only() {
    for code in Code::ALL {
        assert_eq!(Code::parse(code.as_str()), Some(*code));
    }
    assert_eq!(Code::parse("pod-root"), None);
}

#[test]
fn the_golden_texts_of_policy_rules_are_what_the_policy_cases_expect() {
    let mut expected = BTreeSet::new();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    for rule in fs::read_dir(cases).unwrap() {
        let rule = rule.unwrap().path();
        if !rule.is_dir() {
            continue;
        }
        for case in fs::read_dir(rule).unwrap() {
            let text = fs::read_to_string(case.unwrap().path().join("expected.txt")).unwrap();
            expected.extend(text.lines().map(str::to_owned));
        }
    }
    for code in [
        Code::RefInvalid,
        Code::RegDenied,
        Code::ImgDigestRequired,
        Code::ImgUnproven,
        Code::ImgUnmatched,
        Code::PodUnmatched,
        Code::PodPrivileged,
        Code::PodRoot,
        Code::PodHostpath,
        Code::PodMountUnknown,
        Code::PodHostNamespace,
    ] {
        let line = golden(code);
        assert!(expected.contains(&line), "no case expects {line}");
    }
}

fn undecoded(message: &[u8]) -> HygieneError {
    let method = GatedMethod::CreateContainer;
    decode(method, message, &Tolerated::none()).expect_err("no request")
}

#[test]
fn the_golden_texts_of_unjudged_calls_are_what_the_guard_and_the_relay_say() {
    let create = Method::CreateContainer.name();
    let hygiene = |error: &HygieneError| unjudged::hygiene(create, error);
    let long = unframe(&[0, 1, 0, 0, 1], 16 << 20).expect_err("too long");
    // A mount of a container with a number 99.
    let later = [0x12, 0x05, 0x3a, 0x03, 0x98, 0x06, 0x01];
    let away = unjudged::away("/run/containerd/containerd.sock", "there is no socket");
    let said = [
        unjudged::refused_method(Method::CheckpointContainer.name()),
        hygiene(&undecoded(&[0x0a, 1, b'a', 0x0a, 1, b'b'])),
        hygiene(&undecoded(&later)),
        hygiene(&long),
        away,
        unjudged::failed(create),
    ];
    for denial in said {
        assert_eq!(denial.line(), golden(denial.code()));
    }
}

#[test]
fn what_no_rule_says_names_its_object_and_what_to_change() {
    let pull = Method::PullImage.name();
    let long = unframe(&[0, 1, 0, 0, 1], 16 << 20).expect_err("too long");
    for denial in [
        unjudged::hygiene(pull, &HygieneError::Compressed),
        unjudged::hygiene(pull, &long),
        unjudged::content_type(pull),
        unjudged::crowded(pull, 1),
        unjudged::stalled(pull, Duration::from_secs(10)),
        unjudged::answer_too_large(pull, 1),
        unjudged::away("/run/containerd/containerd.sock", "there is no socket"),
        unjudged::unusable(pull, "names no image"),
        unjudged::unlisted("/x"),
        unjudged::refused_method(pull),
        unjudged::failed(pull),
        unjudged::internal("a pin without a policy"),
        unjudged::stopping(pull),
    ] {
        let line = denial.line();
        assert!(line.contains('`') && line.contains("; "), "{line}");
        if denial.code() == Code::Limit {
            let (status, _) = reply(Rpc::PullImage, &denial);
            assert_eq!(status, StatusCode::ResourceExhausted, "{line}");
        }
    }
}

#[test]
fn a_text_in_typed_parts_reads_object_value_advice() {
    let denial = Denial::build(
        Code::Limit,
        None,
        "request",
        "CreateContainerRequest\n",
        "make it smaller",
    );
    assert_eq!(
        denial.line(),
        "LIMIT: request `CreateContainerRequest\\x0a`; make it smaller"
    );
}

#[test]
fn free_text_from_outside_cannot_break_the_line_or_overrun_it() {
    let denial = Denial::new(Code::Internal, format!("a\nb {}", "x".repeat(1_000)));
    let line = denial.line();
    assert!(line.starts_with("INTERNAL: a\\x0ab xxx"), "{line}");
    assert!(line.ends_with("x..."), "{line}");
    assert_eq!(line.len(), 511);
}

#[test]
fn every_rpc_answers_with_the_status_that_makes_the_kubelet_show_the_text() {
    use StatusCode::{InvalidArgument, PermissionDenied, Unavailable, Unimplemented, Unknown};
    let table = [
        (Rpc::PullImage, Code::RegDenied, Unknown, ""),
        (Rpc::PullImage, Code::ImgRefused, Unknown, ""),
        (Rpc::PullImage, Code::ImgNotFound, Unknown, ""),
        (
            Rpc::PullImage,
            Code::ImgUnreachable,
            Unknown,
            "RegistryUnavailable: ",
        ),
        (Rpc::PullImage, Code::Internal, Unknown, ""),
        (Rpc::PullImage, Code::StateBootstrap, Unavailable, ""),
        (Rpc::PullImage, Code::RuntimeUnavailable, Unavailable, ""),
        (Rpc::CreateContainer, Code::PodRoot, PermissionDenied, ""),
        (Rpc::CreateContainer, Code::ImgUnreachable, Unavailable, ""),
        (Rpc::CreateContainer, Code::PodMountUnknown, Unavailable, ""),
        (Rpc::CreateContainer, Code::Internal, Unavailable, ""),
        (
            Rpc::RunPodSandbox,
            Code::PodHostNamespace,
            PermissionDenied,
            "",
        ),
        (Rpc::RunPodSandbox, Code::StateBootstrap, Unavailable, ""),
        (Rpc::Gated, Code::RpcRefused, PermissionDenied, ""),
        (Rpc::Unlisted, Code::RpcRefused, Unimplemented, ""),
        (Rpc::CreateContainer, Code::RpcRefused, Unimplemented, ""),
        (
            Rpc::CreateContainer,
            Code::RpcMalformed,
            InvalidArgument,
            "",
        ),
        // A registry's answer over a limit; a message over its size is below.
        (Rpc::PullImage, Code::Limit, Unknown, ""),
        (Rpc::CreateContainer, Code::Limit, PermissionDenied, ""),
        (Rpc::PullImage, Code::RpcUnknownField, PermissionDenied, ""),
    ];
    for (rpc, code, status, prefix) in table {
        let denial = Denial::new(code, "x `y`; z");
        assert_eq!(
            reply(rpc, &denial),
            (status, format!("{prefix}{code}: x `y`; z")),
            "{rpc:?} {code}"
        );
    }
}

#[test]
fn only_a_message_that_is_too_large_is_resource_exhausted() {
    let denial = Denial::new(Code::Limit, "x `y`; z");
    for rpc in [Rpc::PullImage, Rpc::CreateContainer, Rpc::Gated] {
        let (status, _) = reply(rpc, &denial.clone().of_message());
        assert_eq!(status, StatusCode::ResourceExhausted, "{rpc:?}");
        let (status, _) = reply(rpc, &denial);
        assert_ne!(status, StatusCode::ResourceExhausted, "{rpc:?}");
    }
}

#[test]
fn a_text_is_under_512_bytes_with_the_kubelets_prefix() {
    let long = "x".repeat(1_000);
    let pull = Denial::new(Code::ImgUnreachable, long.clone());
    let volume = Denial::new(Code::ImgUnproven, long).of_image_volume();
    for (rpc, denial, prefix) in [
        (
            Rpc::PullImage,
            pull,
            "RegistryUnavailable: IMG-UNREACHABLE: x",
        ),
        (
            Rpc::CreateContainer,
            volume,
            "ImageVolumeMountFailed: IMG-UNPROVEN: x",
        ),
    ] {
        let (_, text) = reply(rpc, &denial);
        assert!(text.starts_with(prefix), "{text}");
        assert_eq!(text.len(), 511, "{text}");
    }
}

#[test]
fn a_denied_image_volume_has_the_kubelets_own_reason() {
    let denial = Denial::new(Code::ImgUnproven, "x `y`; z").of_image_volume();
    assert_eq!(
        reply(Rpc::CreateContainer, &denial),
        (
            StatusCode::PermissionDenied,
            "ImageVolumeMountFailed: IMG-UNPROVEN: x `y`; z".to_owned()
        )
    );
}
