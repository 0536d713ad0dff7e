//! A second reading of the rules, clause by clause as docs/policy.md says them, of the CRI messages
//! themselves. It knows nothing of how the product reads either.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use pullguard::policy::Code;

use crate::rule::{Check, Rule};
use crate::spec::{IMAGE, Spec};

/// Which call is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Sandbox,
    Create,
}

/// What rules are broken, by their place, and by which codes.
pub(crate) type Broken = BTreeMap<usize, BTreeSet<Code>>;

/// Judges one call.
pub(crate) struct Oracle<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) call: Call,
    /// The clause that this oracle does not know.
    pub(crate) blind: Option<&'static str>,
    /// Clauses that held.
    pub(crate) held: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Oracle<'a> {
    pub(crate) fn new(spec: &'a Spec, call: Call, blind: Option<&'static str>) -> Self {
        Self {
            spec,
            call,
            blind,
            held: RefCell::default(),
        }
    }

    pub(crate) fn broken(&self, rules: &[Rule]) -> Broken {
        let mut broken = Broken::new();
        for (index, rule) in rules.iter().enumerate() {
            let codes = self.rule(rule, rules);
            if !codes.is_empty() {
                broken.insert(index, codes);
            }
        }
        broken
    }

    /// A clause of a sentence: whether it holds here.
    pub(crate) fn clause(&self, name: &'static str, holds: bool) -> bool {
        if holds {
            self.held.borrow_mut().insert(name);
        }
        holds && self.blind != Some(name)
    }

    fn rule(&self, rule: &Rule, rules: &[Rule]) -> BTreeSet<Code> {
        let by_image = rule.images.is_some();
        match rule.images {
            // "A rule with images is judged for each container when it is created."
            Some(_) if self.call == Call::Sandbox => return BTreeSet::new(),
            Some(pattern) if !self.image_is(pattern) => return BTreeSet::new(),
            Some(_) | None => {}
        }
        let own = self.call == Call::Create;
        let one = |code: Code, broken: bool| {
            let mut codes = BTreeSet::new();
            if broken {
                codes.insert(code);
            }
            codes
        };
        match &rule.check {
            Check::Privileged => one(Code::PodPrivileged, self.privileged(by_image)),
            Check::Root { user_namespace } => one(Code::PodRoot, own && self.root(*user_namespace)),
            Check::HostPath(entries) if own => self.host_path(entries.as_deref()),
            Check::Volumes(types) if own => self.volumes(types),
            Check::HostPath(_) | Check::Volumes(_) => BTreeSet::new(),
            Check::HostNamespaces(list) => one(
                Code::PodHostNamespace,
                self.host_namespaces(list.as_deref().unwrap_or_default()),
            ),
            Check::HostPorts(ranges) => one(
                Code::PodHostPort,
                self.host_ports(ranges.as_deref().unwrap_or_default()),
            ),
            Check::Capabilities { add, drop } => one(
                Code::PodCapability,
                own && self.capabilities(add.as_deref(), drop.as_deref()),
            ),
            Check::NoNewPrivileges => one(
                Code::PodEscalation,
                own && self.clause("noNewPrivileges", !self.spec.security().no_new_privs),
            ),
            Check::Seccomp(kinds) => one(Code::PodSeccomp, own && self.seccomp(kinds)),
            Check::AppArmor(kinds) => one(Code::PodApparmor, own && self.app_armor(kinds)),
            Check::SeLinux(types) => one(Code::PodSelinux, self.se_linux(types, by_image)),
            Check::ProcMount => one(Code::PodProcMount, own && self.proc_mount()),
            Check::Propagation(kinds) => {
                let mounts = &self.spec.container().mounts;
                let other = mounts
                    .iter()
                    .any(|mount| !kinds.contains(&mount.propagation));
                one(
                    Code::PodPropagation,
                    own && self.clause("propagation", other),
                )
            }
            Check::Sysctls(list) => one(
                Code::PodSysctl,
                self.sysctls(list.as_deref().unwrap_or_default()),
            ),
            Check::Groups { all } => one(Code::PodGroup, own && self.groups(*all)),
            Check::Devices(lists) => {
                let (paths, names) = match lists {
                    None => (None, None),
                    Some((paths, names)) => (paths.as_deref(), names.as_deref()),
                };
                let (paths, names) = (paths.unwrap_or_default(), names.unwrap_or_default());
                one(Code::PodDevice, own && self.devices(paths, names))
            }
            Check::Annotations(patterns) => one(Code::PodAnnotation, self.annotations(patterns)),
            Check::RuntimeHandlers(list) => {
                let other = !list.contains(&self.spec.handler.as_str());
                one(
                    Code::PodRuntimeHandler,
                    self.clause("runtimeHandlers", other),
                )
            }
            Check::LogDirectory => one(Code::PodLogPath, self.log_directory()),
            Check::Calls(_) => BTreeSet::new(),
            Check::PodSecurity(standard) => self.standard(standard, by_image),
            Check::Resources {
                require, maximum, ..
            } => one(
                Code::PodResources,
                own && self.resources(rule, require, maximum, rules),
            ),
        }
    }

    /// `exec`, `execSync`, `checkpoint`: a checkpoint needs a rule that allows it.
    pub(crate) fn enters(&self, rules: &[Rule], which: usize) -> Option<Code> {
        let said: Vec<bool> = rules
            .iter()
            .filter(|rule| rule.enforce)
            .filter_map(|rule| {
                if let Check::Calls(calls) = &rule.check {
                    *calls.get(which)?
                } else {
                    None
                }
            })
            .collect();
        if said.contains(&false) {
            return Some(Code::PodExec);
        }
        (which == 2 && said.is_empty()).then_some(Code::RpcRefused)
    }

    /// Whether the container's image is one of these repositories.
    pub(crate) fn image_is(&self, pattern: &str) -> bool {
        let image = self.spec.container().image.as_ref().unwrap();
        let written = image.user_specified_image.as_str();
        let repository = written.rsplit_once(':').unwrap().0;
        match pattern {
            "registry.example.com/**" => repository.starts_with("registry.example.com/"),
            "registry.example.com/pay/**" => IMAGE == written,
            "registry.example.com/agent" => repository == pattern,
            "docker.io/library/*" => repository == "docker.io/library/nginx",
            other => panic!("no such pattern: {other}"),
        }
    }
}
