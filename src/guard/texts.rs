//! Every text of the denials that the guard's edges make, from the functions that make them: held to
//! tests/golden/texts, so that the documentation never shows a line that nobody is told.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::again::{late, nameless, taken_away};
use super::content::bad_config;
use super::create::another_pod;
use super::facts::OwnSandbox;
use super::gather::breaks_chain;
use super::prove::{ImageAsk, bad_document, registry, runtime};
use super::pull::overtaken;
use super::unproven::{not_asked, not_proven};
use super::*;
use crate::image::manifest::{Document, OCI_MANIFEST};
use crate::image::{ChainError, ConfigError, Digest, ImageId};
use crate::policy::{Code, Kind, Needs};
use crate::registry::{Cause, RegistryError, Setup, TlsFault};
use crate::request::Pod;
use crate::verify::{NotProven, Preloaded};

fn api() -> Reference {
    Reference::parse("registry.example.com/pay/api:1.2").unwrap()
}

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_default()
}

/// The texts of one code are those of its file, and the one that the documentation shows is one of
/// them.
fn held(code: Code, denials: Vec<Denial>) {
    assert!(denials.iter().all(|denial| denial.code() == code));
    held_in(code.as_str(), denials);
}

/// The texts are those of the file.
fn held_in(name: &str, denials: Vec<Denial>) {
    let mut lines = String::new();
    for denial in &denials {
        let line = denial.line();
        assert!(line.contains('`'), "{line} names no object");
        assert!(line.contains("; "), "{line} does not say what to change");
        // Causes of one class say the same: said once here.
        if !lines.lines().any(|said| said == line) {
            writeln!(lines, "{line}").unwrap();
        }
    }
    let wanted = file(&format!("tests/golden/texts/{name}.txt"));
    assert_eq!(lines, wanted, "tests/golden/texts/{name}.txt");
}

/// As [`held`], where the documented line is one that the guard itself says.
fn held_and_shown(code: Code, denials: Vec<Denial>) {
    let lines: Vec<String> = denials.iter().map(Denial::line).collect();
    held(code, denials);
    let shown = file(&format!("tests/golden/denials/{code}.txt"));
    assert!(
        lines.iter().any(|line| *line == shown.trim_end()),
        "{shown}"
    );
}

#[test]
fn what_a_silent_registry_means_is_said_as_documented() {
    let tls = [
        TlsFault::Expired,
        TlsFault::NotYetValid,
        TlsFault::UnknownIssuer,
        TlsFault::WrongName,
        TlsFault::Certificate,
        TlsFault::Handshake,
    ];
    let causes = [
        Cause::TimedOut,
        Cause::NoAddress,
        Cause::NoConnection,
        Cause::TooSlow,
        Cause::Interrupted,
        Cause::RateLimited,
        Cause::ServerError,
        Cause::Busy,
    ];
    let silent = causes.into_iter().chain(tls.map(Cause::Tls));
    let path = "/etc/containerd/certs.d/registry.example.com/hosts.toml".to_owned();
    let setups = [
        Setup::Hosts {
            path: path.clone(),
            reason: "it is not valid TOML".to_owned(),
        },
        Setup::Certificate { path: path.clone() },
        Setup::Credentials { path },
        Setup::CredentialHelper {
            host: "registry.example.com".to_owned(),
        },
        Setup::PullAuth,
        Setup::Proxy,
        Setup::NoHost,
        Setup::Disk,
    ];
    let errors = silent
        .map(|cause| RegistryError::Unreachable {
            cause,
            every_host: true,
        })
        .chain(setups.map(|setup| RegistryError::Unsupported { setup }));
    let denials = errors.map(|error| registry(&api(), &error)).collect();
    held_and_shown(Code::ImgUnreachable, denials);
}

#[test]
fn what_a_refusing_registry_means_is_said_as_documented() {
    held_and_shown(
        Code::ImgRefused,
        vec![registry(&api(), &RegistryError::Refused)],
    );
}

#[test]
fn what_an_absent_image_means_is_said_as_documented() {
    held_and_shown(
        Code::ImgNotFound,
        vec![registry(&api(), &RegistryError::NotFound)],
    );
}

#[test]
fn what_a_bad_image_means_is_said_as_documented() {
    let twice = br#"{"schemaVersion":2,"schemaVersion":2}"#;
    let error = Document::parse(twice, Some(OCI_MANIFEST), &Limits::default()).unwrap_err();
    let judged = Digest::of(b"judged");
    let chain = NotProven::BadChain {
        judged,
        error: ChainError::NotAnImage { digest: judged },
    };
    let id = ImageId::of_config(Digest::of(b"config"));
    let pod = OwnSandbox {
        pod: Pod::new("payments", "api", "u", &BTreeMap::new(), &BTreeMap::new()),
        handler: String::new(),
        namespaces: None,
    };
    let ask = ImageAsk {
        id,
        reference: &api(),
        needs: &Needs::default(),
        pod: &pod,
        bootstrap: &[],
        preloaded: Preloaded::Verify,
    };
    let denials = vec![
        bad_document(&api(), &error.to_string()),
        not_proven(&ask, &chain),
        bad_config(
            "registry.example.com/pay/api:1.2",
            &ConfigError::RuntimeLabel,
        ),
    ];
    held_and_shown(Code::ImgConfig, denials);
}

#[test]
fn a_sandbox_of_another_pod_is_said_as_documented() {
    let id = "8b1f".repeat(16);
    held_and_shown(Code::PodSandbox, vec![another_pod(&id, "payments", "api")]);
}

#[test]
fn a_handler_that_breaks_the_chain_is_said_as_documented() {
    held_and_shown(
        Code::PodRuntimeHandler,
        vec![breaks_chain("kata-guest-pull")],
    );
}

#[test]
fn what_containerd_does_not_answer_is_said_as_documented() {
    let asked = "the status of a sandbox";
    let (name, text) = ("8b1f".to_owned(), String::new());
    let errors = [
        ContainerdError::Unavailable {
            asked,
            text: text.clone(),
        },
        ContainerdError::Timeout { asked, after: ASK },
        ContainerdError::NotFound {
            asked,
            name: name.clone(),
        },
        ContainerdError::Refused {
            asked,
            code: 13,
            text,
        },
        ContainerdError::TooLarge {
            name: name.clone(),
            limit: 1,
        },
        ContainerdError::Bad {
            name,
            why: "it points elsewhere".to_owned(),
        },
    ];
    let mut denials: Vec<Denial> = errors.iter().map(runtime).collect();
    denials.push(overtaken(&api()));
    held(Code::RuntimeUnavailable, denials);
}

#[test]
fn what_cannot_be_told_of_what_runs_is_said_as_written() {
    let pod = OwnSandbox {
        pod: Pod::new("payments", "api", "u", &BTreeMap::new(), &BTreeMap::new()),
        handler: String::new(),
        namespaces: None,
    };
    let id = ImageId::of_config(Digest::of(b"config"));
    let reference = api();
    let ask = ImageAsk {
        id,
        reference: &reference,
        needs: &Needs::default(),
        pod: &pod,
        bootstrap: &[],
        preloaded: Preloaded::Verify,
    };
    let name = NotProven::Name {
        id,
        repository: reference.repository().clone(),
    };
    let denials = vec![
        not_asked(&ask, &name),
        taken_away("registry.example.com/pay/api:1.2"),
        nameless("main"),
        late(&"8b1f".repeat(16), Duration::from_secs(10)),
    ];
    assert!(
        denials
            .iter()
            .all(|one| one.code().kind() == Kind::Undecided)
    );
    held_in("running", denials);
}
