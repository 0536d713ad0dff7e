//! The questions of `pullguard verify`, in the order in which the daemon would ask them.

use std::time::{Duration, Instant};

use super::super::args::VerifyArgs;
use super::super::output::{ExceptionFound, Output};
use super::super::policy::PolicyChoice;
use super::findings::{
    ConfigFound, ContainerdFound, Findings, HostAnswered, HostFound, Link, PolicyFound, RuleFound,
    SCHEMA, Verdict,
};
use crate::containerd::Containerd;
use crate::daemon::architecture;
use crate::guard::{Lead, bad_document, follow, registry_denial};
use crate::image::{Chain, Goal, ImageConfig, Links, Next, Platform, Reference};
use crate::policy::document::Action;
use crate::policy::{
    Basis, BootstrapEntry, Denial, Judgement, Kind, NoPolicy, NodeFacts, Pin, Policy, PullPlan,
    Resolution, RuleAnswer, SpokenRule, SpokenWhen, refused_reference,
};
use crate::registry::{
    HostAnswer, HostOutcome, HostRole, Registry, RegistryError, Resolved, Session,
};
use crate::report::printable;
use crate::request::{Pod, PodSource};
use crate::settings::Settings;

/// How long containerd may take to answer one question.
const ASK: Duration = Duration::from_secs(3);

/// Everything that is found out, the verdict last.
pub(super) async fn look(
    args: &VerifyArgs,
    settings: &Settings,
    judge: &PolicyChoice,
    output: &mut Output,
) -> Findings {
    let platform = Platform::linux(architecture(), "");
    let mut found = Findings {
        schema: SCHEMA,
        image: printable(&args.image).into_owned(),
        reference: None,
        namespace: printable(&args.namespace).into_owned(),
        verdict: Verdict::Undecided,
        code: None,
        why: String::new(),
        pinned: None,
        policy: PolicyFound {
            from: judge.from.clone(),
            version: judge.policy.as_ref().map(Policy::short_version),
        },
        rules: Vec::new(),
        hosts: Vec::new(),
        registry: None,
        digest: None,
        media_type: None,
        chain: Vec::new(),
        config: None,
        node_platform: platform.to_string(),
        containerd: None,
    };
    let reference = match Reference::parse(&args.image) {
        Ok(reference) => reference,
        Err(error) => {
            found.deny(&refused_reference(&args.image, &error));
            return found;
        }
    };
    found.reference = Some(reference.to_string());
    let bootstrap: Vec<BootstrapEntry> = settings
        .bootstrap
        .iter()
        .chain(
            judge
                .policy
                .as_ref()
                .map(Policy::bootstrap)
                .unwrap_or_default(),
        )
        .cloned()
        .collect();
    let pod = pod(&args.namespace);
    let node = NodeFacts {
        cpu_quotas: settings.cpu_cfs_quota == crate::settings::CpuQuota::Enforced,
        name: settings.node_name.clone(),
        labels: settings.labels.clone(),
        guarded_paths: Vec::new(),
    };
    let now = crate::clock::now();
    let plan = match &judge.policy {
        Some(policy) => policy.plan_pull(Some(&pod), None, &reference, &node, &bootstrap, now),
        None => NoPolicy.plan_pull(Some(&pod), &reference, &bootstrap),
    };
    let seen = ask_registry(
        settings, judge, &reference, &plan, &platform, &mut found, output,
    )
    .await;
    let digests = seen
        .as_ref()
        .ok()
        .and_then(Option::as_ref)
        .map(|found| found.digests.as_slice());
    if let Some(policy) = &judge.policy {
        let spoken = policy.spoken(&pod, &reference, &node, digests, now);
        found.rules = spoken.iter().map(rule).collect();
    }
    output.progress("asking containerd");
    found.containerd = Some(ask_containerd(settings, &reference, &found).await);
    // The daemon asks the registry only where the plan hangs on a digest; else its failure is
    // containerd's to meet, and a finding here.
    let hangs = plan.definite().is_ok() && (plan.needs_digest() || plan.pins());
    match &seen {
        Err(denial) if hangs => found.deny(denial),
        seen => {
            found.registry = seen.as_ref().err().map(Denial::line);
            let resolution = seen.as_ref().ok().and_then(Option::as_ref);
            let resolution = resolution.filter(|_| hangs || plan.would_rather_pin());
            found.judge(&reference, &plan.conclude(resolution));
        }
    }
    found
}

/// The pod that would use the image: of the API server, without labels.
fn pod(namespace: &str) -> Pod {
    Pod {
        namespace: namespace.to_owned(),
        name: "verify".to_owned(),
        uid: String::new(),
        source: PodSource::Api,
        labels: std::collections::BTreeMap::new(),
        config_seen: String::new(),
    }
}

/// What the reference means; `None` where policy denies before any packet is sent.
async fn ask_registry(
    settings: &Settings,
    judge: &PolicyChoice,
    reference: &Reference,
    plan: &PullPlan<'_>,
    platform: &Platform,
    found: &mut Findings,
    output: &mut Output,
) -> Result<Option<Resolution>, Denial> {
    let registry = Registry::new(settings.registry.clone(), settings.limits.clone());
    let until = Instant::now() + settings.limits.pull_budget;
    let denied = |error: &RegistryError| registry_denial(reference, error);
    let mut session = registry
        .open(reference.repository(), None, until)
        .await
        .map_err(|error| denied(&error))?;
    // A registry that policy does not allow gets no packet, from here no more than from the daemon.
    if judge.policy.is_some() && plan.definite().is_err() {
        found.hosts = session.hosts().iter().map(host).collect();
        return Ok(None);
    }
    let trace = session
        .trace(reference, |url| output.progress(&format!("asking {url}")))
        .await;
    found.hosts = trace.hosts.iter().map(host).collect();
    let first = trace.result.map_err(|error| denied(&error))?;
    found.digest = Some(first.digest.to_string());
    found.media_type = Some(printable(&first.media_type).into_owned());
    output.progress("following the chain");
    let links = walk(&mut session, settings, reference, platform, first, found).await?;
    read_config(&mut session, settings, reference, &links, found).await?;
    let mut resolution = Resolution::from(links.digests());
    for digest in plan.asked() {
        match follow(
            &mut session,
            *digest,
            links.id(),
            platform,
            &settings.limits,
        )
        .await
        {
            Lead::There(kin) => resolution.kin.extend(kin.digests()),
            Lead::Elsewhere | Lead::NotHeld => resolution.apart.push(*digest),
            Lead::Open => {}
        }
    }
    Ok(Some(resolution))
}

async fn walk(
    session: &mut Session<'_>,
    settings: &Settings,
    reference: &Reference,
    platform: &Platform,
    first: Resolved,
    found: &mut Findings,
) -> Result<Links, Denial> {
    let media = Some(first.media_type.as_str()).filter(|text| !text.is_empty());
    let mut chain = Chain::start(first.digest, media, Goal::Pick, platform, &settings.limits);
    let mut sizes = vec![(first.digest, first.bytes.len())];
    chain.supply(&first.bytes);
    let links = loop {
        match chain.next() {
            Next::Done(links) => break links,
            Next::Broken(error) => return Err(bad_document(reference, &error.to_string())),
            Next::Need { digest, .. } => {
                let child = session.fetch_manifest(&digest).await;
                let child = child.map_err(|error| registry_denial(reference, &error))?;
                sizes.push((child.digest, child.bytes.len()));
                chain.supply(&child.bytes);
            }
        }
    };
    let size = |digest| {
        let known = sizes.iter().find(|(one, _)| one == digest);
        known.map_or(0, |(_, size)| *size)
    };
    for digest in links.digests() {
        found.chain.push(Link {
            kind: if digest == links.manifest() {
                "manifest"
            } else {
                "index"
            },
            digest: digest.to_string(),
            bytes: size(digest),
        });
    }
    Ok(links)
}

async fn read_config(
    session: &mut Session<'_>,
    settings: &Settings,
    reference: &Reference,
    links: &Links,
    found: &mut Findings,
) -> Result<(), Denial> {
    let id = links.id();
    let max = settings.limits.max_manifest_bytes;
    let bytes = session.fetch_blob(id.digest(), max).await;
    let bytes = bytes.map_err(|error| registry_denial(reference, &error))?;
    found.chain.push(Link {
        kind: "config",
        digest: id.digest().to_string(),
        bytes: bytes.len(),
    });
    let config = ImageConfig::parse(id, &bytes, &settings.limits)
        .map_err(|error| bad_document(reference, &error.to_string()))?;
    found.config = Some(ConfigFound {
        id: id.digest().to_string(),
        platform: printable(&config.platform().to_string()).into_owned(),
        user: printable(config.user()).into_owned(),
        layers: config.diff_ids().len(),
        labels: config.labels().len(),
    });
    Ok(())
}

async fn ask_containerd(
    settings: &Settings,
    reference: &Reference,
    found: &Findings,
) -> ContainerdFound {
    let mut answer = ContainerdFound {
        socket: settings.upstream.display().to_string(),
        answer: "away",
        id: None,
        digest: None,
        same_image: None,
        text: None,
    };
    let name = reference.to_string();
    let asked = async {
        let containerd = Containerd::new(
            &settings.upstream,
            &settings.containerd_namespace,
            &settings.limits,
        )?;
        let image = containerd.image_status(&name, ASK).await?;
        let target = containerd.image_target(&name, ASK).await?;
        Ok::<_, crate::containerd::ContainerdError>((image, target))
    };
    match asked.await {
        Err(error) => answer.text = Some(printable(&error.to_string()).into_owned()),
        Ok((None, _)) => answer.answer = "absent",
        Ok((Some(image), target)) => {
            answer.answer = "has";
            answer.id = Some(image.id.to_string());
            answer.digest = target.map(|target| target.digest.to_string());
            let config = found.config.as_ref();
            answer.same_image = config.map(|config| Some(&config.id) == answer.id.as_ref());
        }
    }
    answer
}

impl Findings {
    fn deny(&mut self, denial: &Denial) {
        self.verdict = match denial.code().kind() {
            Kind::Definite => Verdict::Denied,
            Kind::Undecided => Verdict::Undecided,
        };
        self.code = Some(denial.code().as_str());
        self.why = denial.line();
    }

    fn judge(&mut self, reference: &Reference, judgement: &Judgement) {
        match &judgement.verdict {
            Err(denial) => self.deny(denial),
            Ok(allowed) => {
                self.verdict = Verdict::Allowed;
                self.why = match allowed.basis {
                    Basis::Rules => "no enforcing rule is broken by the image",
                    Basis::Bootstrap => "it is on the bootstrap list",
                    Basis::NoPolicy => "there is no policy yet",
                }
                .to_owned();
                self.pinned = match allowed.pin {
                    Pin::No => None,
                    Pin::Digest(digest) => Some(reference.with_digest(digest).to_string()),
                };
            }
        }
    }
}

fn rule(spoken: &SpokenRule) -> RuleFound {
    let (answer, code, text) = match &spoken.answer {
        RuleAnswer::Holds => ("holds", None, None),
        RuleAnswer::Open => ("open", None, None),
        RuleAnswer::AtCreate => ("at-create", None, None),
        RuleAnswer::Broken { code, line } => ("broken", Some(code.as_str()), Some(line.clone())),
        RuleAnswer::Waived { code, line, .. } => {
            ("waived", Some(code.as_str()), Some(line.clone()))
        }
    };
    RuleFound {
        policy: spoken.policy.clone(),
        rule: spoken.rule.clone(),
        action: match spoken.action {
            Action::Enforce => "Enforce",
            Action::Audit => "Audit",
            Action::Warn => "Warn",
        },
        asks: spoken.asks,
        when: match spoken.when {
            SpokenWhen::Always => "always",
            SpokenWhen::SomeHandlers => "some-handlers",
        },
        answer,
        code,
        text,
        exception: match &spoken.answer {
            RuleAnswer::Waived { waived, .. } => Some(ExceptionFound::from(waived)),
            RuleAnswer::Holds
            | RuleAnswer::Open
            | RuleAnswer::AtCreate
            | RuleAnswer::Broken { .. } => None,
        },
    }
}

fn host(answer: &HostAnswer) -> HostFound {
    let (answered, digest, text) = match &answer.outcome {
        HostOutcome::Answered(resolved) => {
            (HostAnswered::Found, Some(resolved.digest.to_string()), None)
        }
        HostOutcome::NotAsked => (HostAnswered::NotAsked, None, None),
        HostOutcome::Failed(error) => {
            let answered = match error {
                RegistryError::NotFound => HostAnswered::NotFound,
                RegistryError::Refused => HostAnswered::Refused,
                RegistryError::Unreachable { .. } => HostAnswered::Unreachable,
                RegistryError::Bad { .. } => HostAnswered::Bad,
                RegistryError::Unsupported { .. } => HostAnswered::Unsupported,
            };
            (
                answered,
                None,
                Some(printable(&error.to_string()).into_owned()),
            )
        }
    };
    HostFound {
        url: printable(&answer.url).into_owned(),
        role: match answer.role {
            HostRole::Own => "registry",
            HostRole::Mirror => "mirror",
        },
        answer: answered,
        authenticated: answer.authenticated,
        digest,
        text,
    }
}
