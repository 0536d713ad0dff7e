//! Which runtime handler runs a sandbox.

use std::collections::BTreeMap;

/// The annotation by which a pod asks for the runtime `untrusted` without naming a handler
/// (containerd internal/cri/annotations, `GetSandboxRuntime`).
const UNTRUSTED_WORKLOAD: &str = "io.kubernetes.cri.untrusted-workload";
/// That runtime.
const UNTRUSTED: &str = "untrusted";

/// The handler that containerd takes for a sandbox that asks for `requested`; empty is still the
/// default one. containerd refuses the annotation beside any other handler.
pub(super) fn effective_handler(requested: &str, annotations: &BTreeMap<String, String>) -> String {
    let untrusted = annotations
        .get(UNTRUSTED_WORKLOAD)
        .is_some_and(|value| value == "true");
    if untrusted {
        UNTRUSTED.to_owned()
    } else {
        requested.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_annotation_of_containerd_picks_the_untrusted_runtime() {
        let with =
            |value: &str| BTreeMap::from([(UNTRUSTED_WORKLOAD.to_owned(), value.to_owned())]);
        assert_eq!(effective_handler("", &with("true")), "untrusted");
        assert_eq!(effective_handler("untrusted", &with("true")), "untrusted");
        for other in ["", "True", "1", "false"] {
            assert_eq!(effective_handler("", &with(other)), "", "{other}");
        }
        assert_eq!(effective_handler("kata", &BTreeMap::new()), "kata");
    }
}
