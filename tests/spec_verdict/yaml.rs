//! How a rule is written in a policy's YAML.

use crate::rule::{Check, Entry, Limits, Rule, Standard, Waiver};

impl Rule {
    /// One entry of `rules`.
    pub(crate) fn yaml(&self, name: &str) -> String {
        let action = if self.enforce { "Enforce" } else { "Audit" };
        let images = self
            .images
            .map_or(String::new(), |images| format!("images: [\"{images}\"], "));
        format!(
            "{{name: {name}, action: {action}, {images}{}}}",
            self.check.yaml()
        )
    }
}

impl Check {
    fn yaml(&self) -> String {
        match self {
            Self::Privileged => containers("privileged: Deny"),
            Self::Root {
                user_namespace: true,
            } => containers("root: DenyUnlessUserNamespace"),
            Self::Root {
                user_namespace: false,
            } => containers("root: Deny"),
            Self::HostPath(entries) => {
                let entries = entries.as_ref().map(|list| {
                    let list = list.iter().map(Entry::yaml).collect::<Vec<_>>();
                    format!("[{}]", list.join(", "))
                });
                allow("hostPath", entries)
            }
            Self::HostNamespaces(list) => allow("hostNamespaces", list.as_deref().map(quoted)),
            Self::HostPorts(list) => {
                let range = |(from, to): &(i32, i32)| {
                    if from == to {
                        format!("\"{from}\"")
                    } else {
                        format!("\"{from}-{to}\"")
                    }
                };
                let list = list.as_ref().map(|list| {
                    let list: Vec<String> = list.iter().map(range).collect();
                    format!("[{}]", list.join(", "))
                });
                allow("hostPorts", list)
            }
            Self::Capabilities { add, drop } => {
                let keys = [("allowAdd", add), ("requireDrop", drop)];
                containers(&format!("capabilities: {}", keyed(&keys)))
            }
            Self::NoNewPrivileges => containers("noNewPrivileges: Require"),
            Self::Seccomp(kinds) => containers(&format!("seccomp: {{allow: {kinds:?}}}")),
            Self::AppArmor(kinds) => containers(&format!("appArmor: {{allow: {kinds:?}}}")),
            Self::SeLinux(types) => {
                containers(&format!("seLinux: {{allowTypes: {}}}", quoted(types)))
            }
            Self::ProcMount => containers("procMount: Masked"),
            Self::Propagation(kinds) => {
                let kinds: Vec<&str> = kinds.iter().map(|kind| propagation(*kind)).collect();
                containers(&format!("propagation: {{allow: {}}}", quoted(&kinds)))
            }
            Self::Sysctls(list) => allow("sysctls", list.as_deref().map(quoted)),
            Self::Groups { all } => {
                let which = if *all { "All" } else { "Supplemental" };
                containers(&format!("groups: {{denyZero: {which}}}"))
            }
            Self::Devices(None) => containers("devices: Deny"),
            Self::Devices(Some((paths, names))) => {
                let keys = [("allow", paths), ("cdi", names)];
                containers(&format!("devices: {}", keyed(&keys)))
            }
            Self::Annotations(keys) => {
                containers(&format!("annotations: {{deny: {}}}", quoted(keys)))
            }
            Self::RuntimeHandlers(list) => {
                containers(&format!("runtimeHandlers: {{allow: {}}}", quoted(list)))
            }
            Self::LogDirectory => containers("logDirectory: Pod"),
            Self::Volumes(types) => containers(&format!("volumes: {{allow: {}}}", quoted(types))),
            Self::Calls(calls) => {
                let keys = ["exec", "execSync", "checkpoint"].iter().zip(calls);
                let said = keys.filter_map(|(key, call)| {
                    let word = if (*call)? { "Allow" } else { "Deny" };
                    Some(format!("{key}: {word}"))
                });
                containers(&said.collect::<Vec<_>>().join(", "))
            }
            Self::PodSecurity(standard) => standard.yaml(),
            Self::Resources {
                require,
                defaults,
                maximum,
            } => {
                let mut keys = Vec::new();
                if !require.is_empty() {
                    keys.push(format!("require: {}", quoted(require)));
                }
                for (key, limits) in [("defaults", defaults), ("maximum", maximum)] {
                    keys.extend(limits.yaml().map(|limits| format!("{key}: {limits}")));
                }
                format!("resources: {{{}}}", keys.join(", "))
            }
        }
    }
}

impl Entry {
    fn yaml(&self) -> String {
        format!(
            "{{{}: {}, readOnly: {}, propagation: {}}}",
            if self.prefix { "prefix" } else { "path" },
            self.path,
            self.read_only,
            propagation(self.propagation)
        )
    }
}

impl Limits {
    pub(crate) fn yaml(&self) -> Option<String> {
        let keys = [("memory", self.memory), ("cpu", self.cpu)];
        let said: Vec<String> = keys
            .iter()
            .filter_map(|(key, amount)| Some(format!("{key}: {}", (*amount)?.0)))
            .collect();
        (!said.is_empty()).then(|| format!("{{{}}}", said.join(", ")))
    }
}

impl Standard {
    fn yaml(&self) -> String {
        let level = if self.restricted {
            "restricted"
        } else {
            "baseline"
        };
        let version = match self.version {
            u32::MAX => "latest".to_owned(),
            minor => format!("v1.{minor}"),
        };
        let mut keys = format!("level: {level}, version: {version}");
        let waivers: Vec<String> = self.exclude.iter().map(Waiver::yaml).collect();
        if !waivers.is_empty() {
            keys.push_str(&format!(", exclude: [{}]", waivers.join(", ")));
        }
        if !self.exempt.is_empty() {
            keys.push_str(&format!(
                ", exempt: {{namespaces: {}}}",
                quoted(&self.exempt)
            ));
        }
        format!("podSecurity: {{{keys}}}")
    }
}

impl Waiver {
    fn yaml(&self) -> String {
        let mut keys = format!("control: {}", self.control);
        for (key, list) in [("images", &self.images), ("values", &self.values)] {
            if let Some(list) = list {
                keys.push_str(&format!(", {key}: {}", quoted(list)));
            }
        }
        format!("{{{keys}}}")
    }
}

fn containers(key: &str) -> String {
    format!("containers: {{{key}}}")
}

fn allow(key: &str, list: Option<String>) -> String {
    match list {
        None => containers(&format!("{key}: Deny")),
        Some(list) => containers(&format!("{key}: {{allow: {list}}}")),
    }
}

fn quoted(list: &[&str]) -> String {
    format!("{list:?}")
}

fn keyed(keys: &[(&str, &Option<Vec<&str>>)]) -> String {
    let said: Vec<String> = keys
        .iter()
        .filter_map(|(key, list)| Some(format!("{key}: {}", quoted(list.as_ref()?))))
        .collect();
    format!("{{{}}}", said.join(", "))
}

fn propagation(kind: i32) -> &'static str {
    ["None", "HostToContainer", "Bidirectional"]
        .get(usize::try_from(kind).unwrap())
        .unwrap()
}
