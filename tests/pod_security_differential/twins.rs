//! One pod that every level lets in, and the ways in which another may differ from it.

use serde_json::{Value, json};

/// The USER of the image, unless a twin has another.
const NUMBER: &str = "1000";

/// What `podSecurity` and the library are asked about: a control, and pods that keep or break it.
pub(crate) struct Control {
    pub(crate) name: &'static str,
    /// What the library calls it.
    pub(crate) reasons: &'static [&'static str],
    /// Codes by which the guard denies it.
    pub(crate) codes: &'static [&'static str],
    pub(crate) fails: Vec<Twin>,
    pub(crate) passes: Vec<Twin>,
}

/// A pod that differs from the plain one.
pub(crate) struct Twin {
    pub(crate) name: &'static str,
    change: Change,
    /// The USER of its image.
    pub(crate) user: &'static str,
}

enum Change {
    /// Laid over the whole pod.
    Pod(Value),
    /// Laid over one container, whichever it is.
    Container(Value),
    /// A volume of this source, mounted by one container.
    Volume(Value, Value),
}

/// Which container differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Only,
    Second,
    Init,
    Sidecar,
    Ephemeral,
}

impl Place {
    pub(crate) const ALL: [Self; 5] = [
        Self::Only,
        Self::Second,
        Self::Init,
        Self::Sidecar,
        Self::Ephemeral,
    ];
}

pub(crate) fn spec(name: &'static str, patch: Value) -> Twin {
    twin(name, Change::Pod(json!({ "spec": patch })))
}

pub(crate) fn annotated(name: &'static str, key: &str, value: &str) -> Twin {
    let patch = json!({"metadata": {"annotations": {key: value}}});
    twin(name, Change::Pod(patch))
}

pub(crate) fn container(name: &'static str, patch: Value) -> Twin {
    twin(name, Change::Container(patch))
}

pub(crate) fn security(name: &'static str, patch: Value) -> Twin {
    container(name, json!({ "securityContext": patch }))
}

pub(crate) fn volume(name: &'static str, source: Value) -> Twin {
    twin(name, Change::Volume(source, json!({})))
}

pub(crate) fn sub_path(name: &'static str, source: Value) -> Twin {
    twin(name, Change::Volume(source, json!({"subPath": "below"})))
}

fn twin(name: &'static str, change: Change) -> Twin {
    Twin {
        name,
        change,
        user: NUMBER,
    }
}

impl Twin {
    /// The same with an image of this USER.
    pub(crate) fn of_user(self, user: &'static str) -> Self {
        Self { user, ..self }
    }

    /// The containers that may be the one that differs.
    pub(crate) fn places(&self) -> &'static [Place] {
        const ALL: [Place; 5] = Place::ALL;
        match self.change {
            Change::Pod(_) => &[Place::Only],
            Change::Container(_) | Change::Volume(..) => &ALL,
        }
    }

    /// The pod, of which the container at `place` differs.
    pub(crate) fn pod(&self, place: Place) -> Value {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "pod", "namespace": "shop"},
            "spec": {
                "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [plain("c")],
            },
        });
        let differs = match &self.change {
            Change::Pod(patch) => {
                lay_over(&mut pod, patch);
                return pod;
            }
            Change::Container(patch) => patch.clone(),
            Change::Volume(source, mount) => {
                let mut volume = json!({"name": "v"});
                lay_over(&mut volume, source);
                pod["spec"]["volumes"] = json!([volume]);
                let mut at = json!({"name": "v", "mountPath": "/v"});
                lay_over(&mut at, mount);
                json!({ "volumeMounts": [at] })
            }
        };
        let mut one = plain(if place == Place::Only { "c" } else { "d" });
        lay_over(&mut one, &differs);
        let spec = &mut pod["spec"];
        match place {
            Place::Only => spec["containers"] = json!([one]),
            Place::Second => spec["containers"] = json!([plain("c"), one]),
            Place::Init => spec["initContainers"] = json!([one]),
            Place::Sidecar => {
                one["restartPolicy"] = json!("Always");
                spec["initContainers"] = json!([one]);
            }
            Place::Ephemeral => spec["ephemeralContainers"] = json!([one]),
        }
        pod
    }
}

/// A container that keeps every control.
pub(crate) fn plain(name: &str) -> Value {
    json!({
        "name": name, "image": IMAGE,
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
    })
}

/// The image of every container.
pub(crate) const IMAGE: &str = "registry.example.com/shop/app:1";

/// RFC 7386: objects are laid over each other, null takes away.
fn lay_over(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().expect("an object").remove(key);
        } else {
            lay_over(&mut target[key], value);
        }
    }
}
