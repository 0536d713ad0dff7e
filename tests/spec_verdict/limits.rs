//! `resources` as docs/policy.md says it: what is filled in, and what is then judged.

use std::collections::BTreeMap;

use pullguard::api::runtime_v1::LinuxContainerResources;

use crate::oracle::Oracle;
use crate::rule::{Amount, Check, Limits, Rule};

/// A limit: bytes; or microseconds of CPU, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    Unsaid,
    None,
    Bytes(i64),
    Cpu(i64, i64),
    /// A container with CPUs of its own.
    LeftAlone,
}

impl Limit {
    fn is_absent(self) -> bool {
        matches!(self, Self::Unsaid | Self::None)
    }

    /// "a container without a limit is above any maximum"
    fn is_above(self, maximum: i64) -> bool {
        match self {
            Self::Unsaid | Self::None => true,
            Self::Bytes(bytes) => bytes > maximum,
            Self::Cpu(quota, period) => quota * 1_000 > maximum * period,
            Self::LeftAlone => false,
        }
    }
}

/// The period of a new container, in microseconds.
fn period(resources: &LinuxContainerResources) -> i64 {
    match resources.cpu_period {
        0 => 100_000,
        period => period,
    }
}

/// What so many thousandths of a CPU are in the request's period; the kernel takes no less than a
/// millisecond.
fn quota(thousandths: i64, resources: &LinuxContainerResources) -> i64 {
    (thousandths * period(resources) / 1_000).max(1_000)
}

impl Oracle<'_> {
    pub(crate) fn resources(
        &self,
        rule: &Rule,
        require: &[&str],
        maximum: &Limits,
        rules: &[Rule],
    ) -> bool {
        // "An Audit or Warn rule … is judged on the request as it came with its own defaults."
        let (memory, cpu) = if rule.enforce {
            self.fills(rules)
        } else {
            self.fills(std::slice::from_ref(rule))
        };
        let resources = self.spec.resources();
        let own = self.memory(resources);
        let memory = memory
            .filter(|_| own == Limit::Unsaid)
            .map_or(own, Limit::Bytes);
        let required = require.contains(&"memory") && memory.is_absent();
        if self.clause("resources: require memory", required)
            || self.is_over("resources: maximum of memory", memory, maximum.memory)
        {
            return true;
        }
        if !self.spec.quotas {
            return false;
        }
        let own = self.cpu(resources);
        let cpu = cpu
            .filter(|_| own == Limit::Unsaid)
            .map_or(own, |thousandths| {
                Limit::Cpu(quota(thousandths, resources), period(resources))
            });
        let required = require.contains(&"cpu") && cpu.is_absent();
        self.clause("resources: require cpu", required)
            || self.is_over("resources: maximum of cpu", cpu, maximum.cpu)
    }

    fn is_over(&self, name: &'static str, limit: Limit, maximum: Option<Amount>) -> bool {
        let over = maximum.is_some_and(|(_, maximum)| limit.is_above(maximum));
        self.clause(name, over)
    }

    /// What enforcing rules fill in: bytes, and microseconds of quota.
    pub(crate) fn filled(&self, rules: &[Rule]) -> (Option<i64>, Option<i64>) {
        let enforcing: Vec<Rule> = rules.iter().filter(|rule| rule.enforce).cloned().collect();
        let (memory, cpu) = self.fills(&enforcing);
        let resources = self.spec.resources();
        let unsaid = |limit: Limit| limit == Limit::Unsaid;
        let quotas = self.spec.quotas;
        (
            memory.filter(|_| unsaid(self.memory(resources))),
            cpu.filter(|_| unsaid(self.cpu(resources)) && quotas)
                .map(|thousandths| quota(thousandths, resources)),
        )
    }

    /// "of several defaults the smallest is taken"
    fn fills(&self, rules: &[Rule]) -> (Option<i64>, Option<i64>) {
        let one = rules.len() == 1;
        let speaks = |rule: &&Rule| {
            (rule.enforce || one) && rule.images.is_none_or(|pattern| self.image_is(pattern))
        };
        let defaults = rules.iter().filter(speaks).filter_map(|rule| {
            if let Check::Resources { defaults, .. } = &rule.check {
                Some(defaults)
            } else {
                None
            }
        });
        let defaults: Vec<&Limits> = defaults.collect();
        let least = |of: fn(&Limits) -> Option<Amount>| {
            let amounts = defaults.iter().filter_map(|limits| of(limits));
            amounts.map(|(_, worth)| worth).min()
        };
        (least(|limits| limits.memory), least(|limits| limits.cpu))
    }

    fn memory(&self, resources: &LinuxContainerResources) -> Limit {
        // "override the typed fields, as they do in the kernel"
        match resources.unified.get("memory.max").map(String::as_str) {
            Some("max") if self.clause("resources: unified memory", true) => Limit::None,
            Some(bytes) if self.clause("resources: unified memory", bytes != "max") => {
                Limit::Bytes(bytes.parse().unwrap())
            }
            Some(_) | None => match resources.memory_limit_in_bytes {
                0 => Limit::Unsaid,
                -1 => Limit::None,
                bytes => Limit::Bytes(bytes),
            },
        }
    }

    fn cpu(&self, resources: &LinuxContainerResources) -> Limit {
        let period = period(resources);
        let unified = resources.unified.get("cpu.max");
        if self.clause("resources: unified cpu", unified.is_some()) {
            let numbers: Vec<&str> = unified.unwrap().split(' ').collect();
            return match numbers.as_slice() {
                ["max"] | ["max", _] => Limit::None,
                [quota] => Limit::Cpu(quota.parse().unwrap(), period),
                [quota, period] => Limit::Cpu(quota.parse().unwrap(), period.parse().unwrap()),
                other => panic!("no such cpu.max: {other:?}"),
            };
        }
        match resources.cpu_quota {
            0 => Limit::Unsaid,
            -1 => Limit::LeftAlone,
            quota => Limit::Cpu(quota, period),
        }
    }

    /// UpdateContainerResources: "only what it sets is judged".
    pub(crate) fn update(&self, rules: &[Rule]) -> BTreeMap<usize, bool> {
        let mut broken = BTreeMap::new();
        for (index, rule) in rules.iter().enumerate() {
            if let Check::Resources {
                require, maximum, ..
            } = &rule.check
                && self.update_breaks(require, maximum)
            {
                broken.insert(index, true);
            }
        }
        broken
    }

    fn update_breaks(&self, require: &[&str], maximum: &Limits) -> bool {
        let change = &self.spec.update;
        let memory = self.memory(change);
        let takes_away = require.contains(&"memory") && memory == Limit::None;
        if self.clause("update: takes a required limit of memory away", takes_away) {
            return true;
        }
        if memory != Limit::Unsaid && self.is_over("update: memory", memory, maximum.memory) {
            return true;
        }
        if !self.spec.quotas {
            return false;
        }
        let unified = change.unified.get("cpu.max");
        let cpu = self.cpu(change);
        let takes_away = require.contains(&"cpu") && cpu == Limit::None;
        if self.clause("update: takes a required limit of cpu away", takes_away) {
            return true;
        }
        if maximum.cpu.is_none() {
            return false;
        }
        let quota_alone = match unified {
            Some(text) => !text.contains(' ') && text != "max" && change.cpu_period == 0,
            None => change.cpu_quota > 0 && change.cpu_period == 0,
        };
        let period_alone = unified.is_none() && change.cpu_quota == 0 && change.cpu_period != 0;
        self.clause("update: a quota alone", quota_alone)
            || self.clause("update: a period alone", period_alone)
            || cpu != Limit::Unsaid && self.is_over("update: cpu", cpu, maximum.cpu)
    }
}
