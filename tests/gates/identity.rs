//! Which image an ID, a name or a volume means, and who may have it.

use crate::node::{Node, STRICT, from_file, namespace, node_policy, pinned, policy, said};
use crate::support::cri::{PullPolicy, spec_for};
use crate::support::messages::{ImageSpec, Mount};

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
        &hex[..63],
        &hex[..12],
        &hex[..6],
        &whole[..20],
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
    for typed in [whole.as_str(), hex, &hex[..12]] {
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
    for name in [app.reference.clone(), app.pinned()] {
        let created = node.create(&sandbox, &evil, &name);
        assert_eq!(
            said(&created),
            ("CreateContainer", "IMG-UNPROVEN".to_owned()),
            "{name}"
        );
        node.create(&sandbox, &own, &name)
            .expect("its own name is good");
    }
    let reverse = node.create(&sandbox, &own, &foreign.reference);
    assert_eq!(said(&reverse), ("CreateContainer", "REG-DENIED".to_owned()));
}

#[test]
fn a8_a_path_of_the_node_as_image_is_refused_at_pull_and_at_create() {
    let node = Node::pinning("a8-path");
    let file = node.lab.write("cp.tar", "no image");
    let sandbox = node.sandbox(|_| {});
    for path in [
        &file.display().to_string(),
        "/var/tmp/cp.tar",
        "./x",
        "../x",
    ] {
        let pulled = node.run(path, PullPolicy::Always);
        assert_eq!(
            said(&pulled),
            ("PullImage", "REF-INVALID".to_owned()),
            "{path}"
        );
        let created = node.create(&sandbox, path, path);
        assert_eq!(
            said(&created),
            ("CreateContainer", "REF-INVALID".to_owned()),
            "{path}"
        );
    }
    // Also a name on Docker Hub: judged as that.
    let hub = node.create(&sandbox, "tmp/cp.tar", "tmp/cp.tar");
    let (call, code) = said(&hub);
    assert_eq!(call, "CreateContainer");
    assert!(
        ["REG-DENIED", "REF-INVALID"].contains(&code.as_str()),
        "{hub:?}"
    );
}

#[test]
fn a8_a_checkpoint_is_no_image() {
    let node = Node::pinning("a8-checkpoint");
    let app = node.registry.push("busybox-user", "shop/app:1");
    let checkpoint = node.registry.push("checkpoint", "shop/checkpoint:1");
    let pulled = node.run(&checkpoint.reference, PullPolicy::Always);
    assert_eq!(said(&pulled), ("PullImage", "IMG-CONFIG".to_owned()));
    let by_digest = node.run(&checkpoint.pinned(), PullPolicy::Always);
    let (_, code) = said(&by_digest);
    assert_eq!(code, "IMG-CONFIG", "{by_digest:?}");
    let id = node.smuggle(&checkpoint.reference);
    let sandbox = node.sandbox(|_| {});
    let created = node.create(&sandbox, &id, &checkpoint.reference);
    assert_eq!(said(&created), ("CreateContainer", "IMG-CONFIG".to_owned()));
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
    let create = |mount: Mount| {
        node.create_with(&sandbox, &own, &app.reference, |config| {
            config.mounts.push(mount);
        })
    };
    let cases = [
        (
            "another image's ID",
            volume(&evil, &app.reference),
            "IMG-UNPROVEN",
        ),
        (
            "a repository that is not allowed",
            volume(&evil, &foreign.reference),
            "REG-DENIED",
        ),
        (
            "a name",
            volume(&app.reference, &app.reference),
            "IMG-UNPROVEN",
        ),
        (
            "a truncated ID",
            volume(&own[..20], &app.reference),
            "REF-INVALID",
        ),
    ];
    for (what, mount, code) in cases {
        let created = create(mount);
        let said = said(&created);
        assert_eq!(
            said,
            ("CreateContainer", code.to_owned()),
            "{what}: {created:?}"
        );
        let text = created.as_ref().map_or_else(|r| r.text(), |_| "");
        assert!(
            text.starts_with("ImageVolumeMountFailed: "),
            "{what}: {text}"
        );
    }
    let both = create(Mount {
        host_path: "/etc".to_owned(),
        ..volume(&own, &app.reference)
    });
    let (_, code) = said(&both);
    assert_eq!(code, "RPC-MALFORMED", "{both:?}");
    // containerd 1.6 has no image volumes and takes the mount for one without a source; the guard lets it through.
    if let Err(refused) = create(volume(&own, &app.reference)) {
        assert!(
            !refused.text().contains("IMG-") && !refused.text().contains("REF-"),
            "{refused:?}"
        );
    }
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
    let created = node.create(&sandbox, &id, &app.reference);
    assert_eq!(said(&created), ("CreateContainer", "REG-DENIED".to_owned()));
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
    for policy in [
        PullPolicy::Always,
        PullPolicy::IfNotPresent,
        PullPolicy::Never,
    ] {
        let (_, code) = said(&run("tenant-b", policy));
        assert_eq!(code, "REG-DENIED", "{policy:?}");
    }
    let neither = run("elsewhere", PullPolicy::Never);
    assert_eq!(
        said(&neither),
        ("CreateContainer", "IMG-UNMATCHED".to_owned())
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
    let lies: [(&str, fn(&mut crate::support::messages::PodSandboxConfig)); 4] = [
        ("namespace", |config| namespace(config, "kube-system")),
        ("name", |config| {
            config.metadata.get_or_insert_default().name = "other".to_owned();
        }),
        ("uid", |config| {
            config.metadata.get_or_insert_default().uid = "other".to_owned();
        }),
        ("source", from_file),
    ];
    for (what, lie) in lies {
        sandbox.config = truth.clone();
        lie(&mut sandbox.config);
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
    let edits: Vec<String> = node
        .guard
        .audit()
        .into_iter()
        .filter(|line| line.contains("\"rpc\":\"CreateContainer\""))
        .collect();
    assert!(
        edits
            .iter()
            .any(|line| line.contains(&format!("\"edit\":\"id {id}\""))),
        "{edits:?}"
    );
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
