//! Requests as a real kubelet sends them: the pods of tests/recorded, translated (the suite
//! `kubelet_translation` holds the translation to what was recorded).

use std::fs;

use prost::Message as _;
use pullguard::authoring::kubelet::{Images, Node, read};

use crate::root;

/// Those that a target reads, as it reads them.
pub(crate) fn inputs(target: &str) -> Vec<Vec<u8>> {
    // The byte before a request: which call it is.
    let (sandbox, create): (Option<&[u8]>, &[u8]) = match target {
        "decide_everything" => (Some(&[1]), &[0]),
        "decode_request" => (Some(&[2]), &[9]),
        "plan_never_permits_unproven" => (None, &[]),
        _ => return Vec::new(),
    };
    let mut inputs = Vec::new();
    for directory in fs::read_dir(root().join("tests/recorded")).unwrap() {
        let pods = directory.unwrap().path().join("pods.json");
        let pods = fs::read_to_string(pods).unwrap();
        let node = Node::new("n");
        for manifest in read(&pods, "default").manifests {
            let Ok(calls) = manifest.translate(&node, &Images::default()) else {
                continue;
            };
            if let Some(first) = sandbox {
                inputs.push([first, &calls.sandbox.encode_to_vec()].concat());
            }
            let creates = calls.containers.iter();
            let creates = creates.filter_map(|calls| calls.create.as_ref().ok());
            inputs.extend(creates.map(|request| [create, &request.encode_to_vec()].concat()));
        }
    }
    assert!(inputs.len() > 20, "only {} requests", inputs.len());
    inputs
}
