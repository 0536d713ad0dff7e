//! The findings for people: one line for each sandbox and each container.

use std::fmt::Write;

use super::super::output::{Colour, Exit, Output};
use super::findings::{EditFound, Findings, JudgedFound, PodFound, RuleFound, VerdictFound};

pub(super) fn print(findings: &Findings, output: &mut Output) -> Exit {
    let mut text = String::new();
    for pod in &findings.pods {
        let whose = format!("{} {}/{}", pod.kind, pod.namespace, pod.name);
        let place = |line: u64| match line {
            0 => pod.file.clone(),
            line => format!("{}:{line}", pod.file),
        };
        let at = place(pod.line);
        one(
            &mut text,
            &format!("{at}: {whose} sandbox"),
            &pod.sandbox,
            output,
        );
        for container in &pod.containers {
            let kind = match container.kind {
                "container" => "container".to_owned(),
                kind => format!("{kind} container"),
            };
            let at = place(container.line);
            let head = format!("{at}: {whose} {kind} `{}`", container.name);
            one(&mut text, &head, &container.judged, output);
        }
        aside(&mut text, pod);
    }
    if !findings.pods.is_empty() {
        text.push_str(&summary(findings));
    }
    output.page(&text)
}

fn one(text: &mut String, head: &str, judged: &JudgedFound, output: &Output) {
    let verdict = match judged.verdict {
        VerdictFound::Allowed => output.paint(Colour::Green, "allowed"),
        VerdictFound::Denied => output.paint(Colour::Red, "denied"),
        VerdictFound::Refused => output.paint(Colour::Red, "not created by the kubelet"),
        VerdictFound::Undecided => output.paint(Colour::Yellow, "could not tell"),
    };
    let mut line = format!("{head}: {verdict}");
    if let Some(why) = &judged.text {
        line.push_str(": ");
        // A denial's line names them itself.
        let hangs = judged.verdict == VerdictFound::Undecided;
        if let (true, Some(policy), Some(rule)) = (hangs, &judged.policy, &judged.rule) {
            line.push_str(&format!("{policy}/{rule}: "));
        }
        line.push_str(why);
    }
    for edit in &judged.edits {
        line.push_str(&edited(edit));
    }
    line.push('\n');
    text.push_str(&line);
    let told = judged.text.as_deref().unwrap_or_default();
    let named = |rule: &RuleFound| {
        if rule.effect == "deny" {
            rule.text == told
        } else if rule.effect == "waive" {
            false
        } else {
            // What acts is an edit.
            rule.action == "Enforce"
        }
    };
    for rule in judged.rules.iter().filter(|rule| !named(rule)) {
        text.push_str(&also(rule));
    }
}

fn edited(edit: &EditFound) -> String {
    match &edit.to {
        Some(to) if edit.kind == "fill" => format!("; filled in: {} {to}", edit.from),
        Some(to) => format!("; pinned: `{}` is pulled as `{to}`", edit.from),
        None => format!(
            "; pinned: `{}` is pulled by the digest that it means then",
            edit.from
        ),
    }
}

/// A rule that the verdict does not name.
fn also(rule: &RuleFound) -> String {
    if let Some(exception) = &rule.exception {
        let said = if rule.text.is_empty() {
            format!("{}/{}", rule.policy, rule.rule)
        } else {
            rule.text.clone()
        };
        let (name, end) = (&exception.name, &exception.expires);
        return format!("    waived by exception {name} until {end}: {said}\n");
    }
    match (rule.action, rule.effect) {
        ("Enforce", _) => format!("    also: {}\n", rule.text),
        (action, effect @ ("pin" | "fill")) => format!(
            "    {}: {}/{} would {effect}\n",
            action.to_lowercase(),
            rule.policy,
            rule.rule
        ),
        (action, _) => format!("    {}: {}\n", action.to_lowercase(), rule.text),
    }
}

fn aside(text: &mut String, pod: &PodFound) {
    for note in &pod.untranslated {
        let line = format!(
            "    line {}: `{}` is not translated\n",
            note.line, note.path
        );
        text.push_str(&line);
    }
    for assumed in &pod.assumed {
        text.push_str(&format!("    assumed: {assumed}\n"));
    }
}

fn summary(findings: &Findings) -> String {
    let containers: usize = findings.pods.iter().map(|pod| pod.containers.len()).sum();
    let mut text = format!(
        "pods: {}, containers: {containers}; allowed: {}",
        findings.pods.len(),
        findings.count(VerdictFound::Allowed)
    );
    for (verdict, words) in [
        (VerdictFound::Denied, "denied"),
        (VerdictFound::Refused, "not created by the kubelet"),
        (VerdictFound::Undecided, "could not tell"),
    ] {
        let many = findings.count(verdict);
        if many > 0 {
            // Writing into a String cannot fail.
            write!(text, ", {words}: {many}").unwrap_or_default();
        }
    }
    text.push('\n');
    text
}
