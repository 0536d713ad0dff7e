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
             Policy      v7 from /etc/pullguard/policy since 2026-01-01T00:00:01Z: policies: 2, rules: 5, exceptions: 1\n"
        ),
        "{out}"
    );
    assert!(
        out.contains("\nRunning     3 judged again by v7 at 2026-01-01T00:00:02Z: 1 would not be let start now (POD-ROOT 1), 0 could not be told\n"),
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
fn a_daemon_whose_first_policy_was_refused_does_not_ask_for_a_setting_that_is_there() {
    let status = crate::report::Status {
        state: crate::report::State::Bootstrap,
        policy: None,
        refused: Some(crate::report::RefusedPolicy {
            at: "2026-01-01T00:00:01Z".to_owned(),
            from: "/etc/pullguard/policy".to_owned(),
            error: "a.yaml:1:1: the file holds no document".to_owned(),
        }),
        ..crate::report::example_status()
    };
    let (_, out, _) = status_of(status, &[]);
    let wanted = "Policy      none; the one that is there was refused\nRefused     2026-01-01T00:00:01Z from /etc/pullguard/policy: a.yaml:1:1: the file holds no document\n";
    assert!(out.contains(wanted), "{out}");
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

/// A directory with a policy that allows `r.example/a`, forbids what is privileged, and pins.
fn explained(manifests: &[(&str, &str)], more: &[&str]) -> (Exit, String, String) {
    const POLICY: &str = "apiVersion: pullguard.io/v1alpha1
kind: PolicySet
metadata: {name: set}
spec: {audience: a, unmatched: {pods: Allow, images: Allow}}
---
apiVersion: pullguard.io/v1alpha1
kind: NodePolicy
metadata: {name: p}
spec:
  rules:
  - {name: r, registries: {allow: [\"r.example/a/**\"]}}
  - {name: d, digest: Pin}
  - {name: h, containers: {privileged: Deny, root: Deny, hostPath: {allow: [{prefix: /data, readOnly: true}]}}}
---
apiVersion: pullguard.io/v1alpha1
kind: NodePolicy
metadata: {name: q}
spec:
  match: {namespaces: [limits]}
  rules:
  - {name: m, resources: {defaults: {memory: 1Mi}}}
  - {name: a, action: Audit, resources: {defaults: {memory: 2Mi}}}
---
apiVersion: pullguard.io/v1alpha1
kind: NodePolicy
metadata: {name: c}
spec:
  match: {namespaces: [cpus]}
  rules: [{name: cpu, resources: {require: [cpu]}}]
---
apiVersion: pullguard.io/v1alpha1
kind: NodePolicyException
metadata: {name: old}
spec:
  policy: p
  rules: [r, d]
  match: {namespaces: [old]}
  expires: 2999-01-01T00:00:00Z
  reason: TICKET-1
";
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::create_dir(path("policy")).unwrap();
    std::fs::write(path("policy/p.yaml"), POLICY).unwrap();
    std::fs::create_dir_all(path("m/below")).unwrap();
    for (name, text) in manifests {
        std::fs::write(path("m").join(name), text).unwrap();
    }
    let (files, policy) = (path("m"), path("policy"));
    let (files, policy) = (files.to_str().unwrap(), policy.to_str().unwrap());
    let mut arguments = vec!["explain", "-f", files, "--policy", policy];
    arguments.extend(more);
    let (exit, out, err) = pullguard(&arguments);
    (exit, out.replace(files, "m"), err.replace(files, "m"))
}

const GOOD: &str = "apiVersion: v1
kind: Pod
metadata: {name: good, namespace: shop}
spec:
  securityContext: {runAsUser: 7}
  containers:
  - name: c
    image: r.example/a/x:1
";

#[test]
fn allowed_manifests_are_explained_with_their_edits() {
    let (exit, out, err) = explained(&[("good.yaml", GOOD), ("README.md", "no manifest")], &[]);
    assert_eq!(
        out,
        "m/good.yaml:1: Pod shop/good sandbox: allowed\n\
         m/good.yaml:7: Pod shop/good container `c`: allowed; pinned: `r.example/a/x:1` is pulled by the digest that it means then\n\
         pods: 1, containers: 1; allowed: 2\n"
    );
    assert_eq!((exit, err.as_str()), (Exit::Ok, ""));
}

#[test]
fn limits_that_are_filled_in_are_edits_and_those_that_would_be_are_told() {
    let limited = GOOD.replace("shop", "limits");
    let (exit, out, err) = explained(&[("a.yaml", &limited)], &[]);
    assert_eq!(
        out,
        "m/a.yaml:1: Pod limits/good sandbox: allowed\n\
         m/a.yaml:7: Pod limits/good container `c`: allowed; pinned: `r.example/a/x:1` is pulled by the digest that it means then; filled in: memory 1048576\n    audit: q/a would fill\n\
         pods: 1, containers: 1; allowed: 2\n"
    );
    assert_eq!((exit, err.as_str()), (Exit::Ok, ""));
}

#[test]
fn limits_of_cpu_are_judged_where_the_settings_say_that_the_kubelet_keeps_them() {
    let asked = |quotas: bool| {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("pullguard.toml");
        std::fs::write(&config, format!("cpu_cfs_quota = {quotas}\n")).unwrap();
        let pod = GOOD.replace("shop", "cpus");
        let config = config.to_str().unwrap();
        explained(&[("a.yaml", &pod)], &["--config", config])
    };
    let (exit, out, _) = asked(true);
    assert_eq!(exit, Exit::No, "{out}");
    assert!(out.contains("POD-RESOURCES c/cpu"), "{out}");
    let (exit, out, err) = asked(false);
    assert_eq!((exit, err.as_str()), (Exit::Ok, ""), "{out}");
}

#[test]
fn links_in_a_circle_are_said_and_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("good.yaml"), GOOD).unwrap();
    for name in ["a", "b", "c"] {
        std::os::unix::fs::symlink(directory.path(), path(name)).unwrap();
    }
    let (exit, out, err) = explained(&[], &["-f", directory.path().to_str().unwrap()]);
    assert_eq!(exit, Exit::Unknown, "{out}");
    assert_eq!(
        err.matches("is a link to a directory above it").count(),
        3,
        "{err}"
    );
    assert!(out.contains("pods: 1,"), "{out}");
}

#[test]
fn what_an_exception_waives_is_told_with_its_name_and_its_end() {
    let old = GOOD
        .replace("r.example/a", "r.example/b")
        .replace("shop", "old");
    let (exit, out, err) = explained(&[("a.yaml", &old)], &[]);
    let waived = "    waived by exception old until 2999-01-01T00:00:00Z: ";
    assert_eq!(
        out,
        format!(
            "m/a.yaml:1: Pod old/good sandbox: allowed\n\
             m/a.yaml:7: Pod old/good container `c`: allowed\n\
             {waived}REG-DENIED p/r: image `r.example/b/x:1` is in no allowed repository; use an image from an allowed registry\n\
             {waived}p/d\n\
             pods: 1, containers: 1; allowed: 2\n"
        )
    );
    assert_eq!((exit, err.as_str()), (Exit::Ok, ""));
    let (_, json, _) = explained(&[("a.yaml", &old)], &["-o", "json"]);
    let wanted = "\"exception\":{\"name\":\"old\",\"expires\":\"2999-01-01T00:00:00Z\"}";
    let plain = json.replace([' ', '\n'], "");
    assert!(plain.contains(wanted), "{json}");
}

#[test]
fn a_denial_among_many_documents_and_files_decides_the_exit_code() {
    let bad = GOOD
        .replace("r.example/a", "r.example/b")
        .replace("good", "bad");
    let two = format!("{GOOD}---\n{bad}");
    let (exit, out, err) = explained(&[("a.yaml", GOOD), ("below/b.yml", &two)], &[]);
    assert_eq!((exit, err.as_str()), (Exit::No, ""));
    assert!(
        out.contains("m/below/b.yml:16: Pod shop/bad container `c`: denied: REG-DENIED p/r: image `r.example/b/x:1` is in no allowed repository; use an image from an allowed registry\n"),
        "{out}"
    );
    assert!(
        out.ends_with("pods: 3, containers: 3; allowed: 5, denied: 1\n"),
        "{out}"
    );
}

#[test]
fn a_user_that_nobody_told_is_could_not_tell_until_it_is_told() {
    let pod = GOOD.replace("  securityContext: {runAsUser: 7}\n", "");
    let (exit, out, _) = explained(&[("p.yaml", &pod)], &[]);
    assert_eq!(exit, Exit::Unknown);
    assert!(
        out.contains("could not tell: p/h: the USER of image `r.example/a/x:1` decides; say it with --image-user r.example/a/x:1=USER"),
        "{out}"
    );
    for (user, expected) in [("1000", Exit::Ok), ("", Exit::No), ("app", Exit::No)] {
        let told = format!("r.example/a/x:1={user}");
        let (exit, out, _) = explained(&[("p.yaml", &pod)], &["--image-user", &told]);
        assert_eq!(exit, expected, "{user}: {out}");
    }
}

#[test]
fn a_file_that_cannot_be_used_is_said_and_the_others_are_judged() {
    let broken =
        "apiVersion: v1\nkind: Pod\nspec: {hostPID: maybe, containers: [{name: c, image: a}]}\n";
    let (exit, out, err) = explained(&[("a.yaml", broken), ("b.yaml", GOOD)], &[]);
    assert_eq!(exit, Exit::Unknown);
    assert_eq!(
        err,
        "pullguard: m/a.yaml:3: `spec.hostPID` must be true or false, without quotes\n"
    );
    assert!(
        out.ends_with("pods: 1, containers: 1; allowed: 2\n"),
        "{out}"
    );
    let (exit, _, err) = explained(&[("s.yaml", "{apiVersion: v1, kind: Service}")], &[]);
    assert_eq!(exit, Exit::Unknown);
    assert!(err.contains("these files make no pod"), "{err}");
}

#[test]
fn explained_manifests_are_one_json_document() {
    let (exit, out, _) = explained(&[("good.yaml", GOOD)], &["-o", "json"]);
    let document: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(exit, Exit::Ok);
    assert_eq!(document["schema"], "pullguard.explain/v1");
    let pod = &document["pods"][0];
    assert_eq!(pod["sandbox"]["verdict"], "allowed");
    let container = &pod["containers"][0];
    assert_eq!(
        (
            &container["name"],
            &container["line"],
            &container["verdict"]
        ),
        (&"c".into(), &7.into(), &"allowed".into())
    );
    assert_eq!(container["edits"][0]["from"], "r.example/a/x:1");
}

#[test]
fn explain_takes_a_code_or_files() {
    for arguments in [
        vec!["explain"],
        vec!["explain", "REG-DENIED", "-f", "x.yaml"],
        vec!["explain", "REG-DENIED", "--policy", "x"],
        vec![
            "explain",
            "-f",
            "x.yaml",
            "--image-user",
            "no-user",
            "--policy",
            "src",
        ],
    ] {
        let (exit, out, _) = pullguard(&arguments);
        assert_ne!(exit, Exit::Ok, "{arguments:?}: {out}");
    }
}

#[test]
fn the_settings_say_which_paths_a_node_guards() {
    let settings = tempfile::tempdir().unwrap();
    let config = settings.path().join("p.toml");
    std::fs::write(&config, "kubelet_root = \"/data/kubelet\"\n").unwrap();
    let more = ["--config", config.to_str().unwrap()];
    for (path, expected) in [("/data/kubelet/pods", Exit::No), ("/data/app", Exit::Ok)] {
        let pod = format!(
            "{GOOD}    volumeMounts: [{{name: v, mountPath: /v, readOnly: true}}]\n  volumes: [{{name: v, hostPath: {{path: {path}}}}}]\n"
        );
        let (exit, out, err) = explained(&[("p.yaml", &pod)], &more);
        assert_eq!((exit, err.as_str()), (expected, ""), "{path}: {out}");
    }
}
