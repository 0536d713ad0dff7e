//! What a kubelet cannot run on every machine: a CRI client sends what it would send, and the tests'
//! names say so.

use crate::node::{Bare, Node, OPEN, policy};
use crate::support::cri::{PullPolicy, Refused};
use crate::support::messages::{
    ContainerConfig, IdMapping, LinuxContainerSecurityContext, Mount, NamespaceOption,
    PodSandboxConfig, UserNamespace,
};

const PRIVATE: i32 = 0;
const BIDIRECTIONAL: i32 = 2;

fn mounting(node: &Node, propagation: i32) -> Result<(), Refused> {
    let app = format!("{}/shop/app:1", node.host());
    let changed = |_: &mut PodSandboxConfig, config: &mut ContainerConfig| {
        config.mounts.push(Mount {
            container_path: "/mnt".to_owned(),
            host_path: "/usr/share".to_owned(),
            readonly: true,
            propagation,
            ..Mount::default()
        });
    };
    node.run_with(&app, PullPolicy::IfNotPresent, changed)
        .map(|_| ())
}

#[test]
fn bidirectional_propagation_is_denied_with_a_client_for_a_kubelet_that_has_no_shared_mounts() {
    let bare = Bare::new("shared");
    bare.registry.push("busybox-user", "shop/app:1");
    let rules = |checks: &str| policy(OPEN, &format!("  - name: host\n    containers: {checks}\n"));
    let node = bare.guarded(&rules("{privileged: Deny}"));
    let refused = mounting(&node, BIDIRECTIONAL).expect_err("shared");
    assert_eq!(
        (refused.call, refused.status.code(), refused.text()),
        (
            "CreateContainer",
            tonic::Code::PermissionDenied,
            "POD-PRIVILEGED gates/host: container `main` mounts `/mnt` with propagation Bidirectional; use HostToContainer or None"
        )
    );
    mounting(&node, PRIVATE).expect("private");
    node.apply(&rules("{propagation: {allow: [None, HostToContainer]}}"));
    let refused = mounting(&node, BIDIRECTIONAL).expect_err("shared");
    assert_eq!(
        refused.text(),
        "POD-PROPAGATION gates/host: container `main` mounts `/mnt` with propagation Bidirectional; remove mountPropagation from the volume mount"
    );
    mounting(&node, PRIVATE).expect("private");
}

/// A pod with `hostUsers: false`, of which `containers` says whether its container claims it too.
fn in_user_namespace(image: &str, node: &Node, sandbox: bool) -> Result<(), Refused> {
    let range = || {
        vec![IdMapping {
            host_id: 524_288,
            container_id: 0,
            length: 65_536,
        }]
    };
    let users = || UserNamespace {
        mode: 0,
        uids: range(),
        gids: range(),
    };
    let changed = |pod: &mut PodSandboxConfig, config: &mut ContainerConfig| {
        let context = pod.linux.get_or_insert_default();
        let context = context.security_context.get_or_insert_default();
        let options = context.namespace_options.get_or_insert_default();
        if sandbox {
            options.userns_options = Some(users());
        }
        let linux = config.linux.get_or_insert_default();
        let context: &mut LinuxContainerSecurityContext =
            linux.security_context.get_or_insert_default();
        let options: &mut NamespaceOption = context.namespace_options.get_or_insert_default();
        options.userns_options = Some(users());
    };
    node.run_with(image, PullPolicy::IfNotPresent, changed)
        .map(|_| ())
}

const ROOT: &str = "POD-ROOT gates/root: container `main` runs as uid `0`; set securityContext.runAsUser to a number from 1 to 2147483647, or hostUsers: false";

#[test]
fn a_user_namespace_that_containerd_1_6_does_not_make_frees_no_root_with_a_client_for_the_kubelet()
{
    let bare = Bare::new("users");
    let root = bare.registry.push("busybox", "shop/root:1").reference;
    let user = bare.registry.push("busybox-user", "shop/user:1").reference;
    let rules = "  - name: root\n    containers: {root: DenyUnlessUserNamespace}\n";
    let node = bare.guarded(&policy(OPEN, rules));
    let alone = in_user_namespace(&root, &node, false).expect_err("a container's own word");
    assert_eq!(alone.text(), ROOT);
    // containerd 1.6 does not know the field, so the sandbox that it made has none.
    let unmade = in_user_namespace(&root, &node, true).expect_err("not made");
    assert!(
        unmade.text().starts_with("POD-SANDBOX: sandbox `"),
        "{}",
        unmade.text()
    );
    node.run(&user, PullPolicy::IfNotPresent).expect("a number");
}
