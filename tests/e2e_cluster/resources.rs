//! Limits in the real cgroup of a container: what its manifest says, and what a resize in place makes
//! of it.

use serde_json::json;

use crate::node::{Node, Pod, SOON};
use crate::support::until;

const MIB: u64 = 1024 * 1024;

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
