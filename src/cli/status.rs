//! `pullguard status`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::admin;
use super::args::{Form, StatusArgs};
use super::output::{Colour, Exit, Output};
use crate::report::{
    LedgerState, LedgerStatus, ListenState, Mode, State, Status, UpstreamState, printable,
};
use crate::settings;

pub(crate) fn run(args: &StatusArgs, output: &mut Output) -> Exit {
    let socket = args
        .socket
        .clone()
        .unwrap_or_else(|| admin_socket(&args.config));
    let body = match admin::get(&socket, "/status") {
        Ok(body) => body,
        Err(error) => {
            output.complain(&format!(
                "no answer on {}: {error}; is the daemon running, and are you root? \
                 `systemctl status pullguard` tells",
                socket.display()
            ));
            return Exit::Unknown;
        }
    };
    let status = match serde_json::from_str::<Status>(&body) {
        Ok(status) => status,
        Err(error) => {
            output.complain(&format!(
                "the daemon on {} is of another version: {error}",
                socket.display()
            ));
            return Exit::Unknown;
        }
    };
    let printed = match args.output {
        Form::Json => output.page(&format!("{body}\n")),
        Form::Text => {
            let rows = rows(&status, output);
            output.table(&rows)
        }
    };
    match (printed, status.state) {
        (Exit::Ok, State::Active) => Exit::Ok,
        (Exit::Ok, State::Bootstrap) => Exit::No,
        (failed, _) => failed,
    }
}

/// The socket that a daemon with this file serves: of the file, of its last good copy where it cannot
/// be used, of the defaults where there is none.
fn admin_socket(config: &std::path::Path) -> PathBuf {
    let last_good = settings::last_good_of(config);
    settings::peek(config, &last_good).settings.admin_listen
}

fn rows(status: &Status, output: &Output) -> Vec<(&'static str, String)> {
    let state = match status.state {
        State::Active => output.paint(Colour::Green, "Active"),
        State::Bootstrap => output.paint(Colour::Red, "Bootstrap"),
    };
    let mode = match status.mode {
        Mode::Enforce => "enforce".to_owned(),
        Mode::Observe => output.paint(Colour::Yellow, "observe: nothing is denied by policy"),
    };
    let mut rows = vec![
        (
            "State",
            format!("{state} since {}: {}", status.since, line(&status.why)),
        ),
        ("Mode", mode),
        ("Policy", policy(status)),
    ];
    if let Some(refused) = &status.refused {
        let text = format!("{} from {}: {}", refused.at, refused.from, refused.error);
        rows.push(("Refused", output.paint(Colour::Red, &line(&text))));
    }
    if status.listen.state == ListenState::Unreachable {
        let text = format!("{} does not lead to the guard", line(&status.listen.socket));
        rows.push(("Socket", output.paint(Colour::Red, &text)));
    }
    rows.extend([
        ("Calls", calls(status)),
        ("containerd", upstream(status, output)),
        ("Ledger", facts(&status.ledger, output)),
        ("Admissions", facts(&status.admissions, output)),
        ("Adopted", adopted(status)),
        ("Unguarded", unguarded(status, output)),
        ("Running", running(status, output)),
        ("Audit", audit(status, output)),
        ("Settings", settings_row(status, output)),
        (
            "Node",
            format!(
                "{}, version {}, up since {}",
                line(&status.node),
                status.version,
                status.started_at
            ),
        ),
    ]);
    rows
}

fn policy(status: &Status) -> String {
    match &status.policy {
        Some(policy) => format!(
            "{} from {} since {}: policies: {}, rules: {}, exceptions: {}",
            line(&policy.version),
            line(&policy.loaded_from),
            policy.loaded_at,
            policy.policies,
            policy.rules,
            policy.exceptions
        ),
        None if status.refused.is_some() => "none; the one that is there was refused".to_owned(),
        None => "none; set `[policy] local` in the settings".to_owned(),
    }
}

fn calls(status: &Status) -> String {
    let calls = &status.calls;
    let mut text = format!(
        "{} allowed, {} denied, {} undecided, {} would be denied, {} warned",
        calls.allowed, calls.denied, calls.undecided, calls.would_deny, calls.warned
    );
    if calls.allowed_unverified > 0 {
        text.push_str(&format!(", {} unverified", calls.allowed_unverified));
    }
    text.push_str(&format!("; {} carried unseen", status.relay.passed));
    text
}

fn upstream(status: &Status, output: &Output) -> String {
    let state = match status.upstream.state {
        UpstreamState::Up => output.paint(Colour::Green, "up"),
        UpstreamState::Down => output.paint(Colour::Red, "down"),
        UpstreamState::Unknown => "not asked yet".to_owned(),
    };
    let version = status
        .upstream
        .version
        .as_ref()
        .map_or_else(String::new, |version| {
            format!(", version {}", line(version))
        });
    format!("{state}{version}, at {}", status.upstream.socket)
}

fn facts(facts: &LedgerStatus, output: &Output) -> String {
    let state = match facts.state {
        LedgerState::Ready => "ready".to_owned(),
        LedgerState::Rebuilt => output.paint(Colour::Yellow, "started anew"),
        LedgerState::Unavailable => output.paint(Colour::Red, "unavailable"),
    };
    match &facts.problem {
        Some(problem) => format!("{state}: {}", line(problem)),
        None => state,
    }
}

fn adopted(status: &Status) -> String {
    match &status.adoption {
        Some(adoption) => format!(
            "images: {}, containers: {}, recorded {}",
            adoption.images, adoption.containers, adoption.recorded_at
        ),
        None => "nothing recorded".to_owned(),
    }
}

fn unguarded(status: &Status, output: &Output) -> String {
    match status.unguarded_containers {
        Some(0) => {
            "every running container came through the guard, or was here before it".to_owned()
        }
        Some(count) => output.paint(
            Colour::Red,
            &format!(
                "running containers and sandboxes that did not come through the guard: {count}"
            ),
        ),
        None => "not counted: not yet, or containerd does not answer".to_owned(),
    }
}

fn running(status: &Status, output: &Output) -> String {
    let Some(running) = &status.running else {
        return "not judged again: not yet, there is no policy, or containerd does not answer"
            .to_owned();
    };
    let mut text = format!(
        "{} judged again by {} at {}: ",
        running.judged,
        line(&running.policy_version),
        running.ended_at
    );
    let denied = format!(
        "{} would not be let start now{}",
        running.denied,
        codes(&running.denied_by_code)
    );
    if running.denied > 0 {
        text.push_str(&output.paint(Colour::Yellow, &denied));
    } else {
        text.push_str(&denied);
    }
    text.push_str(&format!(
        ", {} could not be told{}",
        running.undecided,
        codes(&running.undecided_by_code)
    ));
    if running.left_out > 0 {
        text.push_str(&format!("; {} more run", running.left_out));
    }
    text
}

/// ` (POD-ROOT 2, REG-DENIED 1)`; nothing where all are at zero.
fn codes(counts: &BTreeMap<String, u64>) -> String {
    let some = counts.iter().filter(|(_, count)| **count > 0);
    let some: Vec<String> = some
        .map(|(code, count)| format!("{} {count}", line(code)))
        .collect();
    if some.is_empty() {
        return String::new();
    }
    format!(" ({})", some.join(", "))
}

fn audit(status: &Status, output: &Output) -> String {
    let audit = &status.audit;
    let mut text = format!("{} lines in {}", audit.written, audit.directory);
    if audit.dropped > 0 {
        let problem = audit.problem.as_deref().unwrap_or("the queue was full");
        let lost = format!("; {} lost: {}", audit.dropped, line(problem));
        text.push_str(&output.paint(Colour::Red, &lost));
    }
    text
}

fn settings_row(status: &Status, output: &Output) -> String {
    match &status.settings.problem {
        Some(problem) => {
            let text = format!("{}: {}", status.settings.origin, line(problem));
            output.paint(Colour::Yellow, &text)
        }
        None => status.settings.origin.clone(),
    }
}

fn line(text: &str) -> String {
    printable(text).into_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::*;

    fn write(path: &Path, text: &str) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[test]
    fn the_socket_is_looked_for_where_the_daemon_serves_it() {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("p.toml");
        let copy = settings::last_good_of(&config);
        let default = PathBuf::from("/run/pullguard-admin/admin.sock");
        assert_eq!(admin_socket(&config), default);
        write(&config, "admin_listen = \"/run/a/file.sock\"\n");
        assert_eq!(admin_socket(&config), PathBuf::from("/run/a/file.sock"));
        assert!(!copy.exists(), "asking changes nothing");
        write(&copy, "admin_listen = \"/run/a/copy.sock\"\n");
        write(&config, "admin_listen = broken\n");
        assert_eq!(admin_socket(&config), PathBuf::from("/run/a/copy.sock"));
        write(&copy, "broken");
        assert_eq!(admin_socket(&config), default);
    }
}
