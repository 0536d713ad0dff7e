//! The kinds of static pod that are recorded. Pods that need an API server (secrets, projected
//! volumes, claims, service accounts, RuntimeClass, ephemeral containers) are for a suite with a
//! cluster.

use serde_json::{Value, json};

/// In place of the registry's address.
pub(crate) const HOST: &str = "127.0.0.1:5000";

const USER: &str = "127.0.0.1:5000/busybox-user:1";
const ROOT: &str = "127.0.0.1:5000/busybox:1";
const NAMED: &str = "127.0.0.1:5000/busybox-app:1";

/// One pod, and which of its containers the kubelet creates.
pub(crate) struct Recorded {
    pub(crate) name: String,
    pub(crate) manifest: Value,
    /// Whether the kubelet sends nothing at all, or no container.
    sends: Sends,
}

#[derive(Clone, Copy, PartialEq)]
enum Sends {
    Everything,
    /// The kubelet itself refuses its containers.
    NoContainer,
}

impl Recorded {
    /// Method and container of each request that is waited for.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = (&str, &str)> {
        let spec = &self.manifest["spec"];
        let containers = ["initContainers", "containers"]
            .into_iter()
            .flat_map(|key| spec[key].as_array().into_iter().flatten())
            .filter(|_| self.sends == Sends::Everything)
            .map(|one| ("CreateContainer", one["name"].as_str().unwrap()));
        std::iter::once(("RunPodSandbox", "")).chain(containers)
    }
}

/// A pod with one container `c`; `spec` and `container` are laid over it.
fn pod(name: &str, image: &str, spec: Value, container: Value) -> Recorded {
    let mut own = json!({
        "name": "c",
        "image": image,
        "command": ["sh", "-c", "trap 'exit 0' TERM; sleep 2147483647 & wait"],
    });
    lay(&mut own, container);
    let mut whole = json!({
        "terminationGracePeriodSeconds": 1,
        "dnsPolicy": "Default",
        "automountServiceAccountToken": false,
        "containers": [own],
    });
    lay(&mut whole, spec);
    Recorded {
        name: name.to_owned(),
        manifest: json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "record"},
            "spec": whole,
        }),
        sends: Sends::Everything,
    }
}

fn lay(under: &mut Value, over: Value) {
    let under = under.as_object_mut().unwrap();
    for (key, value) in over.as_object().unwrap() {
        under.insert(key.clone(), value.clone());
    }
}

fn refused(pod: Recorded) -> Recorded {
    Recorded {
        sends: Sends::NoContainer,
        ..pod
    }
}

pub(crate) fn pods() -> Vec<Recorded> {
    let mut all = users();
    all.extend(volumes());
    all.extend(namespaces());
    all.extend(privileges());
    all.extend(resources());
    all.extend(others());
    all
}

fn users() -> Vec<Recorded> {
    let non_root = json!({"securityContext": {"runAsNonRoot": true}});
    vec![
        pod("plain", ROOT, json!({}), json!({})),
        pod("user-of-image", USER, json!({}), json!({})),
        pod("name-of-image", NAMED, json!({}), json!({})),
        pod(
            "root-asked",
            USER,
            json!({}),
            json!({"securityContext": {"runAsUser": 0}}),
        ),
        pod("non-root-number", USER, non_root.clone(), json!({})),
        refused(pod("non-root-name", NAMED, non_root.clone(), json!({}))),
        refused(pod("non-root-none", ROOT, non_root, json!({}))),
        pod(
            "groups",
            ROOT,
            json!({"securityContext": {
                "runAsUser": 1000, "runAsGroup": 2000, "fsGroup": 3000,
                "supplementalGroups": [4000, 4001],
            }}),
            json!({}),
        ),
        pod(
            "container-over-pod",
            ROOT,
            json!({"securityContext": {
                "runAsUser": 1000, "runAsGroup": 2000,
                "seccompProfile": {"type": "RuntimeDefault"},
                "seLinuxOptions": {"level": "s0:c1,c2"},
            }}),
            json!({"securityContext": {
                "runAsUser": 1001, "runAsGroup": 2001,
                "seccompProfile": {"type": "Unconfined"},
                "seLinuxOptions": {"user": "u", "role": "r", "type": "t"},
            }}),
        ),
        pod(
            "pod-alone",
            ROOT,
            json!({"securityContext": {
                "seccompProfile": {"type": "RuntimeDefault"},
                "seLinuxOptions": {"level": "s0:c1,c2"},
            }}),
            json!({}),
        ),
    ]
}

fn volumes() -> Vec<Recorded> {
    let one = |name: &str, volume: Value, mounts: Value| {
        let mut own = json!({"name": "v"});
        lay(&mut own, volume);
        pod(
            name,
            USER,
            json!({"volumes": [own]}),
            json!({"volumeMounts": mounts}),
        )
    };
    let directory = json!({"hostPath": {"path": "/var/tmp", "type": "Directory"}});
    vec![
        one(
            "host-path",
            json!({"hostPath": {"path": "/etc"}}),
            json!([{"name": "v", "mountPath": "/host", "readOnly": true}]),
        ),
        one(
            "host-path-below",
            directory.clone(),
            json!([{"name": "v", "mountPath": "/host", "subPath": "pullguard-record"}]),
        ),
        one(
            "host-path-propagated",
            directory,
            json!([{"name": "v", "mountPath": "/host", "mountPropagation": "HostToContainer"}]),
        ),
        one(
            "empty-dir",
            json!({"emptyDir": {}}),
            json!([
                {"name": "v", "mountPath": "/below", "subPath": "a/b"},
                {"name": "v", "mountPath": "whole", "readOnly": true},
            ]),
        ),
        one(
            "memory",
            json!({"emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}}),
            json!([{"name": "v", "mountPath": "/m"}]),
        ),
        one(
            "downward",
            json!({"downwardAPI": {"items": [
                {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}},
            ]}}),
            json!([{"name": "v", "mountPath": "/d"}]),
        ),
        one(
            "image-volume",
            json!({"image": {"reference": NAMED, "pullPolicy": "IfNotPresent"}}),
            json!([{"name": "v", "mountPath": "/i"}]),
        ),
        one(
            "image-volume-below",
            json!({"image": {"reference": NAMED, "pullPolicy": "IfNotPresent"}}),
            json!([{"name": "v", "mountPath": "/i", "subPath": "bin"}]),
        ),
        one(
            "own-hosts",
            json!({"emptyDir": {}}),
            json!([{"name": "v", "mountPath": "/etc/hosts", "subPath": "hosts"}]),
        ),
        pod(
            "sub-path-expression",
            USER,
            json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
            json!({
                "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "volumeMounts": [{"name": "v", "mountPath": "/x", "subPathExpr": "$(POD)"}],
            }),
        ),
    ]
}

fn namespaces() -> Vec<Recorded> {
    let port = json!({"ports": [{"name": "web", "containerPort": 18_080}]});
    vec![
        pod("host-network", USER, json!({"hostNetwork": true}), port),
        pod(
            "host-pid-ipc",
            USER,
            json!({"hostPID": true, "hostIPC": true}),
            json!({}),
        ),
        pod(
            "shared-processes",
            USER,
            json!({"shareProcessNamespace": true}),
            json!({}),
        ),
        pod(
            "host-port",
            USER,
            json!({}),
            json!({"ports": [
                {"containerPort": 8080, "hostPort": 18_081, "hostIP": "127.0.0.1"},
                {"name": "dns", "containerPort": 53, "protocol": "UDP"},
            ]}),
        ),
        pod(
            "names",
            USER,
            json!({
                "hostname": "own-name", "subdomain": "sub", "setHostnameAsFQDN": true,
                "dnsPolicy": "None",
                "dnsConfig": {
                    "nameservers": ["198.51.100.1"], "searches": ["x.example"],
                    "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
                },
                "hostAliases": [{"ip": "198.51.100.2", "hostnames": ["alias"]}],
            }),
            json!({}),
        ),
        pod(
            "dns-beside",
            USER,
            json!({"dnsConfig": {"nameservers": ["198.51.100.1"], "searches": ["x.example"]}}),
            json!({}),
        ),
        pod(
            "sysctl",
            USER,
            json!({"securityContext": {"sysctls": [
                {"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"},
            ]}}),
            json!({}),
        ),
    ]
}

fn privileges() -> Vec<Recorded> {
    vec![
        pod(
            "privileged",
            ROOT,
            json!({}),
            json!({"securityContext": {"privileged": true}}),
        ),
        pod(
            "privileged-init",
            USER,
            json!({"initContainers": [{
                "name": "i", "image": ROOT, "command": ["true"],
                "securityContext": {"privileged": true},
            }]}),
            json!({}),
        ),
        pod(
            "capabilities",
            USER,
            json!({}),
            json!({"securityContext": {
                "capabilities": {"add": ["NET_ADMIN", "chown"], "drop": ["ALL"]},
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "seccompProfile": {"type": "RuntimeDefault"},
            }}),
        ),
        pod(
            "escalation",
            USER,
            json!({}),
            json!({"securityContext": {"allowPrivilegeEscalation": true, "capabilities": {}}}),
        ),
    ]
}

fn resources() -> Vec<Recorded> {
    let some = json!({"resources": {
        "requests": {"cpu": "100m", "memory": "32Mi"},
        "limits": {"cpu": "500m", "memory": "64Mi"},
    }});
    let limits = json!({"resources": {"limits": {"cpu": 0.2, "memory": "48Mi"}}});
    vec![
        pod("burstable", USER, json!({}), some),
        pod("guaranteed", USER, json!({}), limits),
        pod(
            "tiny",
            USER,
            json!({}),
            json!({"resources": {"requests": {"cpu": "1m"}, "limits": {"cpu": "5m"}}}),
        ),
        pod(
            "whole-pod",
            USER,
            json!({"resources": {
                "requests": {"cpu": "200m", "memory": "1Gi"},
                "limits": {"cpu": "300m", "memory": "1Gi"},
            }}),
            json!({}),
        ),
        pod(
            "init-and-sidecar",
            USER,
            json!({"initContainers": [
                {
                    "name": "first", "image": ROOT, "command": ["true"],
                    "resources": {"requests": {"cpu": "300m", "memory": "96Mi"}},
                },
                {
                    "name": "side", "image": USER, "command": ["sleep", "2147483647"],
                    "restartPolicy": "Always",
                    "resources": {"requests": {"cpu": "50m", "memory": "16Mi"}},
                },
            ]}),
            json!({"resources": {"requests": {"cpu": "100m", "memory": "2Gi"}}}),
        ),
    ]
}

fn others() -> Vec<Recorded> {
    let mut labelled = pod("labelled", USER, json!({}), json!({}));
    labelled.manifest["metadata"]["labels"] = json!({"app": "x"});
    labelled.manifest["metadata"]["annotations"] =
        json!({"team.example/a": "b", "kubernetes.io/config.source": "api"});
    vec![
        labelled,
        pod(
            "environment",
            USER,
            json!({}),
            json!({
                "env": [
                    {"name": "A", "value": "one"},
                    {"name": "B", "value": "$(A) $$(A) $(NONE)"},
                    {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                    {"name": "EMPTY", "value": ""},
                ],
                "command": ["sh", "-c", "echo $(A)$(B); exec sleep 2147483647"],
                "args": ["$(NAME)", "$$(NAME)"],
                "workingDir": "/tmp",
            }),
        ),
        pod(
            "hooks",
            USER,
            json!({}),
            json!({
                "lifecycle": {
                    "preStop": {"exec": {"command": ["sh", "-c", "echo \"<bye>\" & true"]}},
                    "postStart": {"exec": {"command": ["true"]}},
                },
                "livenessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 5},
            }),
        ),
        pod(
            "hook-by-http",
            USER,
            json!({}),
            json!({
                "lifecycle": {"preStop": {"httpGet": {"port": 8080, "httpHeaders": [
                    {"name": "X-A", "value": "1"},
                ]}}},
            }),
        ),
        pod(
            "terminal",
            USER,
            json!({}),
            json!({
                "stdin": true, "stdinOnce": true, "tty": true,
                "terminationMessagePath": "/tmp/last",
                "terminationMessagePolicy": "FallbackToLogsOnError",
            }),
        ),
        pod(
            "always",
            USER,
            json!({}),
            json!({"imagePullPolicy": "Always"}),
        ),
    ]
}
