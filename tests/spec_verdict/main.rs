//! From spec to verdict, as a property: random requests under random rules are judged by the
//! product and by a second reading of the same documents, clause by clause. They must say the same.
//!
//! Every case comes of a seed. A case that differs is made as small as it gets, by taking rules and
//! changes away one by one, and printed.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::tests_outside_test_module,
    reason = "a test says why it failed by panicking; integration tests have no test module"
)]

mod changes;
mod containers;
mod guard;
mod limits;
mod oracle;
mod picks;
mod random;
mod rule;
mod spec;
mod standards;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use pullguard::policy::{Code, Kind as CodeKind, Policy};

use changes::{CHANGES, TOGETHER};
use guard::{Answers, Said};
use oracle::{Broken, Call, Oracle};
use random::Random;
use rule::{Check, HOST_PATH, KINDS, POD_SECURITY, Rule};
use spec::{Spec, Step};

/// Policies, and requests under each.
const POLICIES: u64 = 1_000;
const REQUESTS: u64 = 48;

/// One case: rules by kind and seed, and changes to the plain request.
#[derive(Clone, Debug)]
struct Case {
    rules: Vec<(usize, u64)>,
    steps: Vec<Step>,
}

impl Case {
    fn rules(&self) -> Vec<Rule> {
        let rules = self.rules.iter();
        rules.map(|(kind, seed)| Rule::of(*kind, *seed)).collect()
    }
}

/// Rules that have much to say are asked more often.
fn rules_of(seed: u64) -> Vec<(usize, u64)> {
    let mut random = Random::new(seed);
    let many = 1 + random.below(6);
    let kind = |random: &mut Random| match random.below(10) {
        0..2 => POD_SECURITY,
        2 => HOST_PATH,
        _ => random.below(KINDS),
    };
    (0..many)
        .map(|_| (kind(&mut random), random.next()))
        .collect()
}

/// A third of all requests differs in anything, the others in fields that belong together.
fn steps_of(seed: u64) -> Vec<Step> {
    let mut random = Random::new(seed);
    let names: Vec<&str> = if random.once_in(3) {
        CHANGES.iter().map(|(name, _)| *name).collect()
    } else {
        let groups = [0; 2].map(|_| random.one(TOGETHER));
        groups.concat()
    };
    let many = random.below(8);
    (0..many)
        .map(|_| {
            let name = random.one(&names);
            let place = CHANGES.iter().position(|(own, _)| *own == name);
            Step {
                change: place.unwrap_or_else(|| panic!("no change is called {name}")),
                seed: random.next(),
            }
        })
        .collect()
}

/// Every case, policy by policy; `each` may stop.
fn cases(policies: u64, mut each: impl FnMut(&Case, &[Rule], &Policy)) {
    for seed in 0..policies {
        let mut case = Case {
            rules: rules_of(seed),
            steps: Vec::new(),
        };
        let rules = case.rules();
        let policy = guard::compile(&rules);
        for request in 0..REQUESTS {
            case.steps = steps_of((seed << 20) | request);
            each(&case, &rules, &policy);
        }
    }
}

#[test]
fn every_verdict_is_that_of_a_second_reading_of_the_rules() {
    let mut judged = 0_u64;
    // By kind of rule: how often it was broken, and how often kept.
    let mut seen: BTreeMap<&'static str, (u64, u64)> = BTreeMap::new();
    let mut differences: BTreeMap<String, String> = BTreeMap::new();
    cases(POLICIES, |case, rules, policy| {
        let spec = Spec::of(&case.steps);
        let answers = guard::answers(policy, &spec);
        judged += 1;
        for (index, rule) in rules.iter().enumerate() {
            let (broken, kept) = seen.entry(name(&rule.check)).or_default();
            let sides = [&answers.create, &answers.sandbox, &answers.update];
            if sides.iter().any(|said| said.broken.contains_key(&index)) {
                *broken += 1;
            } else {
                *kept += 1;
            }
        }
        if compare(&spec, rules, &answers, None).is_some() && differences.len() < 100 {
            let (class, shown) = smallest(case.clone());
            differences.entry(class).or_insert(shown);
        }
    });
    let shown: Vec<&str> = differences.values().map(String::as_str).collect();
    let many = differences.len();
    assert!(
        differences.is_empty(),
        "{many} kinds of difference in {judged} cases\n{}",
        shown.join("\n")
    );
    assert_eq!(judged, POLICIES * REQUESTS);
    assert_eq!(seen.len(), KINDS, "{seen:?}");
    for (rule, (broken, kept)) in seen {
        // Whether one may be entered is in no finding of a create.
        let told = rule == "exec" || broken > 100;
        assert!(told && kept > 100, "{rule}: broken {broken}, kept {kept}");
    }
}

/// The comparison is worth something only if it tells: an oracle that does not know one clause of
/// one sentence must be caught, whichever it is.
#[test]
fn an_oracle_that_does_not_know_one_clause_is_caught() {
    let mut caught: BTreeSet<&'static str> = BTreeSet::new();
    let mut known: BTreeSet<&'static str> = BTreeSet::new();
    cases(POLICIES, |case, rules, policy| {
        let spec = Spec::of(&case.steps);
        let held = held(&spec, rules);
        let unknown: Vec<_> = held.difference(&caught).copied().collect();
        known.extend(held);
        if unknown.is_empty() {
            return;
        }
        let answers = guard::answers(policy, &spec);
        for clause in unknown {
            if compare(&spec, rules, &answers, Some(clause)).is_some() {
                caught.insert(clause);
            }
        }
    });
    let missed: Vec<_> = known.difference(&caught).collect();
    assert!(missed.is_empty(), "nothing tells of {missed:?}");
    assert!(known.len() > 70, "only {} clauses", known.len());
}

/// Every clause that holds of a request.
fn held(spec: &Spec, rules: &[Rule]) -> BTreeSet<&'static str> {
    let mut held = BTreeSet::new();
    for call in [Call::Sandbox, Call::Create] {
        let oracle = Oracle::new(spec, call, None);
        oracle.broken(rules);
        oracle.filled(rules);
        oracle.update(rules);
        held.extend(oracle.held.into_inner());
    }
    held
}

/// Where the two readings part.
#[derive(Debug)]
struct Difference {
    place: &'static str,
    product: Broken,
    oracle: Broken,
    text: String,
}

impl Difference {
    /// What kind of difference it is: the rules that it is about.
    fn class(&self, rules: &[Rule]) -> String {
        let differs = |index: &usize| self.product.get(index) != self.oracle.get(index);
        let mut class = self.place.to_owned();
        for index in (0..rules.len()).filter(differs) {
            let rule = rules.get(index).unwrap();
            let codes = |side: &Broken| side.get(&index).cloned().unwrap_or_default();
            let (product, oracle) = (codes(&self.product), codes(&self.oracle));
            let more: Vec<&Code> = product.difference(&oracle).collect();
            let less: Vec<&Code> = oracle.difference(&product).collect();
            let name = name(&rule.check);
            write!(class, " {name} +{more:?} -{less:?}").unwrap();
        }
        class
    }
}

fn compare(
    spec: &Spec,
    rules: &[Rule],
    answers: &Answers,
    blind: Option<&'static str>,
) -> Option<Difference> {
    let create = Oracle::new(spec, Call::Create, blind);
    let differ = |place, said: &Said, oracle: Broken, text: String| Difference {
        place,
        product: said.broken.clone(),
        oracle,
        text,
    };
    for (place, call, said) in [
        ("RunPodSandbox", Call::Sandbox, &answers.sandbox),
        ("CreateContainer", Call::Create, &answers.create),
    ] {
        let broken = Oracle::new(spec, call, blind).broken(rules);
        if said.broken != broken {
            return Some(differ(place, said, broken, String::new()));
        }
        if let Some(text) = misnamed(said, &broken, rules) {
            return Some(differ(place, said, broken, text));
        }
    }
    let update: BTreeSet<usize> = create.update(rules).into_keys().collect();
    let broken: BTreeSet<usize> = answers.update.broken.keys().copied().collect();
    if update != broken {
        let codes = |index: &usize| (*index, [Code::PodResources].into());
        let oracle = update.iter().map(codes).collect();
        return Some(differ("update", &answers.update, oracle, String::new()));
    }
    let filled = create.filled(rules);
    if answers.create.denied.is_none() && answers.create.filled != filled {
        let text = format!("filled in {:?}, here {filled:?}", answers.create.filled);
        return Some(differ(
            "defaults",
            &answers.create,
            answers.create.broken.clone(),
            text,
        ));
    }
    let calls = [0, 1, 2].map(|which| create.enters(rules, which));
    (answers.calls != calls).then(|| {
        let text = format!("{:?}, here {calls:?}", answers.calls);
        differ(
            "calls",
            &answers.create,
            answers.create.broken.clone(),
            text,
        )
    })
}

/// A denial names an enforcing rule that is broken, and one that could not be told only where
/// nothing is definite.
fn misnamed(said: &Said, broken: &Broken, rules: &[Rule]) -> Option<String> {
    let enforcing = |index: &usize| rules.get(*index).unwrap().enforce;
    let counts: Vec<(usize, Code)> = broken
        .iter()
        .filter(|(index, _)| enforcing(index))
        .flat_map(|(index, codes)| codes.iter().map(|code| (*index, *code)))
        .collect();
    let definite = |(_, code): &(usize, Code)| code.kind() == CodeKind::Definite;
    let fits = match &said.denied {
        None => counts.is_empty(),
        Some(named) => counts.contains(named) && (definite(named) || !counts.iter().any(definite)),
    };
    (!fits).then(|| format!("the verdict names {:?} of {counts:?}", said.denied))
}

/// A case that still differs, and of which nothing can be taken away.
fn smallest(mut case: Case) -> (String, String) {
    let differs = |case: &Case| {
        let (rules, spec) = (case.rules(), Spec::of(&case.steps));
        let answers = guard::answers(&guard::compile(&rules), &spec);
        compare(&spec, &rules, &answers, None)
    };
    loop {
        let without = |index: usize| {
            let mut less = case.clone();
            if index < case.rules.len() {
                less.rules.remove(index);
            } else {
                less.steps.remove(index - case.rules.len());
            }
            less
        };
        let parts = case.rules.len() + case.steps.len();
        let mut smaller = (0..parts).map(without);
        let next = smaller.find(|less| !less.rules.is_empty() && differs(less).is_some());
        let Some(next) = next else {
            break;
        };
        case = next;
    }
    let difference = differs(&case).unwrap();
    let names: Vec<&str> = case
        .steps
        .iter()
        .map(|step| CHANGES.get(step.change).unwrap().0)
        .collect();
    let shown = format!(
        "== {}: the product says {:?}, the second reading {:?} {}\n{case:?}\n{}changes {names:?}\n{:?}\n",
        difference.place,
        difference.product,
        difference.oracle,
        difference.text,
        guard::yaml(&case.rules())
            .rsplit_once("rules:\n")
            .unwrap()
            .1,
        changed(&case),
    );
    (difference.class(&case.rules()), shown)
}

/// What of the request is not the plain one's.
fn changed(case: &Case) -> Vec<String> {
    let plain = format!("{:#?}", Spec::of(&[]));
    let plain: BTreeSet<&str> = plain.lines().map(str::trim).collect();
    let spec = format!("{:#?}", Spec::of(&case.steps));
    let lines = spec.lines().map(str::trim);
    lines
        .filter(|line| !plain.contains(line))
        .map(str::to_owned)
        .collect()
}

/// The key of a rule.
fn name(check: &Check) -> &'static str {
    match check {
        Check::Privileged => "privileged",
        Check::Root { .. } => "root",
        Check::HostPath(_) => "hostPath",
        Check::HostNamespaces(_) => "hostNamespaces",
        Check::HostPorts(_) => "hostPorts",
        Check::Capabilities { .. } => "capabilities",
        Check::NoNewPrivileges => "noNewPrivileges",
        Check::Seccomp(_) => "seccomp",
        Check::AppArmor(_) => "appArmor",
        Check::SeLinux(_) => "seLinux",
        Check::ProcMount => "procMount",
        Check::Propagation(_) => "propagation",
        Check::Sysctls(_) => "sysctls",
        Check::Groups { .. } => "groups",
        Check::Devices(_) => "devices",
        Check::Annotations(_) => "annotations",
        Check::RuntimeHandlers(_) => "runtimeHandlers",
        Check::LogDirectory => "logDirectory",
        Check::Volumes(_) => "volumes",
        Check::Calls(_) => "exec",
        Check::PodSecurity(_) => "podSecurity",
        Check::Resources { .. } => "resources",
    }
}
