//! Limits in the real cgroup of a container: what its manifest says, what a policy fills in, and what a
//! resize in place makes of it.

use serde_json::json;

use crate::node::{HARDENED, Node, Pod, SOON};
use crate::support::{Api, until};

const MIB: u64 = 1024 * 1024;

/// A default and a maximum of memory beside [`HARDENED`].
const LIMITS: &str = r"
  - name: limits
    resources: {defaults: {memory: 64Mi}, maximum: {memory: 128Mi}}
";

#[test]
fn a_resize_in_place_reaches_the_cgroup_of_a_running_container() {
    let node = Node::start("cluster-resize");
    let app = node.push("app-one");
    let memory = |limit: &str| json!({"limits": {"memory": limit}, "requests": {"memory": limit}});
    node.add(&Pod::new("app", &app).container("resources", &memory("64Mi")));
    node.runs_as("app", "main", "1000");
    let before = node.cluster.api.wait_running("app", "main", SOON).id;
    assert_eq!(node.memory_limit("app", "main"), 64 * MIB);

    let resized = node.cluster.api.resize("app", &memory("96Mi"));
    resized.expect("the API server takes it");
    until("the limit is the new one", SOON, || {
        match node.memory_limit("app", "main") {
            limit if limit == 96 * MIB => Ok(()),
            limit => Err(format!("{limit}")),
        }
    });
    let after = node.cluster.api.wait_running("app", "main", SOON).id;
    assert_eq!(before, after, "it was not started again");
}

#[test]
fn a_default_of_the_policy_is_in_the_cgroup_and_a_limit_of_the_pod_stays() {
    let node = Node::with("cluster-defaults", &format!("{HARDENED}{LIMITS}"));
    let app = node.push("app-one");
    let own = json!({"limits": {"memory": "96Mi"}});
    node.add(&Pod::new("silent", &app));
    node.add(&Pod::new("spoken", &app).container("resources", &own));
    node.runs_as("silent", "main", "1000");
    assert_eq!(node.memory_limit("silent", "main"), 64 * MIB);
    assert_eq!(node.memory_limit("spoken", "main"), 96 * MIB);
}

#[test]
fn a_resize_in_place_over_the_maximum_is_refused_and_one_below_it_is_made() {
    let node = Node::with("cluster-maximum", &format!("{HARDENED}{LIMITS}"));
    let app = node.push("app-one");
    let memory = |limit: &str| json!({"limits": {"memory": limit}, "requests": {"memory": limit}});
    node.add(&Pod::new("app", &app).container("resources", &memory("64Mi")));
    node.runs_as("app", "main", "1000");

    let resized = node.cluster.api.resize("app", &memory("256Mi"));
    resized.expect("the API server takes it");
    until("the pod's status says why", SOON, || {
        let pod = node.cluster.api.get(&Api::core("pods/app"));
        let conditions = pod.expect("the pod is there")["status"]["conditions"].to_string();
        if conditions.contains("POD-RESOURCES lab/limits: container `main`") {
            Ok(())
        } else {
            Err(conditions)
        }
    });
    assert_eq!(node.memory_limit("app", "main"), 64 * MIB);

    let resized = node.cluster.api.resize("app", &memory("96Mi"));
    resized.expect("the API server takes it");
    until("the limit is the new one", SOON, || {
        match node.memory_limit("app", "main") {
            limit if limit == 96 * MIB => Ok(()),
            limit => Err(format!("{limit}")),
        }
    });
}
