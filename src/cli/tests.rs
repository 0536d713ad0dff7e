//! Tests of the command line: arguments in, text and exit code out.

use std::io::Write;
use std::sync::{Arc, Mutex};

use super::*;
use crate::policy::Code;

#[derive(Clone, Default)]
struct Stream(Arc<Mutex<Vec<u8>>>);

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Stream {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// Exit, standard output, standard error.
fn pullguard(arguments: &[&str]) -> (Exit, String, String) {
    let (out, err) = (Stream::default(), Stream::default());
    let mut output = Output::new(out.clone(), err.clone());
    let arguments = std::iter::once("pullguard").chain(arguments.iter().copied());
    let exit = run(arguments.map(OsString::from), &mut output);
    (exit, out.text(), err.text())
}

#[test]
fn the_arguments_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn a_wrong_command_line_is_usage() {
    let (exit, out, err) = pullguard(&["sevre"]);
    assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
    assert!(
        err.starts_with("pullguard: error: unrecognized subcommand 'sevre'"),
        "{err}"
    );
}

#[test]
fn help_names_every_exit_code() {
    let (exit, out, _) = pullguard(&["--help"]);
    assert_eq!(exit, Exit::Ok);
    for exit in [
        Exit::Ok,
        Exit::No,
        Exit::Unknown,
        Exit::Usage,
        Exit::Bug,
        Exit::Settings,
    ] {
        assert!(out.contains(&format!("\n{:>4}  ", exit.code())), "{out}");
    }
}

#[test]
fn every_code_is_explained() {
    for code in Code::ALL {
        let (exit, out, err) = pullguard(&["explain", code.as_str()]);
        assert_eq!((exit, err.as_str()), (Exit::Ok, ""), "{code}");
        let body = out.strip_prefix(&format!("{code}\n\n")).unwrap();
        assert!(body.len() > 40, "{code}: {body}");
    }
}

#[test]
fn an_unknown_code_is_answered_with_the_known_ones() {
    let (exit, out, err) = pullguard(&["explain", "reg-denyed"]);
    assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
    assert!(
        err.starts_with("pullguard: `reg-denyed` is no denial code; the codes are REF-INVALID, "),
        "{err}"
    );
}

#[test]
fn settings_that_cannot_be_used_are_said_with_their_place() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("p.toml");
    std::fs::write(&file, "mode = \"off\"\n").unwrap();
    let file = file.to_str().unwrap();
    let (exit, out, err) = pullguard(&["settings", "check", "--config", file]);
    assert_eq!((exit, out.as_str()), (Exit::Settings, ""));
    assert_eq!(
        err,
        format!(
            "pullguard: {file}:1:8: `mode`: unknown variant `off`, expected `enforce` or `observe`\n"
        )
    );
}

#[test]
fn settings_are_shown_with_their_source() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("p.toml");
    std::fs::write(&file, "\nmode = \"observe\"\n").unwrap();
    let (exit, out, err) = pullguard(&["settings", "show", "--config", file.to_str().unwrap()]);
    assert_eq!((exit, err.as_str()), (Exit::Ok, ""));
    assert!(out.contains("\nmode = \"observe\"  # line 2\n"), "{out}");
    assert!(
        out.starts_with("listen = \"/run/pullguard/cri.sock\"  # default\n"),
        "{out}"
    );
    assert!(out.contains("\n# policy.local is not set\n"), "{out}");
}

#[test]
fn completions_and_the_manual_page_are_printed() {
    let (exit, out, _) = pullguard(&["completions", "bash"]);
    assert_eq!(exit, Exit::Ok);
    assert!(out.contains("_pullguard()"));
    let (exit, out, _) = pullguard(&["man"]);
    assert_eq!(exit, Exit::Ok);
    assert!(out.contains(".TH pullguard 1"));
}

#[test]
fn a_daemon_that_does_not_run_is_could_not_tell() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock");
    let (exit, out, err) = pullguard(&["status", "--socket", socket.to_str().unwrap()]);
    assert_eq!((exit, out.as_str()), (Exit::Unknown, ""));
    assert!(err.contains("is the daemon running"), "{err}");
}

/// Runs `pullguard status` against an admin socket that serves this status.
fn status_of(status: crate::report::Status, arguments: &[&str]) -> (Exit, String, String) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime.block_on(async { crate::daemon::admin::bind(&socket).unwrap() });
    runtime.spawn(crate::daemon::admin::serve(
        listener,
        Arc::new(move || status.clone()),
    ));
    let mut all = vec!["status", "--socket", socket.to_str().unwrap()];
    all.extend(arguments);
    pullguard(&all)
}

#[test]
fn the_status_of_an_active_daemon_is_a_table_and_exit_0() {
    let (exit, out, err) = status_of(crate::report::example_status(), &[]);
    assert_eq!((exit, err.as_str()), (Exit::Ok, ""));
    assert!(
        out.starts_with(
            "State       Active since 2026-01-01T00:00:01Z: policy v7 is in force\n\
             Mode        enforce\n\
             Policy      v7 from /etc/pullguard/policy since 2026-01-01T00:00:01Z: policies: 2, rules: 5\n"
        ),
        "{out}"
    );
}

#[test]
fn a_daemon_in_bootstrap_is_exit_1() {
    let status = crate::report::Status {
        state: crate::report::State::Bootstrap,
        policy: None,
        ..crate::report::example_status()
    };
    let (exit, out, _) = status_of(status, &[]);
    assert_eq!(exit, Exit::No);
    assert!(
        out.contains("Policy      none; set `[policy] local` in the settings\n"),
        "{out}"
    );
}

#[test]
fn the_status_as_json_is_the_daemons_own_document() {
    let (exit, out, _) = status_of(crate::report::example_status(), &["-o", "json"]);
    assert_eq!(exit, Exit::Ok);
    assert_eq!(
        serde_json::from_str::<crate::report::Status>(&out).unwrap(),
        crate::report::example_status()
    );
}
