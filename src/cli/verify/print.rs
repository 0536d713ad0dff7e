//! The findings as a table for people.

use super::super::output::{Colour, Exit, Output};
use super::findings::{ContainerdFound, Findings, HostAnswered, HostFound, RuleFound, Verdict};

pub(super) fn print(found: &Findings, output: &mut Output) -> Exit {
    let mut rows: Vec<(&str, String)> = Vec::new();
    let name = found.reference.as_ref().unwrap_or(&found.image);
    rows.push(("Image", name.clone()));
    let verdict = match found.verdict {
        Verdict::Allowed => output.paint(Colour::Green, "allowed"),
        Verdict::Denied => output.paint(Colour::Red, "denied"),
        Verdict::Undecided => output.paint(Colour::Yellow, "could not tell"),
    };
    rows.push(("Verdict", format!("{verdict}: {}", found.why)));
    if let Some(pinned) = &found.pinned {
        rows.push(("Pulled as", pinned.clone()));
    }
    if found.reference.is_none() {
        return output.table(&rows);
    }
    let version = found.policy.version.as_deref().unwrap_or("none");
    let policy = format!(
        "{version} from {}, for a pod in namespace {}",
        found.policy.from, found.namespace
    );
    rows.push(("Policy", policy));
    section(&mut rows, "Rules", &found.rules, |one| rule(one, output));
    if found.policy.version.is_some() && found.rules.is_empty() {
        rows.push(("Rules", "none speaks of this image".to_owned()));
    }
    section(&mut rows, "Asked", &found.hosts, |one| host(one, output));
    if let Some(failure) = &found.registry {
        rows.push(("Registry", failure.clone()));
    }
    section(&mut rows, "Chain", &found.chain, |link| {
        format!("{:8}  {}  {} bytes", link.kind, link.digest, link.bytes)
    });
    if let Some(config) = &found.config {
        let user = match config.user.as_str() {
            "" => "root (the image names none)",
            user => user,
        };
        rows.push((
            "Platform",
            format!("{}; this node: {}", config.platform, found.node_platform),
        ));
        rows.push(("User", user.to_owned()));
        rows.push((
            "Content",
            format!("layers: {}, labels: {}", config.layers, config.labels),
        ));
    }
    if let Some(answer) = &found.containerd {
        rows.push(("containerd", containerd(answer, output)));
    }
    output.table(&rows)
}

/// One row for each item, named once.
fn section<T>(
    rows: &mut Vec<(&'static str, String)>,
    name: &'static str,
    items: &[T],
    text: impl Fn(&T) -> String,
) {
    for (index, item) in items.iter().enumerate() {
        rows.push((if index == 0 { name } else { "" }, text(item)));
    }
}

fn rule(rule: &RuleFound, output: &Output) -> String {
    let answer = match (rule.answer, rule.code) {
        ("waived", Some(code)) => {
            let by = rule.exception.as_ref();
            let by = by.map(|one| format!(" by exception {} until {}", one.name, one.expires));
            let text = format!("{code}, waived{}", by.unwrap_or_default());
            output.paint(Colour::Yellow, &text)
        }
        ("broken", Some(code)) => output.paint(Colour::Red, &format!("broken, {code}")),
        ("holds", _) => output.paint(Colour::Green, "holds"),
        ("open", _) => output.paint(Colour::Yellow, "open: it depends on the digest"),
        ("at-create", _) => "asked when the container is created".to_owned(),
        (other, _) => other.to_owned(),
    };
    let when = match rule.when {
        "some-handlers" => ", under some runtime handlers",
        _ => "",
    };
    format!(
        "{}/{} ({}, {}{when}): {answer}",
        rule.policy, rule.rule, rule.asks, rule.action
    )
}

fn host(host: &HostFound, output: &Output) -> String {
    let text = host.text.clone().unwrap_or_default();
    let answer = match host.answer {
        HostAnswered::Found => {
            let digest = host.digest.as_deref().unwrap_or_default();
            format!("{} {digest}", output.paint(Colour::Green, "has it:"))
        }
        HostAnswered::NotFound | HostAnswered::Refused => output.paint(Colour::Red, &text),
        HostAnswered::Unreachable | HostAnswered::Bad | HostAnswered::Unsupported => {
            output.paint(Colour::Yellow, &text)
        }
        HostAnswered::NotAsked => "not asked".to_owned(),
    };
    let who = match (host.answer, host.authenticated) {
        (HostAnswered::NotAsked, _) => "",
        (_, true) => ", with credentials",
        (_, false) => ", without credentials",
    };
    format!("{} ({}{who}): {answer}", host.url, host.role)
}

fn containerd(found: &ContainerdFound, output: &Output) -> String {
    let id = found.id.as_deref().unwrap_or_default();
    match (found.answer, found.same_image) {
        ("has", Some(true)) => {
            let same = output.paint(Colour::Green, "the same image");
            format!("has {id} under this name: {same}")
        }
        ("has", Some(false)) => {
            let other = output.paint(Colour::Yellow, "another image");
            format!("has {id} under this name: {other}")
        }
        ("has", None) => format!("has {id} under this name"),
        ("absent", _) => "does not have it".to_owned(),
        _ => {
            let text = found.text.as_deref().unwrap_or("no answer");
            format!("not asked on {}: {text}", found.socket)
        }
    }
}
