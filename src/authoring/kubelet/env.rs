//! Environment variables, and the `$(NAME)` of commands, arguments and sub-paths. Pure.

use std::collections::BTreeMap;

use super::fields::Fields;
use super::node::Node;
use super::spec::Pod;

/// `envFrom`: every key of a ConfigMap or Secret, which only the cluster knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EnvFrom;

/// One variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EnvVar {
    pub(crate) name: String,
    pub(crate) value: EnvValue,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EnvValue {
    Text(String),
    /// A field of the pod.
    Field(String),
    /// A ConfigMap or a Secret.
    Object,
    /// A file of a volume, or the node's resources.
    Elsewhere,
}

/// A container's environment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    /// In the order of the request; `None` is known only to the cluster.
    pub(crate) variables: Vec<(String, Option<String>)>,
    /// Whether variables may be missing: `envFrom`.
    pub(crate) open: bool,
}

pub(crate) fn read_env_from(mut fields: Fields<'_>) -> EnvFrom {
    fields.skip(&["prefix", "configMapRef", "secretRef"]);
    fields.close();
    EnvFrom
}

pub(crate) fn read_env(mut fields: Fields<'_>) -> EnvVar {
    let name = fields.needed("name");
    let text = fields.text("value");
    let value = match fields.object("valueFrom") {
        Some(source) if text.is_empty() => read_source(source),
        Some(_) | None => EnvValue::Text(text),
    };
    fields.close();
    EnvVar { name, value }
}

fn read_source(mut fields: Fields<'_>) -> EnvValue {
    let value = match fields.object("fieldRef") {
        Some(mut field) => {
            let path = field.needed("fieldPath");
            field.skip(&["apiVersion"]);
            field.close();
            EnvValue::Field(path)
        }
        None if fields.has("configMapKeyRef") || fields.has("secretKeyRef") => EnvValue::Object,
        None => EnvValue::Elsewhere,
    };
    fields.skip(&[
        "resourceFieldRef",
        "configMapKeyRef",
        "secretKeyRef",
        "fileKeyRef",
    ]);
    fields.close();
    value
}

/// The environment of a container, in the order in which its variables are declared.
pub(crate) fn environment(pod: &Pod, env: &[EnvVar], from: &[EnvFrom], node: &Node) -> Environment {
    let mut known: BTreeMap<&str, Option<String>> = BTreeMap::new();
    let mut environment = Environment {
        variables: Vec::new(),
        open: !from.is_empty(),
    };
    for variable in env {
        let value = match &variable.value {
            EnvValue::Text(text) => expand(text, &|name| {
                known
                    .get(name)
                    .map_or(Named::NotThere, |value| match value {
                        Some(value) => Named::Value(value.clone()),
                        None => Named::Elsewhere,
                    })
            }),
            EnvValue::Field(path) => field(pod, path, node),
            EnvValue::Object | EnvValue::Elsewhere => None,
        };
        known.insert(&variable.name, value.clone());
        environment
            .variables
            .retain(|(name, _)| *name != variable.name);
        environment.variables.push((variable.name.clone(), value));
    }
    environment
}

/// What a name in `$(NAME)` stands for.
pub(crate) enum Named {
    Value(String),
    /// The cluster knows.
    Elsewhere,
    NotThere,
}

impl Environment {
    pub(crate) fn look_up(&self, name: &str) -> Named {
        match self.variables.iter().find(|(own, _)| own == name) {
            Some((_, Some(value))) => Named::Value(value.clone()),
            Some((_, None)) => Named::Elsewhere,
            None if self.open => Named::Elsewhere,
            None => Named::NotThere,
        }
    }
}

/// A text with every `$(NAME)` replaced; `$$` is a dollar sign, and a name that is not there stays
/// as it is written. `None` where a value is known only to the cluster.
pub(crate) fn expand(text: &str, look_up: &impl Fn(&str) -> Named) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let inner = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        let Some((name, after)) = inner else {
            out.push('$');
            continue;
        };
        match look_up(name) {
            Named::Value(value) => out.push_str(&value),
            Named::Elsewhere => return None,
            Named::NotThere => {
                out.push_str("$(");
                out.push_str(name);
                out.push(')');
            }
        }
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

fn field(pod: &Pod, path: &str, node: &Node) -> Option<String> {
    let keyed = |prefix: &str, words: &BTreeMap<String, String>| {
        let key = path.strip_prefix(prefix)?.strip_suffix("']")?;
        Some(words.get(key).cloned().unwrap_or_default())
    };
    match path {
        "metadata.name" => Some(pod.name.clone()),
        "metadata.namespace" => Some(pod.namespace.clone()),
        "metadata.uid" => Some(node.uid.clone()),
        "spec.nodeName" => Some(node.name.clone()),
        "spec.serviceAccountName" => Some(pod.spec.service_account.clone()),
        // Addresses are given when the pod runs.
        _ => keyed("metadata.labels['", &pod.labels)
            .or_else(|| keyed("metadata.annotations['", &pod.annotations)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Named, expand};

    #[test]
    fn names_are_replaced_and_what_is_no_name_stays() {
        let look_up = |name: &str| match name {
            "A" => Named::Value("one".to_owned()),
            "S" => Named::Elsewhere,
            _ => Named::NotThere,
        };
        for (text, expected) in [
            ("x$(A)y", Some("xoney")),
            ("$$(A)", Some("$(A)")),
            ("$(B)", Some("$(B)")),
            ("$(A", Some("$(A")),
            ("a$b$", Some("a$b$")),
            ("$(S)", None),
        ] {
            assert_eq!(expand(text, &look_up).as_deref(), expected, "{text}");
        }
    }
}
