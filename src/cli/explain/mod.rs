//! `pullguard explain`: what a denial code means, or what the policy says of manifests.

mod code;
mod files;
mod findings;
mod print;

use super::args::{ExplainArgs, Form};
use super::output::{Exit, Output};
use super::policy::{PolicyChoice, choose};

use crate::authoring::kubelet::{Claims, Found, Images, Manifest, Node, Source, read};
use crate::authoring::verdict::{Judge, judge};
use crate::image::Reference;
use crate::policy::{BootstrapEntry, NodeFacts, Policy};
use crate::report::printable;
use crate::settings::{self, Settings};

use findings::{ErrorFound, Findings, PodFound, PolicyFound, SCHEMA};

pub(crate) fn run(args: &ExplainArgs, output: &mut Output) -> Exit {
    if let Some(code) = &args.code {
        return code::run(code, output);
    }
    let (settings, choice) = match choose(&args.config, args.policy.as_deref()) {
        Ok(chosen) => chosen,
        Err((exit, why)) => {
            output.complain(&why);
            return exit;
        }
    };
    let Some(policy) = &choice.policy else {
        output.complain(&format!(
            "there is no policy: it comes from {}",
            choice.from
        ));
        return Exit::Unknown;
    };
    let options = match Options::of(args, &settings) {
        Ok(options) => options,
        Err(why) => {
            output.complain(&why);
            return Exit::Usage;
        }
    };
    let findings = look(args, &settings, &choice, policy, &options, output);
    report(args, &findings, output)
}

/// What the command line adds to the manifests.
struct Options {
    node: Node,
    /// Images and their USER.
    users: Vec<(Reference, String)>,
}

impl Options {
    fn of(args: &ExplainArgs, settings: &Settings) -> Result<Self, String> {
        let mut node = Node::new(&settings.node_name);
        node.kubelet_root = settings.kubelet_root.display().to_string();
        if args.static_pods {
            node.source = Source::File;
        }
        if args.trust_claims {
            node.claims = Claims::Volumes;
        }
        for pair in &args.runtime_class {
            let (class, handler) = pair
                .split_once('=')
                .ok_or_else(|| format!("--runtime-class {pair}: write it as NAME=HANDLER"))?;
            node.handlers.insert(class.to_owned(), handler.to_owned());
        }
        let mut users = Vec::new();
        for pair in &args.image_user {
            let (image, user) = pair
                .split_once('=')
                .ok_or_else(|| format!("--image-user {pair}: write it as IMAGE=USER"))?;
            let reference =
                Reference::parse(image).map_err(|error| format!("--image-user {pair}: {error}"))?;
            users.push((reference, user.to_owned()));
        }
        Ok(Self { node, users })
    }

    /// An image is told by what it means, not by how a pod spells it.
    fn images(&self, manifest: &Manifest) -> Images {
        let mut images = Images::default();
        for image in manifest.images() {
            let Ok(reference) = Reference::parse(image) else {
                continue;
            };
            let told = self.users.iter().find(|(own, _)| *own == reference);
            if let Some((_, user)) = told {
                images.users.insert(image.to_owned(), user.clone());
            }
        }
        images
    }
}

fn look(
    args: &ExplainArgs,
    settings: &Settings,
    choice: &PolicyChoice,
    policy: &Policy,
    options: &Options,
    output: &mut Output,
) -> Findings {
    let bootstrap: Vec<BootstrapEntry> = settings
        .bootstrap
        .iter()
        .chain(policy.bootstrap())
        .cloned()
        .collect();
    let facts = NodeFacts {
        cpu_quotas: settings.cpu_cfs_quota == settings::CpuQuota::Enforced,
        name: settings.node_name.clone(),
        labels: settings.labels.clone(),
        guarded_paths: settings::peek(&args.config, &settings::last_good_of(&args.config))
            .guarded_paths(&settings.listen),
    };
    let judging = Judge {
        policy,
        node: &facts,
        bootstrap: &bootstrap,
        now: crate::clock::now(),
    };
    let mut findings = Findings {
        schema: SCHEMA,
        policy: PolicyFound {
            from: choice.from.clone(),
            version: policy.short_version(),
        },
        pods: Vec::new(),
        errors: Vec::new(),
        others: 0,
    };
    files::each(&args.files, |file, text| {
        output.progress(&format!("reading {file}"));
        match text {
            Ok(text) => {
                let found = read(&text, &args.namespace);
                judge_file(file, &found, options, &judging, &mut findings);
            }
            Err(why) => findings.errors.push(ErrorFound::whole(file, why)),
        }
    });
    output.progress("");
    findings
}

fn judge_file(
    file: &str,
    found: &Found,
    options: &Options,
    judging: &Judge<'_>,
    findings: &mut Findings,
) {
    findings.others += found.others;
    let errors = found.errors.iter().map(|note| ErrorFound::new(file, note));
    findings.errors.extend(errors);
    for manifest in &found.manifests {
        let pod = judge(manifest, &options.node, &options.images(manifest), judging);
        findings.pods.push(PodFound::new(file, manifest, &pod));
    }
}

fn report(args: &ExplainArgs, findings: &Findings, output: &mut Output) -> Exit {
    for error in &findings.errors {
        output.complain(&printable(&error.to_string()));
    }
    if findings.pods.is_empty() && findings.errors.is_empty() {
        output.complain("these files make no pod; give files with Pods or workloads");
    }
    let printed = match args.output {
        Form::Json => output.json(findings),
        Form::Text => print::print(findings, output),
    };
    if printed == Exit::Ok {
        findings.exit()
    } else {
        printed
    }
}
