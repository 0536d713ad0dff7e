//! What an image's documents may hold, whatever the rules say: checkpoints, configs that two readers
//! read differently or that ask the runtime for more than a process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pullguard::containerd::Containerd;
use pullguard::limits::Limits;

use crate::crafted::Crafted;
use crate::node::{Bare, NO_IMAGE_RULE, Node, OPEN, policy, said, shop};
use crate::support::cri::{PullPolicy, spec};

/// How long one question to containerd may take.
const LIMIT: Duration = Duration::from_secs(10);

/// A node whose rules say nothing about images.
fn without_image_rules(name: &str) -> Node {
    Bare::new(name).guarded(&policy(OPEN, NO_IMAGE_RULE))
}

/// A node whose one image rule asks for the registry alone.
fn registries_only(name: &str) -> Node {
    let bare = Bare::new(name);
    let rules = shop(&bare.host());
    bare.guarded(&policy(OPEN, &rules))
}

fn annotation(key: &str) -> String {
    format!(r#","{key}":{{"org.criu.checkpoint.container.name":"app"}}"#)
}

#[test]
fn a8_a_checkpoint_is_refused_at_pull_where_no_rule_speaks_of_images_and_leaves_no_name() {
    let node = without_image_rules("a8-no-rule");
    let app = node.registry.push("app-one", "shop/app:1");
    let started = node
        .run(&app.reference, PullPolicy::Always)
        .expect("starts");
    let layouts = [
        ("plain", annotation("annotations")),
        ("cased", annotation("Annotations")),
        (
            "twice",
            format!(r#"{},"annotations":{{}}"#, annotation("annotations")),
        ),
        (
            "escaped",
            r#","annotations":{"\u006frg.criu.checkpoint.container.name":"app"}"#.to_owned(),
        ),
    ];
    for (name, more) in layouts {
        let crafted = Crafted::of(&node.lab, name, "app-one").index(&more);
        let pushed = crafted.push(&node.registry, &format!("tenant/{name}:1"));
        for image in [pushed.reference.clone(), pushed.pinned()] {
            let pulled = node.run(&image, PullPolicy::Always);
            assert_eq!(
                said(&pulled),
                ("PullImage", "IMG-CONFIG".to_owned()),
                "{image}"
            );
        }
        let names = node.containerd.ctr(&["images", "list", "-q"]);
        assert!(!names.contains("tenant/"), "{names}");
        let again = node.run(&app.reference, PullPolicy::Never);
        let again = again.unwrap_or_else(|refused| panic!("{name}: {refused:?}"));
        assert_eq!(again.image_id, started.image_id, "the same image as before");
        assert_eq!(node.build(&again), "one");
    }
}

#[test]
fn a8_a_checkpoint_of_which_the_pull_fails_halfway_leaves_no_name_either() {
    let node = without_image_rules("a8-halfway");
    let app = node.registry.push("app-one", "shop/app:1");
    let sandbox = node.sandbox(|_| {});
    let id = node
        .cri
        .pull(&app.reference, &sandbox.config)
        .expect("pulled");
    let broken = Crafted::of(&node.lab, "broken", "app-one")
        .with_layers_of("other")
        .index(&annotation("annotations"))
        .push(&node.registry, "aaa/broken:1");
    node.cri
        .pull(&broken.reference, &sandbox.config)
        .expect_err("its layers are not those of its config");
    let names = node.containerd.ctr(&["images", "list", "-q"]);
    assert!(!names.contains("aaa/"), "{names}");
    node.create(&sandbox, &id, &app.reference)
        .expect("the image that shares its config starts");
}

#[test]
fn a8_a_checkpoint_that_was_put_behind_an_image_of_the_node_is_refused_at_create() {
    for (name, node) in [
        ("no rule", without_image_rules("a8-behind-none")),
        ("registries", registries_only("a8-behind-reg")),
        ("pin", Node::pinning("a8-behind-pin")),
    ] {
        let app = node.registry.push("app-one", "shop/app:1");
        let sandbox = node.sandbox(|_| {});
        let id = node
            .cri
            .pull(&app.reference, &sandbox.config)
            .expect("pulled");
        let foreign = Crafted::of(&node.lab, "cp", "app-one")
            .index(&annotation("Annotations"))
            .push(&node.registry, "aaa/checkpoint:1");
        assert_eq!(node.smuggle(&foreign.reference), id, "the same image");
        let created = node.create(&sandbox, &id, &app.reference);
        let (_, code) = said(&created);
        assert_eq!(code, "IMG-CONFIG", "{name}: {created:?}");
        let text = created
            .as_ref()
            .map_or_else(|refused| refused.text(), |_| "");
        assert!(text.contains("aaa/checkpoint:1"), "{name}: {text}");
        node.containerd
            .ctr(&["images", "rm", "--sync", &foreign.reference]);
        node.create(&sandbox, &id, &app.reference)
            .unwrap_or_else(|refused| panic!("{name}: {refused:?}"));
    }
}

#[test]
fn p1_a_document_that_two_readers_read_differently_is_refused_under_its_own_name_only() {
    let node = registries_only("p1-own");
    let edit = |text: String| text.replacen("\"layers\"", "\"Layers\":[],\"layers\"", 1);
    let bad = Crafted::of(&node.lab, "bad", "app-one").manifest(edit);
    let own = bad.push(&node.registry, "shop/app:bad");
    let foreign = bad.push(&node.registry, "other/bad:1");
    let pulled = node.run(&own.reference, PullPolicy::Always);
    assert_eq!(said(&pulled), ("PullImage", "IMG-CONFIG".to_owned()));

    let app = node.registry.push("app-one", "shop/app:1");
    let sandbox = node.sandbox(|_| {});
    let id = node
        .cri
        .pull(&app.reference, &sandbox.config)
        .expect("pulled");
    assert_eq!(node.smuggle(&foreign.reference), id, "the same image");
    node.create(&sandbox, &id, &app.reference)
        .expect("a foreign name's fault is not this pod's");
    assert_eq!(node.smuggle(&own.reference), id, "the same image");
    // A create of the same image has been judged; only a pull makes the guard look at names anew.
    node.cri
        .pull(&app.reference, &sandbox.config)
        .expect("pulled");
    let created = node.create(&sandbox, &id, &app.reference);
    assert_eq!(said(&created), ("CreateContainer", "IMG-CONFIG".to_owned()));
}

#[test]
fn the_config_of_an_image_is_read_whatever_the_rules_say() {
    let labels = |label: &str| format!(r#""config":{{"Labels":{{"{label}":"x"}},"#);
    let cases = [
        (
            "p2-twice",
            r#""config":{"User":"0","User":"1000","#.to_owned(),
        ),
        ("p2-cased", r#""config":{"uSER":"0","#.to_owned()),
        ("p3-containerd", labels("containerd.io/restart.status")),
        ("p3-cri", labels("io.cri-containerd.kind")),
        (
            "p4-climbs",
            r#""config":{"Volumes":{"/../../x":{}},"#.to_owned(),
        ),
        (
            "p4-proc",
            r#""config":{"Volumes":{"/proc/x":{}},"#.to_owned(),
        ),
    ];
    for node in [
        without_image_rules("config-none"),
        registries_only("config-reg"),
    ] {
        for (name, begin) in &cases {
            let image = Crafted::of(&node.lab, name, "app-one")
                .config(|text| text.replacen(r#""config":{"#, begin, 1));
            let pushed = image.push(&node.registry, &format!("shop/{name}:1"));
            let run = node.run(&pushed.reference, PullPolicy::Always);
            assert_eq!(
                said(&run),
                ("CreateContainer", "IMG-CONFIG".to_owned()),
                "{name}: {run:?}"
            );
            let text = run.as_ref().map_or_else(|refused| refused.text(), |_| "");
            assert!(!text.contains("runAsUser"), "{name}: {text}");
        }
        let harmless = Crafted::of(&node.lab, "harmless", "app-one").config(|text| {
            text.replacen(
                r#""config":{"#,
                r#""config":{"Labels":{"org.example":"x"},"Volumes":{"/data":{}},"#,
                1,
            )
        });
        let pushed = harmless.push(&node.registry, "shop/harmless:1");
        let started = node.run(&pushed.reference, PullPolicy::Always);
        assert_eq!(node.build(&started.expect("starts")), "one");
    }
}

#[test]
fn an_image_without_a_config_on_the_node_is_not_started_and_after_a_pull_it_is() {
    let node = without_image_rules("no-config");
    let app = node.registry.push("app-one", "shop/app:1");
    let sandbox = node.sandbox(|_| {});
    let id = node
        .cri
        .pull(&app.reference, &sandbox.config)
        .expect("pulled");
    node.containerd.ctr(&["content", "rm", &id]);
    let created = node.create(&sandbox, &id, &app.reference);
    assert_eq!(
        said(&created),
        ("CreateContainer", "IMG-UNPROVEN".to_owned())
    );
    let again = node.cri.pull(&app.reference, &sandbox.config);
    assert_eq!(again.expect("pulled again"), id);
    node.create(&sandbox, &id, &app.reference)
        .expect("created with its config back");
}

#[test]
fn containers_of_one_and_of_several_layers_stand_on_what_was_proven() {
    let node = Node::pinning("layers");
    let one = node.registry.push("app-one", "shop/one:1");
    let several = Crafted::of(&node.lab, "several", "app-one")
        .layer_of("other")
        .push(&node.registry, "shop/several:1");
    for image in [&one.reference, &several.reference] {
        for policy in [PullPolicy::Always, PullPolicy::Never] {
            let started = node
                .run(image, policy)
                .unwrap_or_else(|refused| panic!("{image}: {refused:?}"));
            assert_eq!(node.build(&started), "one");
        }
    }
    let image = node.cri.image_status(spec(&several.reference));
    assert!(image.expect("ImageStatus").is_some());
}

#[test]
fn a_pull_without_a_pin_proves_the_digest_that_the_tag_led_to() {
    let node = registries_only("loose-then-pin");
    let app = node.registry.push("app-one", "shop/app:1");
    node.run(&app.reference, PullPolicy::Always)
        .expect("pulled by its tag");
    node.apply(&crate::node::pinned(&node.host()));
    let mut node = node;
    node.registry.stop();
    let started = node
        .run(&app.reference, PullPolicy::Never)
        .expect("starts under Pin without its registry");
    assert_eq!(node.build(&started), "one");
}

#[test]
fn while_a_name_of_an_image_is_moved_to_and_fro_no_container_gets_the_other_ones_layers() {
    let node = Node::pinning("flip");
    let one = node.registry.push("app-one", "shop/app:1");
    let two = node.registry.push("app-two", "shop/other:1");
    let own = node.run(&one.reference, PullPolicy::Always);
    let own = own.expect("starts").image_id;
    node.run(&two.reference, PullPolicy::Always)
        .expect("starts");
    let done = AtomicBool::new(false);
    let (from_one, from_two) = (one.pinned(), two.pinned());
    let others = std::thread::scope(|threads| {
        threads.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async {
                let socket = node.containerd.socket();
                let containerd = Containerd::new(&socket, "k8s.io", &Limits::default());
                let containerd = containerd.expect("connect");
                while !done.load(Ordering::Relaxed) {
                    for from in [&from_two, &from_one] {
                        let moved = containerd.repoint(&one.reference, from, LIMIT).await;
                        moved.expect("move the tag");
                    }
                }
            });
        });
        let sandbox = node.sandbox(|_| {});
        let made = (0..12).filter_map(|_| node.create(&sandbox, &own, &one.pinned()).ok());
        let others: Vec<String> = made
            .filter(|container| {
                node.cri.start(container).expect("started");
                let build = node.cri.exec(container, &["cat", "/build"]);
                build.expect("read /build").stdout.trim() != "one"
            })
            .collect();
        done.store(true, Ordering::Relaxed);
        others
    });
    assert_eq!(others, Vec::<String>::new());
    node.point(&one.pinned(), &one.reference, &own);
    let sandbox = node.sandbox(|_| {});
    node.create(&sandbox, &own, &one.pinned())
        .expect("created once the name stays");
}
