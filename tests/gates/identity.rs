//! Which image an ID, a name or a volume means, and who may have it.

use crate::node::{Node, STRICT, Sandbox, from_file, namespace, node_policy, pinned, policy, said};
use crate::support::cri::{PullPolicy, spec_for};
use crate::support::messages::{ImageSpec, Mount, NamespaceOption, PodSandboxConfig};
use crate::texts::{no_reference, not_allowed, unmatched, unproven};

/// A change to the namespaces of a create's copy of its sandbox's config.
type NamespaceLie = fn(&mut NamespaceOption);

/// The first letters of an ID.
fn begin(id: &str, letters: usize) -> &str {
    id.get(..letters).expect("an ID is longer")
}

#[test]
fn a6_an_id_that_is_not_written_in_full_is_refused_at_create() {
    let node = Node::pinning("a6");
    let app = node.registry.push("app-one", "shop/app:1");
    let whole = node
        .run(&app.reference, PullPolicy::Always)
        .expect("starts")
        .image_id;
    let hex = whole.strip_prefix("sha256:").expect("an image ID");
    let sandbox = node.sandbox(|_| {});
    let before = node.containers();
    for wrong in [
        "",
        "abcdef",
        "sha256:abcd",
        hex,
        begin(hex, 63),
        begin(hex, 12),
        begin(hex, 6),
        begin(&whole, 20),
        &whole.to_uppercase(),
    ] {
        let created = node.create(&sandbox, wrong, &app.reference);
        let (call, code) = said(&created);
        assert_eq!(
            (call, code.as_str()),
            ("CreateContainer", "REF-INVALID"),
            "{wrong}: {created:?}"
        );
    }
    assert_eq!(node.containers(), before, "nothing was made");
    node.create(&sandbox, &whole, &app.reference)
        .expect("the whole ID is created");
}

#[test]
fn a6_an_id_that_a_person_typed_is_refused_at_pull_and_at_create() {
    let node = Node::pinning("a6-typed");
    let app = node.registry.push("app-one", "shop/app:1");
    let whole = node
        .run(&app.reference, PullPolicy::Always)
        .expect("starts")
        .image_id;
    let hex = whole.strip_prefix("sha256:").expect("an image ID");
    let sandbox = node.sandbox(|_| {});
    for typed in [whole.as_str(), hex, begin(hex, 12)] {
        for policy in [PullPolicy::Always, PullPolicy::IfNotPresent] {
            let run = node.run(typed, policy);
            let (call, code) = said(&run);
            assert_eq!(
                (call, code.as_str()),
                ("PullImage", "REF-INVALID"),
                "{typed}: {run:?}"
            );
        }
    }
    for typed in [whole.as_str(), hex] {
        let created = node.create(&sandbox, &whole, typed);
        assert_eq!(
            said(&created),
            ("CreateContainer", "REF-INVALID".to_owned()),
            "{typed}"
        );
    }
}

#[test]
fn a7_the_id_of_one_image_under_the_name_of_another_is_refused() {
    let node = Node::pinning("a7");
    let app = node.registry.push("app-one", "shop/app:1");
    let foreign = node.registry.push("app-two", "other/app:1");
    let own = node
        .run(&app.reference, PullPolicy::Always)
        .expect("starts")
        .image_id;
    let evil = node.smuggle(&foreign.reference);
    let sandbox = node.sandbox(|_| {});
    let other_digest = format!(
        "IMG-UNPROVEN gates/registries: image `{}`: the pod names `{}`, and image `{evil}` is not from there; name the digest of the image that is meant",
        app.pinned(),
        app.digest
    );
    for (name, text) in [
        (
            app.reference.clone(),
            unproven(&app.reference, &evil, &app.repository),
        ),
        (app.pinned(), other_digest),
    ] {
        node.denied(
            |node| node.create(&sandbox, &evil, &name),
            "CreateContainer",
            &text,
        );
        node.create(&sandbox, &own, &name)
            .expect("its own name is good");
    }
    node.denied_unasked(
        |node| node.create(&sandbox, &own, &foreign.reference),
        "CreateContainer",
        &not_allowed(&foreign.reference),
    );
}

#[test]
fn a8_a_path_of_the_node_as_image_is_refused_at_pull_and_at_create() {
    let node = Node::pinning("a8-path");
    let file = node.lab.write("cp.tar", "no image");
    let sandbox = node.sandbox(|_| {});
    let path_of_node = "a path on the node is not an image reference";
    for path in [
        &file.display().to_string(),
        "/var/tmp/cp.tar",
        "./x",
        "../x",
    ] {
        let text = no_reference(path, path_of_node);
        node.denied_unasked(|node| node.pull(path), "PullImage", &text);
        node.denied_unasked(
            |node| node.create(&sandbox, path, path),
            "CreateContainer",
            &text,
        );
    }
    // Also a name on Docker Hub, and no whole ID: at a pull it is judged as that name, a create names an
    // image of the node.
    node.denied_unasked(
        |node| node.pull("tmp/cp.tar"),
        "PullImage",
        &not_allowed("docker.io/tmp/cp.tar:latest"),
    );
    node.denied_unasked(
        |node| node.create(&sandbox, "tmp/cp.tar", "tmp/cp.tar"),
        "CreateContainer",
        "REF-INVALID: image `tmp/cp.tar` is not on the node under that name; pull it first, and name it in full",
    );
}

#[test]
fn a8_a_checkpoint_is_no_image() {
    let node = Node::pinning("a8-checkpoint");
    let app = node.registry.push("busybox-user", "shop/app:1");
    let checkpoint = node.registry.push("checkpoint", "shop/checkpoint:1");
    let refused = |rule: &str, name: &str| {
        format!(
            "IMG-CONFIG{rule}: image `{name}`: `{}` is refused: the image is a checkpoint of a running container, which is not accepted; build and push the image anew",
            checkpoint.digest
        )
    };
    node.denied(
        |node| node.pull(&checkpoint.reference),
        "PullImage",
        &refused("", &checkpoint.reference),
    );
    let id = node.smuggle(&checkpoint.reference);
    let sandbox = node.sandbox(|_| {});
    node.denied(
        |node| node.create(&sandbox, &id, &checkpoint.reference),
        "CreateContainer",
        &refused(" gates/registries", &checkpoint.reference),
    );
    // Nothing has to be resolved of a digest that the pod writes: what was pulled is looked at.
    let pinned = checkpoint.pinned();
    let pulled = node.pull(&pinned).expect_err("pulled, and taken away");
    assert_eq!(
        (pulled.call, pulled.text()),
        ("PullImage", refused("", &pinned).as_str())
    );
    node.run(&app.reference, PullPolicy::Always)
        .expect("an image beside it starts");
}

fn volume(image: &str, named: &str) -> Mount {
    Mount {
        container_path: "/volume".to_owned(),
        readonly: true,
        image: Some(ImageSpec {
            image: image.to_owned(),
            user_specified_image: named.to_owned(),
            ..ImageSpec::default()
        }),
        ..Mount::default()
    }
}

#[test]
fn a10_an_image_volume_is_judged_like_the_image_itself() {
    let node = Node::pinning("a10");
    let app = node.registry.push("app-one", "shop/app:1");
    let foreign = node.registry.push("app-two", "other/app:1");
    let own = node
        .run(&app.reference, PullPolicy::Always)
        .expect("starts")
        .image_id;
    let evil = node.smuggle(&foreign.reference);
    let sandbox = node.sandbox(|_| {});
    let cases = [
        (
            volume(&evil, &app.reference),
            unproven(&app.reference, &evil, &app.repository),
        ),
        (
            volume(&evil, &foreign.reference),
            not_allowed(&foreign.reference).replace("image `", "image volume `"),
        ),
        (
            volume(&app.reference, &app.reference),
            format!(
                "IMG-UNPROVEN gates/registries: image `{}` is a name where an ID is due; send the whole image ID, as a kubelet does",
                app.reference
            ),
        ),
        (
            volume(begin(&own, 20), &app.reference),
            no_reference(
                begin(&own, 20),
                "an image id is not an image reference; name a repository",
            ),
        ),
    ];
    let create = |node: &Node, mount: Mount| {
        node.create_with(&sandbox, &own, &app.reference, |config| {
            config.mounts.push(mount);
        })
    };
    for (mount, text) in cases {
        let text = format!("ImageVolumeMountFailed: {text}");
        node.denied(|node| create(node, mount), "CreateContainer", &text);
    }
    let both = Mount {
        host_path: "/etc".to_owned(),
        ..volume(&own, &app.reference)
    };
    node.denied_unasked(
        |node| create(node, both),
        "CreateContainer",
        "RPC-MALFORMED: request `CreateContainer`: field `Mount.image` has an image and a host path; report the client that sent it",
    );
    // containerd 1.6 knows no image volumes: it takes the mount for one without a source, and says so
    // itself. On 2.x it is mounted (e2e_kubelet).
    let carried = create(&node, volume(&own, &app.reference)).expect_err("containerd's own words");
    let text = carried.text();
    assert!(
        text.starts_with("failed to generate container ")
            && text.ends_with(" spec: failed to mkdir \"\": mkdir : no such file or directory"),
        "{text}"
    );
}

#[test]
fn a11_every_further_container_of_a_pod_is_judged_by_itself() {
    // As init and ephemeral containers come: a create more in a sandbox that runs already.
    let node = Node::pinning("a11");
    let app = node.registry.push("app-one", "shop/app:1");
    let debug = node.registry.push("busybox-user", "shop/debug:1");
    let foreign = node.registry.push("app-two", "other/app:1");
    let first = node
        .run(&app.reference, PullPolicy::Always)
        .expect("the pod's first container");
    let sandbox = Sandbox {
        id: first.pod,
        config: first.sandbox,
    };
    let evil = node.smuggle(&foreign.reference);
    node.denied_unasked(
        |node| node.create(&sandbox, &evil, &foreign.reference),
        "CreateContainer",
        &not_allowed(&foreign.reference),
    );
    node.denied(
        |node| node.create(&sandbox, &evil, &app.reference),
        "CreateContainer",
        &unproven(&app.reference, &evil, &app.repository),
    );
    let id = node.pull(&debug.reference).expect("pulled");
    node.create(&sandbox, &id, &debug.reference)
        .expect("another allowed image is created");
}

#[test]
fn a12_a_policy_that_changes_between_pull_and_create_is_the_one_that_judges() {
    let node = Node::pinning("a12");
    let app = node.registry.push("app-one", "shop/app:1");
    let sandbox = node.sandbox(|_| {});
    let id = node
        .cri
        .pull(&app.reference, &sandbox.config)
        .expect("pulled under the first policy");
    node.apply(&pinned("registry.example.com"));
    node.denied_unasked(
        |node| node.create(&sandbox, &id, &app.reference),
        "CreateContainer",
        &not_allowed(&app.reference),
    );
    node.apply(&pinned(&node.host()));
    node.create(&sandbox, &id, &app.reference)
        .expect("allowed again");
}

#[test]
fn a13_what_one_namespace_pulled_another_may_not_have() {
    let node = Node::pinning("a13");
    let host = node.host();
    let rule = |name: &str, path: &str| {
        let spec = format!("  match: {{namespaces: [{name}]}}\n");
        let rules = format!(
            "  - name: own\n    registries: {{allow: [\"{host}/{path}/**\"]}}\n  - name: pinned\n    digest: Pin\n"
        );
        node_policy(name, &spec, &rules)
    };
    let set = policy(STRICT, "");
    let set = set.split("---").next().expect("the PolicySet");
    node.apply(&format!(
        "{set}---\n{}---\n{}",
        rule("tenant-a", "a"),
        rule("tenant-b", "b")
    ));
    let app = node.registry.push("app-one", "a/app:1");
    let run = |tenant: &str, policy| {
        node.run_with(&app.reference, policy, |sandbox, _| {
            namespace(sandbox, tenant);
        })
    };
    run("tenant-a", PullPolicy::Always).expect("its own");
    let denied = not_allowed(&app.reference).replace("gates/registries", "tenant-b/own");
    for (policy, call) in [
        (PullPolicy::Always, "PullImage"),
        (PullPolicy::IfNotPresent, "CreateContainer"),
        (PullPolicy::Never, "CreateContainer"),
    ] {
        node.denied_unasked(|_| run("tenant-b", policy), call, &denied);
    }
    node.denied_unasked(
        |_| run("elsewhere", PullPolicy::Never),
        "CreateContainer",
        &unmatched(&app.reference),
    );
}

#[test]
fn a14_a_create_that_describes_another_pod_than_its_sandbox_is_refused() {
    let node = Node::pinning("a14");
    let app = node.registry.push("app-one", "shop/app:1");
    let id = node
        .run(&app.reference, PullPolicy::Always)
        .expect("starts")
        .image_id;
    let mut sandbox = node.sandbox(|_| {});
    let truth = sandbox.config.clone();
    let lies: [fn(&mut PodSandboxConfig); 4] = [
        |config| namespace(config, "kube-system"),
        |config| config.metadata.get_or_insert_default().name = "other".to_owned(),
        |config| config.metadata.get_or_insert_default().uid = "other".to_owned(),
        from_file,
    ];
    for lie in lies {
        sandbox.config = truth.clone();
        lie(&mut sandbox.config);
        let said = sandbox.config.metadata.clone().unwrap_or_default();
        let text = format!(
            "POD-SANDBOX: sandbox `{}` is not the pod `{}/{}` that the request describes; delete the pod, so that its sandbox is made anew",
            sandbox.id, said.namespace, said.name
        );
        node.denied_unasked(
            |node| node.create(&sandbox, &id, &app.reference),
            "CreateContainer",
            &text,
        );
    }
    sandbox.config = truth;
    node.create(&sandbox, &id, &app.reference)
        .expect("the truth is created");
}

#[test]
fn a_create_by_name_goes_on_with_the_whole_id_where_a_rule_speaks_of_images() {
    let node = Node::pinning("by-name");
    let app = node.registry.push("app-one", "shop/app:1");
    let sandbox = node.sandbox(|_| {});
    let id = node
        .cri
        .pull(&app.reference, &sandbox.config)
        .expect("pulled");
    let created = node
        .create(&sandbox, &app.reference, "")
        .expect("created by name");
    let edit = format!("\"edit\":\"id {id}\"");
    node.audit_line(&["\"rpc\":\"CreateContainer\"", &edit]);
    let status = node.cri.container_status(&created).expect("status");
    // containerd 1.6 says the image by its repository digest.
    assert_eq!(status.image_ref, app.pinned());
    // The name now means another image: the create by name is judged by what it means.
    let foreign = node.registry.push("app-two", "other/app:1");
    let evil = node.smuggle(&foreign.reference);
    node.point(&foreign.reference, &app.reference, &evil);
    let refused = node.create(&sandbox, &app.reference, "");
    assert_eq!(
        said(&refused),
        ("CreateContainer", "IMG-UNPROVEN".to_owned())
    );
    let unknown = node.create(&sandbox, &format!("{}/shop/none:1", node.host()), "");
    assert_eq!(
        said(&unknown),
        ("CreateContainer", "REF-INVALID".to_owned())
    );
}

#[test]
fn a_pull_without_a_pod_passes_where_some_pod_could_have_the_image() {
    let node = Node::pinning("pull-alone");
    let app = node.registry.push("app-one", "shop/app:1");
    let other = node.registry.push("app-two", "other/app:1");
    let pull = |image: &str| {
        let mut spec = spec_for(image, &node.cri.sandbox("none"));
        spec.annotations.clear();
        node.cri
            .pull_with(crate::support::messages::PullImageRequest {
                image: Some(spec),
                auth: None,
                sandbox_config: None,
            })
    };
    pull(&app.reference).expect("allowed for some pod");
    let refused = pull(&other.reference).expect_err("allowed for none");
    assert!(refused.message().starts_with("IMG-UNMATCHED "), "{refused}");
}

#[test]
fn a3_an_index_is_pinned_as_the_index_and_starts_as_this_machines_image() {
    let node = Node::pinning("a3");
    let index = node.registry.push("platforms", "shop/many:1");
    let started = node
        .run(&index.reference, PullPolicy::IfNotPresent)
        .expect("this machine's image of it starts");
    assert_eq!(node.build(&started), "one");
    let digest = format!("\"digest\":\"{}\"", index.digest);
    node.audit_line(&["\"rpc\":\"PullImage\"", &digest, "\"verdict\":\"allowed\""]);
    node.audit_line(&[
        "\"rpc\":\"CreateContainer\"",
        &digest,
        "\"verdict\":\"allowed\"",
    ]);
}

#[test]
fn b9_a_line_break_in_an_image_string_is_refused_and_makes_no_line_of_its_own() {
    let node = Node::pinning("b9");
    for text in [
        "x\nverdict=allowed",
        "x\r\n{\"rpc\":\"PullImage\"}",
        "x\u{2028}y",
    ] {
        let shown: String = text
            .bytes()
            .map(|byte| match byte {
                b' '..=b'~' => char::from(byte).to_string(),
                other => format!("\\x{other:02x}"),
            })
            .collect();
        node.denied_unasked(
            |node| node.pull(text),
            "PullImage",
            &no_reference(
                &shown,
                "an image reference is printable ascii without spaces",
            ),
        );
    }
    node.audit_line(&["\"rpc\":\"PullImage\"", "\\\\xe2\\\\x80\\\\xa8y"]);
    let pulls = |lines: Vec<String>| {
        lines
            .into_iter()
            .filter(|line| line.contains("PullImage"))
            .count()
    };
    assert_eq!(pulls(node.guard.audit()), 3);
    let log = node.guard.log();
    assert_eq!(pulls(log.lines().map(str::to_owned).collect()), 3, "{log}");
    assert!(log.lines().all(|line| line.starts_with('{')), "{log}");
}

#[test]
fn g13_a_create_whose_sandbox_has_other_namespaces_than_the_one_that_runs_is_refused() {
    let node = Node::pinning("g13");
    let app = node.registry.push("app-one", "shop/app:1");
    let id = node
        .run(&app.reference, PullPolicy::Always)
        .expect("starts")
        .image_id;
    let mut sandbox = node.sandbox(|_| {});
    let truth = sandbox.config.clone();
    let options = |config: &mut PodSandboxConfig, change: fn(&mut NamespaceOption)| {
        let context = &mut config.linux.get_or_insert_default().security_context;
        change(
            context
                .get_or_insert_default()
                .namespace_options
                .get_or_insert_default(),
        );
    };
    let lies: [(&str, NamespaceLie); 3] = [
        ("network", |options| options.network = 2),
        ("pid", |options| options.pid = 2),
        ("ipc", |options| options.ipc = 2),
    ];
    for (what, lie) in lies {
        sandbox.config = truth.clone();
        options(&mut sandbox.config, lie);
        let created = node.create(&sandbox, &id, &app.reference);
        assert_eq!(
            said(&created),
            ("CreateContainer", "POD-SANDBOX".to_owned()),
            "{what}"
        );
    }
    sandbox.config = truth;
    node.create(&sandbox, &id, &app.reference)
        .expect("the truth is created");
}
