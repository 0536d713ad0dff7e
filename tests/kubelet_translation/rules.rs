//! Rules of the translation that no recording holds: workloads, lists, and what is said of keys that
//! are not known.

use pullguard::authoring::kubelet::{Found, Images, Kind, Manifest, Node, Source, read};
use serde_json::Value;

const SPEC: &str = "{containers: [{name: c, image: registry.example.com/a}]}";

fn one(text: &str) -> Manifest {
    let mut found = read(text, "default");
    assert_eq!(found.errors, [], "{text}");
    assert_eq!(found.manifests.len(), 1, "{text}");
    found.manifests.remove(0)
}

fn errors(text: &str) -> Vec<String> {
    let found = read(text, "default");
    assert_eq!(found.manifests, [], "{text}");
    let show = |note: &pullguard::authoring::kubelet::Note| {
        format!("{}: {}: {}", note.line, note.path, note.text)
    };
    found.errors.iter().map(show).collect()
}

fn pod(spec: &str) -> Manifest {
    one(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: x}}, spec: {spec}}}"
    ))
}

#[test]
fn every_workload_makes_the_pod_of_its_template() {
    let plain = |version: &str, kind: &str| {
        format!(
            "apiVersion: {version}\nkind: {kind}\nmetadata: {{name: w, namespace: ns}}\nspec:\n  template: {{metadata: {{labels: {{a: b}}}}, spec: {SPEC}}}\n"
        )
    };
    let cron = format!(
        "apiVersion: batch/v1\nkind: CronJob\nmetadata: {{name: w, namespace: ns}}\nspec: {{schedule: \"* * * * *\", jobTemplate: {{spec: {{template: {{metadata: {{labels: {{a: b}}}}, spec: {SPEC}}}}}}}}}\n"
    );
    for text in [
        plain("apps/v1", "Deployment"),
        plain("apps/v1", "StatefulSet"),
        plain("apps/v1", "DaemonSet"),
        plain("apps/v1", "ReplicaSet"),
        plain("batch/v1", "Job"),
        plain("v1", "ReplicationController"),
        cron,
    ] {
        let manifest = one(&text);
        assert_eq!(
            (manifest.name(), manifest.namespace()),
            ("w", "ns"),
            "{text}"
        );
        assert_eq!(manifest.untranslated, [], "{text}");
        let calls = manifest
            .translate(&Node::new("n"), &Images::default())
            .unwrap();
        let config = calls.sandbox.config.unwrap();
        assert_eq!(config.labels["a"], "b", "{text}");
        assert_eq!(calls.containers.len(), 1, "{text}");
    }
}

#[test]
fn lists_documents_and_json_are_opened() {
    let pod = format!("{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {SPEC}}}");
    let bare = format!("{{metadata: {{name: p}}, spec: {SPEC}}}");
    let json = "{\"apiVersion\": \"v1\",\n\t\"kind\": \"Pod\", \"metadata\": {\"name\": \"p\"},\n\t\"spec\": {\"containers\": [{\"name\": \"c\", \"image\": \"a\"}]}}";
    for (text, pods, others) in [
        (format!("---\n{pod}\n---\n# nothing\n---\n{pod}\n"), 2, 0),
        (
            format!("{{apiVersion: v1, kind: List, items: [{pod}, {pod}]}}"),
            2,
            0,
        ),
        (
            format!("{{apiVersion: v1, kind: PodList, items: [{bare}]}}"),
            1,
            0,
        ),
        (json.to_owned(), 1, 0),
        (
            format!("{{apiVersion: v1, kind: Service, metadata: {{name: s}}}}\n---\n{pod}\n"),
            1,
            1,
        ),
    ] {
        let Found {
            manifests,
            errors,
            others: rest,
        } = read(&text, "default");
        assert_eq!(
            (manifests.len(), rest),
            (pods, others),
            "{text}: {errors:?}"
        );
        assert_eq!(errors, [], "{text}");
    }
}

#[test]
fn what_cannot_be_used_is_said_with_its_line_and_key() {
    for (text, expected) in [
        (
            "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: c\n    image: a\n    stdin: \"yes\"\n",
            "7: spec.containers[0].stdin: must be true or false, without quotes",
        ),
        (
            "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - {name: c}\n",
            "5: spec.containers[0].image: is missing",
        ),
        (
            "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: c\n    image: 1.36\n",
            "6: spec.containers[0].image: must be text; put the value in quotes",
        ),
        (
            "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: c, image: a, resources: {limits: {cpu: much}}}]}\n",
            "3: spec.containers[0].resources.limits.cpu: is no quantity; write it like 500m or 64Mi",
        ),
        (
            "apiVersion: rollouts.example/v1\nkind: Rollout\nspec: {template: {spec: {containers: [{name: c, image: a}]}}}\n",
            "1: : `Rollout` of `rollouts.example/v1` makes pods in a way that is not translated; give the pods themselves",
        ),
        (
            "apiVersion: jobset.example/v1\nkind: JobSet\nspec: {replicatedJobs: [{template: {spec: {template: {spec: {containers: [{name: c, image: a}]}}}}}]}\n",
            "1: : `JobSet` of `jobset.example/v1` makes pods in a way that is not translated; give the pods themselves",
        ),
        (
            "image: a\n",
            "1: : has no apiVersion or no kind, so it is no object of Kubernetes; leave it out",
        ),
    ] {
        let found = errors(text);
        assert!(found.contains(&expected.to_owned()), "{text}{found:#?}");
    }
}

#[test]
fn a_key_twice_and_a_broken_file_are_refused() {
    let twice = errors("apiVersion: v1\nkind: Pod\nspec: {hostPID: true, hostPID: false}\n");
    assert!(twice[0].contains("duplicate"), "{twice:?}");
    let broken = errors("apiVersion: v1\nkind: [Pod\n");
    assert!(broken[0].contains("is no YAML"), "{broken:?}");
}

/// Every key of a v1 Pod's spec and containers as of Kubernetes 1.36.
const SPEC_KEYS: &str = "volumes initContainers containers ephemeralContainers restartPolicy terminationGracePeriodSeconds activeDeadlineSeconds dnsPolicy nodeSelector serviceAccountName serviceAccount automountServiceAccountToken nodeName hostNetwork hostPID hostIPC shareProcessNamespace securityContext imagePullSecrets hostname subdomain affinity schedulerName tolerations hostAliases priorityClassName priority dnsConfig readinessGates runtimeClassName enableServiceLinks preemptionPolicy overhead topologySpreadConstraints setHostnameAsFQDN os hostUsers schedulingGates resourceClaims resources hostnameOverride workloadRef schedulingGroup";
const CONTAINER_KEYS: &str = "name image command args workingDir ports envFrom env resources resizePolicy restartPolicy restartPolicyRules volumeMounts volumeDevices livenessProbe readinessProbe startupProbe lifecycle terminationMessagePath terminationMessagePolicy imagePullPolicy securityContext stdin stdinOnce tty targetContainerName";
const POD_SECURITY_KEYS: &str = "seLinuxOptions windowsOptions runAsUser runAsGroup runAsNonRoot supplementalGroups supplementalGroupsPolicy fsGroup sysctls fsGroupChangePolicy seccompProfile appArmorProfile seLinuxChangePolicy";
const SECURITY_KEYS: &str = "capabilities privileged seLinuxOptions windowsOptions runAsUser runAsGroup runAsNonRoot readOnlyRootFilesystem allowPrivilegeEscalation procMount seccompProfile appArmorProfile";

/// The keys that are said to be not translated if each of `keys` is an object at `place`.
fn said(place: &str, keys: &str) -> Vec<String> {
    let mut said = Vec::new();
    for key in keys.split(' ') {
        let spec = place.replace("KEY", &format!("{key}: {{}}"));
        let text = format!("{{apiVersion: v1, kind: Pod, metadata: {{name: x}}, spec: {spec}}}");
        let found = read(&text, "default");
        for manifest in found.manifests {
            said.extend(manifest.untranslated.into_iter().map(|note| note.path));
        }
    }
    said
}

#[test]
fn every_key_of_the_api_is_translated_or_changes_nothing_or_is_said() {
    let in_spec = said("{KEY, containers: [{name: c, image: a}]}", SPEC_KEYS);
    assert_eq!(in_spec, ["spec.resourceClaims"]);
    let in_container = said("{containers: [{name: c, image: a, KEY}]}", CONTAINER_KEYS);
    assert_eq!(in_container, ["spec.containers[0].volumeDevices"]);
    let in_pod_security = said(
        "{securityContext: {KEY}, containers: [{name: c, image: a}]}",
        POD_SECURITY_KEYS,
    );
    assert_eq!(in_pod_security, ["spec.securityContext.windowsOptions"]);
    let in_security = said(
        "{containers: [{name: c, image: a, securityContext: {KEY}}]}",
        SECURITY_KEYS,
    );
    assert_eq!(
        in_security,
        ["spec.containers[0].securityContext.windowsOptions"]
    );
}

#[test]
fn a_key_that_no_api_has_is_said() {
    let manifest = pod(
        "{hostPiD: true, containers: [{name: c, image: a, volumeMounts: [{name: v, mountPath: /x, propagation: X}]}], volumes: [{name: v, newKind: {}}]}",
    );
    let said: Vec<&str> = manifest
        .untranslated
        .iter()
        .map(|note| note.path.as_str())
        .collect();
    assert_eq!(
        said,
        [
            "spec.volumes[0].newKind",
            "spec.containers[0].volumeMounts[0].propagation",
            "spec.hostPiD",
        ]
    );
}

#[test]
fn containers_come_in_the_order_in_which_the_kubelet_starts_them() {
    let manifest = pod(
        "{ephemeralContainers: [{name: e, image: a, targetContainerName: c}], containers: [{name: c, image: a}], initContainers: [{name: i, image: a}, {name: s, image: a, restartPolicy: Always}]}",
    );
    let mut node = Node::new("n");
    node.container_ids
        .insert("c".to_owned(), "id-of-c".to_owned());
    let calls = manifest.translate(&node, &Images::default()).unwrap();
    let kinds: Vec<(&str, Kind)> = calls
        .containers
        .iter()
        .map(|one| (one.name.as_str(), one.kind))
        .collect();
    assert_eq!(
        kinds,
        [
            ("i", Kind::Init),
            ("s", Kind::Sidecar),
            ("c", Kind::Normal),
            ("e", Kind::Ephemeral),
        ]
    );
    let create = calls.containers[3].create.as_ref().unwrap();
    let linux = create.config.as_ref().unwrap().linux.as_ref().unwrap();
    let context = linux.security_context.as_ref().unwrap();
    let options = context.namespace_options.as_ref().unwrap();
    assert_eq!((options.pid, options.target_id.as_str()), (3, "id-of-c"));
}

#[test]
fn a_pod_with_users_of_its_own_gets_one_range_for_sandbox_and_mounts() {
    let manifest = pod("{hostUsers: false, containers: [{name: c, image: a}]}");
    let mut node = Node::new("n");
    node.first_mapped_id = 524_288;
    let calls = manifest.translate(&node, &Images::default()).unwrap();
    let config = calls.sandbox.config.unwrap();
    let context = config.linux.unwrap().security_context.unwrap();
    let users = context.namespace_options.unwrap().userns_options.unwrap();
    assert_eq!((users.mode, users.uids[0].host_id), (0, 524_288));
    assert_eq!((&users.uids, users.uids[0].length), (&users.gids, 65_536));
}

#[test]
fn sysctls_that_are_spelled_with_slashes_are_sent_in_dots() {
    let manifest = pod(
        "{securityContext: {sysctls: [{name: net/ipv4/conf/eth0.1/rp_filter, value: \"1\"}, {name: net.ipv4.conf.eth0/1.arp_filter, value: \"1\"}]}, containers: [{name: c, image: a}]}",
    );
    let calls = manifest.translate(&Node::new("n"), &Images::default());
    let linux = calls.unwrap().sandbox.config.unwrap().linux.unwrap();
    let names: Vec<&String> = linux.sysctls.keys().collect();
    assert_eq!(
        names,
        [
            "net.ipv4.conf.eth0/1.arp_filter",
            "net.ipv4.conf.eth0/1.rp_filter"
        ]
    );
}

#[test]
fn an_unmasked_proc_has_no_lists() {
    let calls = |mount: &str| {
        let spec = format!(
            "{{containers: [{{name: c, image: a, securityContext: {{procMount: {mount}}}}}]}}"
        );
        let calls = pod(&spec)
            .translate(&Node::new("n"), &Images::default())
            .unwrap();
        let create = calls.containers[0].create.clone().unwrap();
        let context = create
            .config
            .unwrap()
            .linux
            .unwrap()
            .security_context
            .unwrap();
        (context.masked_paths.len(), context.readonly_paths.len())
    };
    assert_eq!(calls("Unmasked"), (0, 0));
    assert_eq!(calls("Default"), (12, 5));
}

#[test]
fn a_pull_names_the_tag_that_is_meant_and_never_means_no_pull() {
    for (container, expected) in [
        ("{name: c, image: busybox}", vec!["busybox:latest"]),
        (
            "{name: c, image: \"r.example:5000/a\"}",
            vec!["r.example:5000/a:latest"],
        ),
        ("{name: c, image: \"a:1\"}", vec!["a:1"]),
        ("{name: c, image: \"a:1\", imagePullPolicy: Never}", vec![]),
    ] {
        let manifest = pod(&format!("{{containers: [{container}]}}"));
        let calls = manifest
            .translate(&Node::new("n"), &Images::default())
            .unwrap();
        let pulled: Vec<String> = calls.containers[0]
            .pulls
            .iter()
            .map(|pull| pull.image.clone().unwrap().image)
            .collect();
        assert_eq!(pulled, expected, "{container}");
    }
}

#[test]
fn a_static_pod_that_names_objects_of_the_server_is_not_run() {
    let mut node = Node::new("n");
    let manifest =
        pod("{containers: [{name: c, image: a}], volumes: [{name: v, secret: {secretName: s}}]}");
    assert!(manifest.translate(&node, &Images::default()).is_ok());
    node.source = Source::File;
    let refused = manifest.translate(&node, &Images::default()).unwrap_err();
    assert_eq!(
        refused.text(),
        "a static pod may not use a secret; remove it, or create the pod through the API server"
    );
    let plain = pod("{containers: [{name: c, image: a}], volumes: [{name: v, emptyDir: {}}]}");
    assert!(plain.translate(&node, &Images::default()).is_ok());
}

#[test]
fn a_class_and_a_device_are_assumptions_that_are_said() {
    let manifest = pod(
        "{runtimeClassName: kata, containers: [{name: c, image: a, resources: {limits: {example.com/gpu: 1}}}]}",
    );
    let mut node = Node::new("n");
    let calls = manifest.translate(&node, &Images::default()).unwrap();
    assert_eq!(calls.sandbox.runtime_handler, "kata");
    assert_eq!(
        calls.assumed,
        [
            "RuntimeClass `kata` has the handler `kata`",
            "what a device plugin adds for `example.com/gpu` is not judged",
        ]
    );
    node.handlers
        .insert("kata".to_owned(), "kata-qemu".to_owned());
    let calls = manifest.translate(&node, &Images::default()).unwrap();
    assert_eq!(
        (calls.sandbox.runtime_handler.as_str(), calls.assumed.len()),
        ("kata-qemu", 1)
    );
}

/// The recordings hold that an empty value stays what it is.
#[test]
fn json_of_a_message_leaves_defaults_out() {
    let json = crate::proto_json::proto_json("ContainerMetadata", &[0x0a, 1, b'c', 0x10, 0]);
    assert_eq!(json, serde_json::json!({"name": "c"}));
    assert_eq!(json["attempt"], Value::Null);
}

/// A manifest that holds most of what is read.
const WIDE: &str = include_str!("wide.yaml");

#[test]
fn a_wide_manifest_is_read_whole() {
    let manifest = one(WIDE);
    assert_eq!(manifest.untranslated, []);
    let calls = manifest
        .translate(&Node::new("n"), &Images::default())
        .unwrap();
    assert!(calls.containers.iter().all(|one| one.create.is_ok()));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(256))]

    #[test]
    fn no_text_makes_it_panic(text in "[-\\[\\]{}:,#&*!|>'\"%@` a-z0-9\n\t~<]{0,120}") {
        let found = read(&text, "default");
        for manifest in &found.manifests {
            drop(manifest.translate(&Node::new("n"), &Images::default()));
        }
    }

    #[test]
    fn no_change_of_one_word_makes_it_panic(
        at in 0_usize..1_000,
        word in proptest::sample::select(vec![
            "", "~", "-1", "9223372036854775808", "1e99", "''", "[]", "{}", "yes", "..", "/", "$(", "@", "x:y",
        ]),
    ) {
        let words: Vec<&str> = WIDE.split_inclusive([' ', '\n']).collect();
        let place = at % words.len();
        let ends = words[place].ends_with('\n');
        let changed: String = words
            .iter()
            .enumerate()
            .map(|(index, own)| if index == place {
                format!("{word}{}", if ends { "\n" } else { " " })
            } else {
                (*own).to_owned()
            })
            .collect();
        let found = read(&changed, "default");
        for manifest in &found.manifests {
            drop(manifest.translate(&Node::new("n"), &Images::default()));
        }
    }
}
