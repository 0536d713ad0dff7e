//! What hangs on containerd: who may be started, which handler runs it, what is said while it is away.

use std::time::Duration;

use crate::node::{Bare, Node, STRICT, pinned, policy};
use crate::server::{Reply, Server};
use crate::support::cri::{FOREVER, PullPolicy, Refused, spec, spec_for};
use crate::support::messages::{
    PodSandboxId, PullImageRequest, PullImageResponse, RunPodSandboxRequest,
};
use crate::support::{Cri, Guard, until};

const SOON: Duration = Duration::from_secs(20);

/// A container that is created and not started, by this client.
fn created(cri: &Cri, image: &str) -> String {
    let sandbox = cri.sandbox("made");
    let pod = cri.run_sandbox(&sandbox).expect("run a sandbox");
    let id = cri.pull(image, &sandbox).expect("pull");
    let config = cri.container("main", &id, image, &FOREVER);
    cri.create(&pod, &config, &sandbox).expect("create")
}

#[test]
fn start_guarded_starts_what_was_created_here_or_was_here_before_and_nothing_else() {
    let bare = Bare::new("start-guarded");
    let app = bare.registry.push("app-one", "shop/app:1");
    let before = created(&bare.containerd.cri(), &app.reference);
    Guard::write_policy(&bare.lab, "policy.yaml", &pinned(&bare.host()));
    let mut node = bare.started(|settings, _| {
        settings.set("start", "\"guarded\"");
    });
    node.wait_active();
    let here = created(&node.cri, &app.reference);
    let past = created(&node.containerd.cri(), &app.reference);
    for restarted in [false, true] {
        if restarted {
            node.guard.restart();
            node.cri = node.guard.cri();
        }
        node.denied_unasked(
            |node| {
                node.cri.start(&past).map_err(|status| Refused {
                    call: "StartContainer",
                    status,
                })
            },
            "StartContainer",
            &format!(
                "RPC-REFUSED: container `{past}` was not created through the guard; delete its pod, so that it is made anew"
            ),
        );
    }
    node.cri.start(&here).expect("created here");
    node.cri.start(&before).expect("here before the guard");
    let state = node.containerd.cri().container_status(&past);
    assert_eq!(
        state.expect("its status").state,
        0,
        "created, never started"
    );
}

/// A node with these `guest_pull_handlers`, and the ID of an image of its registry's `shop`.
fn guest_pulling(name: &str, handlers: &str) -> (Node, String, String) {
    let bare = Bare::new(name);
    let app = bare.registry.push("app-one", "shop/app:1");
    Guard::write_policy(&bare.lab, "policy.yaml", &pinned(&bare.host()));
    let node = bare.started(|settings, _| {
        settings.set("guest_pull_handlers", handlers);
    });
    node.wait_active();
    let id = node.pull(&app.reference).expect("pulled");
    (node, id, app.reference)
}

#[test]
fn a_handler_that_pulls_inside_the_guest_runs_no_image_that_a_rule_speaks_of() {
    let (node, id, app) = guest_pulling("guest-pull", "[\"runc\"]");
    let denied = "POD-RUNTIME-HANDLER: runtime handler `runc` may run other bytes than those that were verified; use a handler with an ordinary snapshotter, or exclude these pods from image rules";
    // `runc` is the default handler too.
    let ordinary = node.sandbox(|_| {});
    node.denied_unasked(
        |node| node.create(&ordinary, &id, &app),
        "CreateContainer",
        denied,
    );
    let config = node.cri.sandbox("guest");
    let made: PodSandboxId = node
        .cri
        .unary(
            "/runtime.v1.RuntimeService/RunPodSandbox",
            RunPodSandboxRequest {
                config: Some(config.clone()),
                runtime_handler: "runc".to_owned(),
            },
            SOON,
        )
        .expect("a sandbox names no image");
    let named = crate::node::Sandbox {
        id: made.pod_sandbox_id,
        config,
    };
    node.denied_unasked(
        |node| node.create(&named, &id, &app),
        "CreateContainer",
        denied,
    );
}

#[test]
fn beside_a_handler_that_pulls_inside_the_guest_the_default_one_runs() {
    let (node, id, app) = guest_pulling("guest-beside", "[\"kata\"]");
    let ordinary = node.sandbox(|_| {});
    node.create(&ordinary, &id, &app)
        .expect("the default handler unpacks what containerd verified");
}

#[test]
fn while_containerd_is_away_a_create_waits_and_goes_on_when_it_is_back() {
    let mut node = Node::pinning("away");
    let app = node.registry.push("app-one", "shop/app:1");
    let id = node.pull(&app.reference).expect("pulled");
    // A sandbox that the guard has not seen: it has to ask.
    let direct = node.containerd.cri();
    let config = direct.sandbox("pod");
    let sandbox = crate::node::Sandbox {
        id: direct.run_sandbox(&config).expect("past the guard"),
        config,
    };
    node.containerd.stop();
    let refused = node
        .create(&sandbox, &id, &app.reference)
        .expect_err("nobody can answer");
    assert_eq!(
        (refused.status.code(), refused.text()),
        (
            tonic::Code::Unavailable,
            "RUNTIME-UNAVAILABLE: containerd is away: it was asked for `PodSandboxStatus`; look at containerd on the node; the kubelet tries again"
        )
    );
    node.audit_line(&[
        "CreateContainer",
        "\"verdict\":\"undecided\"",
        "RUNTIME-UNAVAILABLE",
    ]);
    node.containerd.start();
    node.create(&sandbox, &id, &app.reference)
        .expect("it is back");
}

#[test]
fn only_the_kubelets_presence_check_is_told_that_an_unproven_image_is_absent() {
    let node = Node::pinning("presence");
    let app = node.registry.push("app-one", "shop/app:1");
    node.smuggle(&app.reference);
    let sandbox = node.sandbox(|_| {});
    let asked = node
        .cri
        .image_status(spec_for(&app.reference, &sandbox.config));
    assert_eq!(asked.expect("answered"), None, "absent");
    // crictl's question, and the kubelet's for the user: containerd's own answer.
    let bare = node
        .cri
        .image_status(spec(&app.reference))
        .expect("answered");
    let own = node.containerd.cri().image_status(spec(&app.reference));
    assert!(bare.is_some());
    assert_eq!(bare, own.expect("answered"));
}

#[test]
fn a_client_that_goes_away_leaves_one_line() {
    let silent = Server::start(|_| Reply::hang());
    let bare = Bare::new("cancelled");
    let rules = format!(
        "  - name: registries\n    registries: {{allow: [\"{}/shop/**\"]}}\n  - name: pinned\n    digest: Pin\n",
        silent.host()
    );
    let node = bare.guarded(&policy(STRICT, &rules));
    let sandbox = node.cri.sandbox("pod");
    let image = format!("{}/shop/app:1", silent.host());
    let left: Result<PullImageResponse, tonic::Status> = node.cri.unary(
        "/runtime.v1.ImageService/PullImage",
        PullImageRequest {
            image: Some(spec_for(&image, &sandbox)),
            auth: None,
            sandbox_config: Some(sandbox),
        },
        Duration::from_millis(300),
    );
    left.expect_err("it did not wait");
    node.audit_line(&["PullImage", "\"ending\":\"cancelled\"", &image]);
    // The next call's line comes after everything of the first.
    let next = node.run(&image, PullPolicy::Never);
    next.expect_err("it is not here");
    let lines = until("the next line is written", SOON, || {
        let lines = node.guard.audit();
        let next = lines.iter().any(|line| line.contains("RunPodSandbox"));
        if next { Ok(lines) } else { Err("not yet") }
    });
    let pulls = lines.iter().filter(|line| line.contains("PullImage"));
    assert_eq!(pulls.count(), 1, "{lines:#?}");
}
