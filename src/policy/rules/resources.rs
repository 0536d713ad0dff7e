//! `resources`: limits of memory and CPU. Pure.
//!
//! On the wire 0 is "not said". The unified keys of cgroup v2 override the typed fields. CPU is
//! judged and filled in only where the kubelet enforces quotas.

use super::Broken;
use crate::policy::Code;
use crate::policy::compile::{At, Notes, not_empty, shown};
use crate::policy::document::{AmountsDoc, QuantityDoc, ResourceName, ResourcesDoc};
use crate::policy::quantity;
use crate::policy::words::Text;
use crate::request::ResourceChange;

/// The period where the request names none, microseconds (the kernel's and the kubelet's).
const PERIOD: i64 = 100_000;
/// The smallest quota that the kernel takes, microseconds.
const LEAST_QUOTA: i64 = 1_000;
/// `cpu_quota` of a container without a limit whose CPUs are its own.
const UNLIMITED: i64 = -1;

/// The check, compiled: memory in bytes, CPU in thousandths.
#[derive(Clone, Debug)]
pub(crate) struct Resources {
    require: Vec<ResourceName>,
    defaults: Amounts,
    maximum: Amounts,
}

/// One amount per resource, where there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Bytes.
    pub memory: Option<i64>,
    /// Thousandths of a CPU.
    pub cpu: Option<i64>,
}

/// A limit as it is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// None: as much as there is.
    None,
    /// At most this.
    At(i64),
    /// CPUs of its own, which no quota cuts.
    Exclusive,
    /// Written in a way that cannot be read.
    Unreadable,
}

pub(super) fn compile(doc: &ResourcesDoc, notes: &mut Notes, at: &At) -> Resources {
    if *doc == ResourcesDoc::default() {
        notes.error(
            at,
            "`resources` judges nothing; add require, defaults or maximum".to_owned(),
        );
    }
    if let Some(list) = &doc.require {
        not_empty(list.len(), notes, &at.down(["require"]));
    }
    let defaults = amounts(doc.defaults.as_ref(), notes, &at.down(["defaults"]));
    let maximum = amounts(doc.maximum.as_ref(), notes, &at.down(["maximum"]));
    for (name, filled, most) in [
        ("memory", defaults.memory, maximum.memory),
        ("cpu", defaults.cpu, maximum.cpu),
    ] {
        if filled.zip(most).is_some_and(|(filled, most)| filled > most) {
            notes.error(
                &at.down(["defaults", name]),
                "the default is above the maximum, so no container without a limit could start"
                    .to_owned(),
            );
        }
    }
    Resources {
        require: doc.require.clone().unwrap_or_default(),
        defaults,
        maximum,
    }
}

fn amounts(doc: Option<&AmountsDoc>, notes: &mut Notes, at: &At) -> Amounts {
    let Some(doc) = doc else {
        return Amounts::default();
    };
    if *doc == AmountsDoc::default() {
        notes.error(at, "name an amount of memory or cpu".to_owned());
    }
    let mut read = |key: &str, doc: Option<&QuantityDoc>, read: Read| {
        let QuantityDoc(text) = doc?;
        match read(text) {
            Ok(amount) if amount > 0 => return Some(amount),
            Ok(_) => notes.error(&at.down([key]), "an amount is above zero".to_owned()),
            Err(error) => notes.error(&at.down([key]), format!("`{}` is {error}", shown(text))),
        }
        None
    };
    Amounts {
        memory: read("memory", doc.memory.as_ref(), bytes),
        cpu: read("cpu", doc.cpu.as_ref(), quantity::thousandths),
    }
}

/// A fraction of a byte is a slip (`512m` for `512Mi`), and no container starts with it.
fn bytes(text: &str) -> Result<i64, &'static str> {
    let bytes = quantity::units(text)?;
    if quantity::thousandths(text).is_ok_and(|exact| bytes.checked_mul(1_000) != Some(exact)) {
        return Err("no whole number of bytes; write it like 512Mi");
    }
    Ok(bytes)
}

type Read = fn(&str) -> Result<i64, &'static str>;

impl Amounts {
    /// For each resource the smaller of the two.
    pub(crate) fn least(self, other: Self) -> Self {
        let least = |left: Option<i64>, right: Option<i64>| match (left, right) {
            (Some(left), Some(right)) => Some(left.min(right)),
            (one, None) | (None, one) => one,
        };
        Self {
            memory: least(self.memory, other.memory),
            cpu: least(self.cpu, other.cpu),
        }
    }
}

impl Resources {
    /// What a container without a limit gets.
    pub(crate) fn defaults(&self) -> Amounts {
        self.defaults
    }

    /// Judges limits as a container is created with them, defaults filled in.
    pub(crate) fn judge(
        &self,
        container: &str,
        limits: &ResourceChange,
        quotas: bool,
        broken: &mut Vec<Broken>,
    ) {
        let memory = memory(limits);
        self.judge_one(
            ResourceName::Memory,
            container,
            memory,
            self.maximum.memory,
            broken,
        );
        if quotas {
            let cpu = cpu(limits, created_period(limits));
            self.judge_one(ResourceName::Cpu, container, cpu, self.maximum.cpu, broken);
        }
    }

    /// Judges an update: only what it says, because what it does not say stays as it is. Under a
    /// maximum a period alone cannot be told, nor a quota alone: what it is worth depends on what stays.
    pub(crate) fn judge_update(
        &self,
        container: &str,
        change: &ResourceChange,
        quotas: bool,
        broken: &mut Vec<Broken>,
    ) {
        let says_memory = change.memory_limit.is_some() || change.unified.contains_key(MEMORY_MAX);
        if says_memory {
            let limit = memory(change);
            self.judge_one(
                ResourceName::Memory,
                container,
                limit,
                self.maximum.memory,
                broken,
            );
        }
        let says_cpu = change.cpu_quota.is_some() || change.unified.contains_key(CPU_MAX);
        if quotas && says_cpu {
            // Without a maximum only whether there is a limit counts.
            let any = self.maximum.cpu.is_none().then_some(PERIOD);
            let limit = cpu(change, change.cpu_period.or(any));
            self.judge_one(
                ResourceName::Cpu,
                container,
                limit,
                self.maximum.cpu,
                broken,
            );
        } else if quotas && change.cpu_period.is_some() && self.maximum.cpu.is_some() {
            let limit = Limit::Unreadable;
            self.judge_one(ResourceName::Cpu, container, limit, None, broken);
        }
    }

    fn judge_one(
        &self,
        name: ResourceName,
        container: &str,
        limit: Limit,
        maximum: Option<i64>,
        broken: &mut Vec<Broken>,
    ) {
        let text = || Text::new().words("container ").value(container);
        let required = self.require.contains(&name);
        let (unit, missing) = match name {
            ResourceName::Memory => (" bytes of memory", " has no memory limit"),
            ResourceName::Cpu => (" thousandths of a CPU", " has no CPU limit"),
        };
        match (limit, maximum) {
            (Limit::Exclusive, _) => {}
            (Limit::Unreadable, _) => broken.push(Broken::Plain(
                Code::PodResources,
                text()
                    .words(" has a limit that cannot be read")
                    .advice("use resources.limits of the pod"),
            )),
            (Limit::None, None) if !required => {}
            (Limit::None, _) => broken.push(Broken::Plain(
                Code::PodResources,
                text().words(missing).advice(match name {
                    ResourceName::Memory => "set resources.limits.memory",
                    ResourceName::Cpu => "set resources.limits.cpu",
                }),
            )),
            (Limit::At(own), Some(most)) if own > most => broken.push(Broken::Plain(
                Code::PodResources,
                text()
                    .words(" may use ")
                    .value(&own.to_string())
                    .words(unit)
                    .words(", more than ")
                    .value(&most.to_string())
                    .advice("lower resources.limits"),
            )),
            (Limit::At(_), _) => {}
        }
    }
}

const MEMORY_MAX: &str = "memory.max";
const CPU_MAX: &str = "cpu.max";

fn memory(limits: &ResourceChange) -> Limit {
    match limits.unified.get(MEMORY_MAX).map(|text| text.trim()) {
        Some("max") => Limit::None,
        Some(text) => text.parse().map_or(Limit::Unreadable, Limit::At),
        None => match limits.memory_limit {
            Some(bytes) if bytes > 0 => Limit::At(bytes),
            Some(_) | None => Limit::None,
        },
    }
}

/// The period that a container is created with.
fn created_period(limits: &ResourceChange) -> Option<i64> {
    Some(limits.cpu_period.unwrap_or(PERIOD))
}

/// `period`: the one in force for a quota that comes without one, `None` if it cannot be told. The
/// kernel keeps it where `cpu.max` is written with one number (cgroup v2, cpu.max).
fn cpu(limits: &ResourceChange, period: Option<i64>) -> Limit {
    if let Some(text) = limits.unified.get(CPU_MAX) {
        let mut words = text.split_whitespace();
        let quota = words.next();
        let period = words
            .next()
            .map_or(Ok(period), |word| word.parse().map(Some));
        return match (quota, period, words.next()) {
            (Some("max"), Ok(_), None) => Limit::None,
            (Some(quota), Ok(period), None) => quota
                .parse()
                .map_or(Limit::Unreadable, |quota| share(quota, period)),
            _ => Limit::Unreadable,
        };
    }
    match limits.cpu_quota {
        Some(UNLIMITED) => Limit::Exclusive,
        Some(quota) if quota > 0 => share(quota, period),
        Some(_) | None => Limit::None,
    }
}

fn share(quota: i64, period: Option<i64>) -> Limit {
    let Some(period) = period.filter(|period| *period > 0 && quota >= 0) else {
        return Limit::Unreadable;
    };
    // Rounded up: what is a little more than the maximum is more.
    quota
        .checked_mul(1_000)
        .and_then(|all| all.checked_add(period - 1))
        .map_or(Limit::Unreadable, |all| Limit::At(all / period))
}

/// What is appended to a create whose container says no limit of its own: bytes of memory, and
/// microseconds of quota in the request's own period.
pub(crate) fn fill(limits: &ResourceChange, defaults: Amounts, quotas: bool) -> Amounts {
    let period = limits
        .cpu_period
        .filter(|period| *period > 0)
        .unwrap_or(PERIOD);
    // A number below zero is said too: that there is no limit.
    let says_memory = limits.memory_limit.is_some() || limits.unified.contains_key(MEMORY_MAX);
    let says_cpu = limits.cpu_quota.is_some() || limits.unified.contains_key(CPU_MAX);
    Amounts {
        memory: defaults.memory.filter(|_| !says_memory),
        cpu: defaults
            .cpu
            .filter(|_| quotas && !says_cpu)
            .map(|thousandths| {
                let quota = thousandths.saturating_mul(period) / 1_000;
                quota.max(LEAST_QUOTA)
            }),
    }
}
