//! A policy that changes: what is wrong is refused and said, what is in force stays, nobody is locked
//! out.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use crate::node::{
    Bare, Node, STRICT, from_file, namespace, pinned, policy, said, shop_pinned, wait_active,
};
use crate::support::cri::{FOREVER, PullPolicy};
use crate::support::until;

/// What is in force still allows one image and refuses the other.
fn still_judges(node: &Node) {
    let app = node.registry.push("app-one", "shop/app:1");
    let other = node.registry.push("app-two", "other/app:1");
    node.run(&app.reference, PullPolicy::IfNotPresent)
        .expect("allowed as before");
    let denied = node.run(&other.reference, PullPolicy::IfNotPresent);
    assert_eq!(said(&denied), ("PullImage", "REG-DENIED".to_owned()));
}

#[test]
fn a_wrong_policy_is_refused_with_file_line_and_column_and_the_one_before_stays() {
    let node = Node::pinning("wrong-policy");
    let good = pinned(&node.host());
    let pattern = format!("\"{}/shop/**\"", node.host());
    for (what, text, whole) in [
        (
            "an unknown key",
            good.replace("    digest: Pin", "    digets: Pin"),
            "policy.yaml:17:5: unknown key `digets`; did you mean `digest`?",
        ),
        (
            "a duplicate key",
            good.replace("    digest: Pin", "    digest: Pin\n    digest: Pin"),
            "policy.yaml:18:5: duplicate key `digest`; keep one",
        ),
        (
            "a wrong type",
            good.replace("audience: gates", "audience: [gates]"),
            "policy.yaml:5:13: a single value is due here, not a list and not keys with values",
        ),
        (
            "an impossible pattern",
            good.replace(&format!("allow: [{pattern}]"), "allow: [\"*.com/**\"]"),
            "policy.yaml:14:26: the host must be an address, a single-label name, or have a registrable domain in it: this pattern also matches `stranger.com/x`",
        ),
        (
            "no YAML",
            good.replace("    digest: Pin", "    digest: {"),
            "policy.yaml:17:13: unclosed bracket '{'",
        ),
        (
            "an emptied file",
            "# nothing is left\n".to_owned(),
            "policy.yaml:1:1: the file holds no document; write one, or delete the file",
        ),
        (
            "a key of a later version",
            good.replace("    digest: Pin", "    signatures: {}"),
            "policy.yaml:17:5: `signatures` is not supported by this version",
        ),
    ] {
        assert_ne!(text, good, "{what}");
        let refused = node.refusal(&text);
        assert_eq!(refused, whole, "{what}");
        let log = node.guard.log();
        assert!(
            log.contains(&whole.replace('"', "\\\"")),
            "{what}: the log does not say {whole}"
        );
        let human = node.guard.command(&["status"]);
        let human = String::from_utf8_lossy(&human.stdout).into_owned();
        assert!(human.contains(whole), "{what}: {human}");
    }
    still_judges(&node);
    let changed = format!("{good}    message: \"mended\"\n");
    node.apply(&changed);
    assert_eq!(node.status().refused, None, "mended, and no longer refused");
}

#[test]
fn a15_a_directory_that_others_may_write_is_empty_or_holds_too_many_rules_is_refused() {
    let node = Node::pinning("a15-directory");
    let directory = node.lab.path("guard-policy");
    let mode = |mode| {
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(mode))
            .expect("set the mode");
    };
    let refused_now = |what: &str, before: Option<String>| {
        node.guard.reload();
        until(what, Duration::from_secs(20), || {
            let refused = node.status().refused.map(|refused| refused.error);
            match refused {
                Some(error) if Some(&error) != before.as_ref() => Ok(error),
                other => Err(format!("{other:?}")),
            }
        })
    };
    mode(0o777);
    let open = refused_now("a directory that all may write is refused", None);
    mode(0o755);
    let rules: String = (0..5001)
        .map(|n| format!("  - name: r{n}\n    digest: Pin\n"))
        .collect();
    let many = node.refusal(&policy(STRICT, &rules));
    std::fs::remove_file(directory.join("policy.yaml")).expect("remove");
    let empty = refused_now("an empty directory is refused", Some(many.clone()));
    assert_eq!(
        [open, many, empty],
        [
            format!(
                "`{}` could have been written by another user; make it owned by root and writable by root alone (chown root, chmod go-w)",
                directory.display()
            ),
            "policy.yaml:1:1: 5001 rules; at most 5000 are allowed".to_owned(),
            format!(
                "`{}` holds no *.yaml and no *.yml file",
                directory.display()
            ),
        ]
    );
    still_judges(&node);
}

#[test]
fn a_broken_directory_leaves_the_last_policy_in_force_over_a_restart_and_a_crash() {
    let mut node = Node::pinning("last-good");
    let version = node.status().policy.map(|policy| policy.version);
    node.refusal("kind: Nothing\n");
    for crash in [false, true] {
        if crash {
            node.guard.kill9();
            node.guard.launch();
        } else {
            node.guard.restart();
        }
        node.cri = node.guard.cri();
        // In force before the first call is answered.
        still_judges(&node);
        let status = node.status();
        assert_eq!(status.policy.map(|policy| policy.version), version);
        until("the directory is refused", Duration::from_secs(10), || {
            node.status().refused.ok_or("not yet")
        });
    }
    std::fs::remove_file(node.lab.path("guard-policy/policy.yaml")).expect("remove");
    node.guard.restart();
    node.cri = node.guard.cri();
    still_judges(&node);
}

#[test]
fn a_policy_that_would_deny_a_running_static_pod_is_refused_unless_it_says_allow_lockout() {
    let node = Node::pinning("lockout");
    let app = node.registry.push("app-one", "shop/app:1");
    let api = node.registry.push("app-two", "shop/api:1");
    node.run_with(&app.reference, PullPolicy::IfNotPresent, |sandbox, _| {
        from_file(sandbox);
        namespace(sandbox, "kube-system");
    })
    .expect("a static pod");
    node.run(&api.reference, PullPolicy::IfNotPresent)
        .expect("a pod of the API");
    let only = |name: &str, set: &str| {
        let rules = shop_pinned(&node.host()).replace("shop/**", name);
        policy(&format!("{STRICT}{set}"), &rules)
    };
    let refused = node.refusal(&only("shop/api", ""));
    for part in [
        "kube-system/pod container main",
        "REG-DENIED",
        "allowLockout: true",
    ] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    // Pods of the API are not held against a policy.
    node.apply(&only("shop/app", ""));
    let denied = node.run(&api.reference, PullPolicy::IfNotPresent);
    assert_eq!(said(&denied).1, "REG-DENIED");
    node.apply(&only("shop/api", "  allowLockout: true\n"));
    node.run(&api.reference, PullPolicy::IfNotPresent)
        .expect("the policy is in force");
}

#[test]
fn a_policy_that_would_deny_a_running_pod_of_the_bootstrap_list_is_refused() {
    let bare = Bare::new("lockout-listed");
    let agent = bare.registry.push("busybox", "system/agent:1");
    let good = policy(STRICT, &shop_pinned(&bare.host()));
    crate::support::Guard::write_policy(&bare.lab, "policy.yaml", &good);
    let pinned = agent.pinned();
    let node = bare.started(|settings, _| {
        settings.bootstrap(&["kube-system"], &pinned);
    });
    node.wait_active();
    let started = node
        .run_with(&agent.reference, PullPolicy::IfNotPresent, |sandbox, _| {
            namespace(sandbox, "kube-system");
        })
        .expect("the list starts whatever image rules say");
    // Pod rules hold for the list too: under this one it could not start again.
    let no_root = format!("{good}  - name: user\n    containers: {{root: Deny}}\n");
    let refused = node.refusal(&no_root);
    for part in [
        "kube-system/pod container main",
        "POD-ROOT gates/user",
        "allowLockout",
    ] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    node.cri.remove_pod(&started.pod).expect("it is removed");
    node.apply(&format!("{no_root}    message: \"no root\"\n"));
}

#[test]
fn a_policy_is_not_put_in_force_while_containerd_cannot_say_what_runs() {
    let node = Node::pinning("lockout-frozen");
    let changed = format!("{}    message: \"changed\"\n", pinned(&node.host()));
    node.containerd.freeze();
    let refused = node.refusal(&changed);
    node.containerd.thaw();
    assert!(
        refused.contains("RUNTIME-UNAVAILABLE: containerd does not answer in time"),
        "{refused}"
    );
    until(
        "it is tried again, and in force",
        Duration::from_secs(60),
        || {
            let refused = node.status().refused;
            if refused.is_none() {
                Ok(())
            } else {
                Err(format!("{refused:?}"))
            }
        },
    );
}

#[test]
fn the_lockout_guard_also_knows_static_pods_from_before_the_guard() {
    let bare = Bare::new("lockout-before");
    let app = bare.registry.push("app-one", "shop/app:1");
    bare.containerd
        .cri()
        .run_with(
            "etcd",
            &app.reference,
            &FOREVER,
            PullPolicy::IfNotPresent,
            |sandbox, _| from_file(sandbox),
        )
        .expect("a static pod before the guard");
    let rules = shop_pinned(&bare.host());
    let root = "  - name: user\n    containers: {root: Deny, privileged: Deny, hostPath: Deny, hostNamespaces: Deny}\n";
    let good = policy(STRICT, &format!("{rules}{root}"));
    let bad = policy(STRICT, &rules.replace("shop/**", "other/**"));
    crate::support::Guard::write_policy(&bare.lab, "policy.yaml", &bad);
    let node = bare.started(|_, _| {});
    let refused = until("the policy is refused", Duration::from_secs(20), || {
        node.status().refused.ok_or("not yet")
    });
    assert!(
        refused.error.contains("default/etcd container main")
            && refused.error.contains("REG-DENIED"),
        "{refused:?}"
    );
    crate::support::Guard::write_policy(&node.lab, "policy.yaml", &good);
    node.guard.reload();
    wait_active(&node.guard);
}

#[test]
fn a_changed_file_is_seen_without_a_signal() {
    let node = Node::pinning("watch");
    let other = node.registry.push("app-two", "other/app:1");
    let denied = node.run(&other.reference, PullPolicy::IfNotPresent);
    assert_eq!(said(&denied).1, "REG-DENIED");
    let wider = policy(STRICT, &shop_pinned(&node.host()).replace("shop/**", "**"));
    crate::support::Guard::write_policy(&node.lab, "policy.yaml", &wider);
    until("the new policy judges", Duration::from_secs(20), || {
        node.run(&other.reference, PullPolicy::IfNotPresent)
            .map_err(|refused| refused.text().to_owned())
    });
}

/// Files beside `policy.yaml`, each one policy.
fn second(name: &str, rules: &str) -> String {
    format!(
        "apiVersion: pullguard.io/v1alpha1\nkind: NodePolicy\nmetadata: {{name: {name}}}\nspec:\n  rules:\n{rules}"
    )
}

/// The reason why the directory is refused, as soon as it is another than `before`.
fn refused_anew(node: &Node, before: Option<&str>) -> String {
    until("the directory is refused", Duration::from_secs(20), || {
        let refused = node.status().refused.map(|refused| refused.error);
        match refused {
            Some(why) if Some(why.as_str()) != before => Ok(why),
            other => Err(format!("{other:?}")),
        }
    })
}

fn not_refused(node: &Node) {
    until(
        "nothing is refused",
        Duration::from_secs(20),
        || match node.status().refused {
            None => Ok(()),
            Some(refused) => Err(refused.error),
        },
    );
    let metrics = node.settings.metrics().expect("metrics");
    assert!(
        metrics.contains("\npullguard_policy_refused 0\n"),
        "{metrics}"
    );
}

#[test]
fn an_emptied_second_file_is_refused_and_its_rules_stay_in_force() {
    let node = Node::pinning("emptied");
    let app = node.registry.push("app-one", "shop/app:1");
    let before = node.status().policy.map(|policy| policy.version);
    let deny = format!(
        "  - name: no-app\n    registries: {{deny: [\"{}/shop/app\"]}}\n",
        node.host()
    );
    crate::support::Guard::write_policy(&node.lab, "second.yaml", &second("second", &deny));
    let both = until("both files are in force", Duration::from_secs(20), || {
        let status = node.status();
        match status.policy {
            Some(policy) if Some(&policy.version) != before.as_ref() => Ok(policy.version),
            other => Err(format!("{other:?}: {:?}", status.refused)),
        }
    });
    let denied = node.run(&app.reference, PullPolicy::IfNotPresent);
    assert_eq!(said(&denied).1, "REG-DENIED");
    // In place, as `>` of a shell does.
    let file = node.lab.path("guard-policy/second.yaml");
    std::fs::write(&file, "").expect("empty the file");
    let why = refused_anew(&node, None);
    assert_eq!(
        why,
        "second.yaml:1:1: the file holds no document; write one, or delete the file"
    );
    assert_eq!(
        node.status().policy.map(|policy| policy.version),
        Some(both)
    );
    let denied = node.run(&app.reference, PullPolicy::IfNotPresent);
    assert_eq!(said(&denied).1, "REG-DENIED");
    std::fs::remove_file(&file).expect("delete the file");
    not_refused(&node);
    node.run(&app.reference, PullPolicy::IfNotPresent)
        .expect("deleting the file is what drops its rules");
}

#[test]
fn a_refusal_ends_when_what_is_in_force_stands_in_the_directory_again() {
    use std::os::unix::fs::PermissionsExt;
    let node = Node::pinning("mended");
    let good = pinned(&node.host());
    let file = node.lab.path("guard-policy/policy.yaml");
    let mode = |mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&file, mode).expect("chmod");
    };
    mode(0o666);
    let why = refused_anew(&node, None);
    assert!(
        why.contains("could have been written by another user"),
        "{why}"
    );
    mode(0o644);
    not_refused(&node);

    let app = node.registry.push("app-one", "shop/app:1");
    node.run_with(&app.reference, PullPolicy::IfNotPresent, |sandbox, _| {
        from_file(sandbox);
    })
    .expect("a static pod");
    let locks_out = policy(
        STRICT,
        &shop_pinned(&node.host()).replace("shop/**", "x/**"),
    );
    let why = node.refusal(&locks_out);
    assert!(why.contains("could not start again"), "{why}");
    crate::support::Guard::write_policy(&node.lab, "policy.yaml", &good);
    not_refused(&node);

    let why = node.refusal("kind: Nothing\n");
    assert!(
        why.starts_with("policy.yaml:1:7: unknown value `Nothing`"),
        "{why}"
    );
    crate::support::Guard::write_policy(&node.lab, "policy.yaml", &good);
    not_refused(&node);
}

#[test]
fn a_policy_that_the_disk_does_not_take_waits_for_it() {
    let node = Node::pinning("full-disk");
    let other = node.registry.push("app-two", "other/app:1");
    let kept = node.lab.path("guard-state/last-policy");
    let aside = node.lab.path("guard-state/aside");
    std::fs::rename(&kept, &aside).expect("set the copy aside");
    // No rename replaces a directory by a file.
    std::fs::create_dir(&kept).expect("a directory in its place");
    let wider = policy(STRICT, &shop_pinned(&node.host()).replace("shop/**", "**"));
    let why = node.refusal(&wider);
    assert!(
        why.starts_with("the copy of the last good policy: ")
            && why.ends_with("; the policy would not survive a restart, so it waits for the disk"),
        "{why}"
    );
    let denied = node.run(&other.reference, PullPolicy::IfNotPresent);
    assert_eq!(said(&denied).1, "REG-DENIED");
    std::fs::remove_dir(&kept).expect("make room");
    not_refused(&node);
    node.run(&other.reference, PullPolicy::IfNotPresent)
        .expect("the wider policy is in force");
}

#[test]
fn a_policy_for_other_nodes_is_refused_and_one_in_force_stays_and_is_said() {
    let mut node = Node::pinning("audience");
    node.settings.set("audience", "\"elsewhere\"");
    node.guard.settings(&node.settings);
    node.guard.restart();
    node.cri = node.guard.cri();
    let wanted =
        "the policy is for audience `gates`, this node's is `elsewhere`; correct one of them";
    // Before the first look at the directory already, and after it.
    assert_eq!(
        node.status()
            .refused
            .map(|refused| refused.error)
            .as_deref(),
        Some(wanted)
    );
    still_judges(&node);
    let mended = pinned(&node.host()).replace("audience: gates", "audience: elsewhere");
    node.apply(&mended);
    not_refused(&node);
    let why = node.refusal(&pinned(&node.host()));
    assert_eq!(why, wanted);
}

#[test]
fn a_policy_directory_behind_a_link_of_root_is_read_and_one_behind_a_strangers_is_not() {
    use std::os::unix::fs::symlink;
    let bare = Bare::new("linked");
    crate::support::Guard::write_policy(&bare.lab, "policy.yaml", &pinned(&bare.host()));
    let link = bare.lab.path("link");
    symlink(bare.lab.path("guard-policy"), &link).expect("link");
    let node = bare.started(|settings, _| {
        let local = crate::support::guard::quoted(&link.display().to_string());
        settings.policy = vec![("local".to_owned(), local)];
    });
    wait_active(&node.guard);
    still_judges(&node);
    std::os::unix::fs::lchown(&link, Some(65_534), None).expect("give the link away");
    let why = refused_anew(&node, None);
    assert!(
        why.contains("/link` is a link of another user; give it to root"),
        "{why}"
    );
    still_judges(&node);
}

#[test]
fn a_bootstrap_image_that_a_policy_drops_must_still_be_able_to_start() {
    let node = Node::pinning("dropped");
    let agent = node.registry.push("app-two", "other/agent:1");
    let listed = format!(
        "{STRICT}  bootstrap:\n  - {{namespaces: [default], image: \"{}\"}}\n",
        agent.pinned()
    );
    let rules = shop_pinned(&node.host());
    node.apply(&policy(&listed, &rules));
    node.run(&agent.reference, PullPolicy::IfNotPresent)
        .expect("on the list");
    let refused = node.refusal(&policy(STRICT, &rules));
    for part in [
        "default/pod container main could not start again",
        "REG-DENIED",
    ] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    let allowed = rules.replace(
        "shop/**\"]}",
        &format!("shop/**\", \"{}\"]}}", agent.repository),
    );
    node.apply(&policy(STRICT, &allowed));
}

#[test]
fn an_image_that_may_be_on_the_list_is_held_to_be() {
    let node = Node::pinning("doubt");
    let app = node.registry.push("app-one", "shop/app:1");
    node.run(&app.reference, PullPolicy::IfNotPresent)
        .expect("a pod of the API");
    let elsewhere = shop_pinned(&node.host()).replace("shop/**", "elsewhere/**");
    // Nothing on the node tells what this digest leads to.
    let listed = |repository: &str| {
        let digest = format!("sha256:{}", "4f".repeat(32));
        let set = format!(
            "{STRICT}  bootstrap:\n  - {{namespaces: [default], image: \"{repository}@{digest}\"}}\n"
        );
        policy(&set, &elsewhere)
    };
    let refused = node.refusal(&listed(&app.repository));
    assert!(
        refused.contains("default/pod container main could not start again"),
        "{refused}"
    );
    node.apply(&listed(&format!("{}/shop/other", node.host())));
}

#[test]
fn a_static_pod_that_has_ended_must_still_be_able_to_start() {
    let node = Node::pinning("ended");
    let app = node.registry.push("app-one", "shop/app:1");
    let started = node
        .run_with(&app.reference, PullPolicy::IfNotPresent, |sandbox, _| {
            from_file(sandbox);
        })
        .expect("a static pod");
    node.cri.stop(&started.container, 0).expect("stop");
    let elsewhere = policy(
        STRICT,
        &shop_pinned(&node.host()).replace("shop/**", "x/**"),
    );
    let refused = node.refusal(&elsewhere);
    assert!(
        refused.contains("default/pod container main could not start again"),
        "{refused}"
    );
    node.cri.remove_pod(&started.pod).expect("remove");
    node.apply(&elsewhere);
}
