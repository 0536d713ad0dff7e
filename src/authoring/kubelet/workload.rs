//! Documents of a file → the pods that they make. Pure.

use super::fields::{Fields, Note, Notes};
use super::spec::{Pod, read_pod};
use super::tree::{self, Node as TreeNode};

/// A pod that a file makes.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The kind of the object that makes it: `Pod`, `Deployment`.
    pub kind: String,
    /// Where the object begins; 0 where it cannot be told.
    pub line: u64,
    /// Keys that this translation does not know: a request may look different.
    pub untranslated: Vec<Note>,
    pub(crate) pod: Pod,
}

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Its pods, in its order.
    pub manifests: Vec<Manifest>,
    /// What cannot be used, with what to do.
    pub errors: Vec<Note>,
    /// Objects that make no pods.
    pub others: usize,
}

/// Kinds whose objects make pods by a template, with their group and where the template stands.
const TEMPLATES: &[(&str, &str, &[&str])] = &[
    ("apps/", "DaemonSet", &["spec", "template"]),
    ("apps/", "Deployment", &["spec", "template"]),
    ("apps/", "ReplicaSet", &["spec", "template"]),
    ("apps/", "StatefulSet", &["spec", "template"]),
    (
        "batch/",
        "CronJob",
        &["spec", "jobTemplate", "spec", "template"],
    ),
    ("batch/", "Job", &["spec", "template"]),
    ("v1", "PodTemplate", &["template"]),
    ("v1", "ReplicationController", &["spec", "template"]),
];

/// The pods of a file in YAML (any number of documents) or JSON; lists are opened. `namespace` is
/// for objects that name none.
pub fn read(text: &str, namespace: &str) -> Found {
    let mut found = Found::default();
    match tree::parse(text) {
        Ok(documents) => {
            for document in &documents {
                object(document, "", None, namespace, &mut found);
            }
        }
        Err(error) => found.errors.push(Note {
            line: error.line,
            path: String::new(),
            text: format!("is no YAML: {}", error.text),
        }),
    }
    found
}

/// What an item of a list is where it does not say so itself: version and kind.
type Implied<'a> = Option<(&'a str, &'a str)>;

fn object(node: &TreeNode, path: &str, implied: Implied<'_>, namespace: &str, found: &mut Found) {
    let notes = Notes::default();
    if let Some(fields) = Fields::open(node, path, &notes) {
        known(node, fields, implied, namespace, found, &notes);
    }
    found.errors.extend(notes.errors.into_inner());
}

fn known(
    node: &TreeNode,
    mut fields: Fields<'_>,
    implied: Implied<'_>,
    namespace: &str,
    found: &mut Found,
    notes: &Notes,
) {
    let mut version = fields.text("apiVersion");
    let mut kind = fields.text("kind");
    if let (Some((implied_version, implied_kind)), true, true) =
        (implied, version.is_empty(), kind.is_empty())
    {
        implied_version.clone_into(&mut version);
        implied_kind.clone_into(&mut kind);
    }
    if version.is_empty() || kind.is_empty() {
        fields.refuse(
            "",
            "has no apiVersion or no kind, so it is no object of Kubernetes; leave it out",
        );
        return;
    }
    if let Some(of) = kind.strip_suffix("List")
        && fields.has("items")
    {
        let implied = (!of.is_empty()).then_some((version.as_str(), of));
        list(&mut fields, implied, namespace, found);
        return;
    }
    let pod = pod_of(node, fields, &version, &kind, namespace, found);
    let usable = notes.errors.borrow().is_empty();
    if let Some(pod) = pod.filter(|_| usable) {
        found.manifests.push(Manifest {
            kind,
            line: node.referenced.line(),
            untranslated: notes.unknown.take(),
            pod,
        });
    }
}

/// The pod that an object makes, if it makes one.
fn pod_of(
    node: &TreeNode,
    mut fields: Fields<'_>,
    version: &str,
    kind: &str,
    namespace: &str,
    found: &mut Found,
) -> Option<Pod> {
    let template = TEMPLATES
        .iter()
        .find(|(group, name, _)| *name == kind && version.starts_with(group));
    match template {
        _ if kind == "Pod" && version == "v1" => {
            let pod = read_pod_of(&mut fields, namespace);
            fields.skip(&["status"]);
            fields.close();
            Some(pod)
        }
        Some((_, _, steps)) => of_template(fields, steps, namespace),
        None if makes_pods(node, version) => {
            let text = format!(
                "`{kind}` of `{version}` makes pods in a way that is not translated; give the pods themselves"
            );
            fields.refuse("", text);
            None
        }
        None => {
            found.others += 1;
            None
        }
    }
}

fn list(fields: &mut Fields<'_>, implied: Implied<'_>, namespace: &str, found: &mut Found) {
    let items = fields.node("items").map(|items| &items.value);
    if let Some(tree::Value::List(items)) = items {
        for (index, item) in items.iter().enumerate() {
            let path = format!("items[{index}]");
            object(item, &path, implied, namespace, found);
        }
    }
}

/// Whether an object of an unknown kind holds a pod template, however deep. What a policy says of
/// templates is none.
fn makes_pods(node: &TreeNode, version: &str) -> bool {
    !version.contains("kyverno.io/") && holds_template(&node.value)
}

fn holds_template(value: &tree::Value) -> bool {
    match value {
        tree::Value::Map(entries) => entries.iter().any(|(key, inner)| {
            let is_one = key.to_ascii_lowercase().ends_with("template") && is_template(inner);
            is_one || holds_template(&inner.value)
        }),
        tree::Value::List(items) => items.iter().any(|item| holds_template(&item.value)),
        tree::Value::Null
        | tree::Value::Flag(_)
        | tree::Value::Number(_)
        | tree::Value::Text(_) => false,
    }
}

fn is_template(node: &TreeNode) -> bool {
    let spec = entry(&node.value, "spec");
    let containers = spec.and_then(|spec| entry(spec, "containers"));
    matches!(containers, Some(tree::Value::List(_)))
}

fn entry<'a>(value: &'a tree::Value, name: &str) -> Option<&'a tree::Value> {
    let tree::Value::Map(entries) = value else {
        return None;
    };
    let found = entries.iter().find(|(key, _)| key == name);
    found.map(|(_, inner)| &inner.value)
}

fn read_pod_of(fields: &mut Fields<'_>, namespace: &str) -> Pod {
    let mut pod = read_pod(fields, None);
    if pod.name.is_empty() {
        pod.name = format!("{}00000", pod.generate_name);
    }
    if pod.namespace.is_empty() {
        namespace.clone_into(&mut pod.namespace);
    }
    pod
}

/// Names that the cluster would make end in letters of chance; here they are the owner's.
fn of_template(mut fields: Fields<'_>, steps: &[&str], namespace: &str) -> Option<Pod> {
    let (mut name, mut space) = (String::new(), String::new());
    if let Some(mut metadata) = fields.object("metadata") {
        name = metadata.text("name");
        space = metadata.text("namespace");
    }
    if space.is_empty() {
        namespace.clone_into(&mut space);
    }
    let mut inner = fields;
    for step in steps {
        match inner.object(step) {
            Some(next) => inner = next,
            None => {
                inner.refuse(step, "is missing");
                return None;
            }
        }
    }
    let pod = read_pod(&mut inner, Some((&name, &space)));
    inner.close();
    Some(pod)
}
