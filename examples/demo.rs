//! `make demo`: a real containerd, a real registry and the guard between them and a CRI client.
//! Says of each step what was asked, what became of it, and the text that a person would see.
//! Ends with an error if a step did not go as told.
#![expect(
    clippy::print_stdout,
    clippy::panic,
    reason = "a demonstration prints, and stops where its laboratory breaks"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;
use support::cri::{FOREVER, PullPolicy, Refused, Started};
use support::messages::{ContainerConfig, Mount, PodSandboxConfig};
use support::wait::try_until;
use support::{Containerd, Cri, Guard, GuardSettings, Lab, Pushed, Registry, until};

/// Where a denial's text is broken for reading. Only spaces are, so that it can be searched for.
const COLUMNS: usize = 96;

fn main() -> ExitCode {
    let lab = Lab::new("demo");
    let (done, ended) = tokio::sync::oneshot::channel();
    let shown = lab.clone();
    std::thread::spawn(move || done.send(show(shown)));
    let waiting = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(waiting) = waiting else {
        return ExitCode::FAILURE;
    };
    waiting.block_on(async {
        tokio::select! {
            // A step that panicked sends nothing.
            code = ended => code.unwrap_or(ExitCode::FAILURE),
            _ = tokio::signal::ctrl_c() => {
                // What the other thread meets while its parts are taken away is nobody's business.
                std::panic::set_hook(Box::new(|_| {}));
                lab.abandon();
                println!("\nstopped; everything that was started is gone");
                ExitCode::from(130)
            }
        }
    })
}

/// The demonstration; its parts end with it.
fn show(lab: Lab) -> ExitCode {
    let registry = Registry::start_open(&lab);
    let containerd = Containerd::v1_6(&lab, &registry);
    Guard::write_policy(&lab, "demo.yaml", &policy(&registry));
    let mut settings = GuardSettings::new(&lab, &containerd);
    settings.bootstrap(&["kube-system"], &containerd.pause().pinned());
    let guard = Guard::start(&lab, &settings);
    let mut demo = Demo {
        cri: guard.cri(),
        guard: &guard,
        colour: std::io::stdout().is_terminal(),
        surprises: Vec::new(),
    };

    guard.wait_active();
    demo.title(&registry, &lab);
    let app = registry.push("app-one", "shop/app:1");
    demo.images(&registry, &app);
    demo.pods(&registry, &app);
    demo.attacks(&registry, &containerd, &app);
    demo.status();
    demo.end()
}

/// What the demonstration enforces: images from one repository only, pinned, and nothing with power over the host.
fn policy(registry: &Registry) -> String {
    let host = registry.host();
    format!(
        r#"apiVersion: pullguard.io/v1alpha1
kind: PolicySet
metadata: {{name: demo}}
spec:
  audience: demo
  unmatched: {{pods: Allow, images: Deny}}
---
apiVersion: pullguard.io/v1alpha1
kind: NodePolicy
metadata: {{name: demo}}
spec:
  rules:
  - name: registries
    registries: {{allow: ["{host}/shop/**"]}}
  - name: pinned
    images: ["{host}/shop/**"]
    digest: Pin
  - name: host
    containers: {{privileged: Deny, root: Deny, hostPath: Deny, hostNamespaces: Deny}}
"#
    )
}

/// What a step should come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// The container runs.
    Runs,
    /// A call is refused with this code.
    Denied(&'static str),
}

struct Demo<'g> {
    cri: Cri,
    guard: &'g Guard,
    colour: bool,
    surprises: Vec<String>,
}

impl Demo<'_> {
    fn title(&self, registry: &Registry, lab: &Lab) {
        let version = self.cri.version().unwrap_or_default();
        println!(
            "pullguard between a CRI client and {} {}, with a registry at {}",
            version.runtime_name,
            version.runtime_version,
            registry.host()
        );
        println!(
            "all of it real, on loopback, below {}; gone at the end, or with Ctrl-C",
            lab.root().display()
        );
        println!(
            "the policy: images only from {}/shop, pinned to",
            registry.host()
        );
        println!(
            "the digest that is judged; no privilege, no root, no host path, no host namespace"
        );
    }

    fn images(&mut self, registry: &Registry, app: &Pushed) {
        self.heading("images");
        self.pod(
            "an image by digest, from the allowed repository",
            &app.pinned(),
            Expect::Runs,
            |_, _| {},
        );
        let web = registry.push("app-one", "shop/web:1");
        let started = self.pod("an image by tag", &web.reference, Expect::Runs, |_, _| {});
        self.show_pin(&web.reference, &web.pinned());
        if let Some(started) = started {
            self.show_uid(&started, "1000");
        }
        let by_tag: Vec<String> = registry
            .settled_requests()
            .into_iter()
            .filter(|line| line.contains("/v2/shop/web/manifests/1 "))
            .filter(|line| line.contains("\"containerd/"))
            .collect();
        self.check(
            "containerd itself never asked what the tag means",
            by_tag.is_empty(),
            &by_tag.join(" "),
        );
        let other = registry.push("app-two", "other/app:1");
        self.pod(
            "an image from another repository",
            &other.reference,
            Expect::Denied("REG-DENIED"),
            |_, _| {},
        );
        let id = image_id(&self.cri, &web.reference);
        self.pod(
            "an image by its bare ID",
            &id,
            Expect::Denied("REF-INVALID"),
            |_, _| {},
        );
    }

    fn pods(&mut self, registry: &Registry, app: &Pushed) {
        self.heading("pods");
        let image = app.reference.clone();
        self.pod(
            "a privileged container",
            &image,
            Expect::Denied("POD-PRIVILEGED"),
            |sandbox, container| {
                security(container).privileged = true;
                sandbox_security(sandbox).privileged = true;
            },
        );
        let root = registry.push("busybox", "shop/root:1");
        self.pod(
            "a container that runs as root",
            &root.reference,
            Expect::Denied("POD-ROOT"),
            |_, _| {},
        );
        self.pod(
            "a hostPath volume of /etc",
            &image,
            Expect::Denied("POD-HOSTPATH"),
            |_, container| {
                container.mounts.push(Mount {
                    container_path: "/host".to_owned(),
                    host_path: "/etc".to_owned(),
                    readonly: true,
                    ..Mount::default()
                });
            },
        );
        self.pod(
            "the host's network",
            &image,
            Expect::Denied("POD-HOST-NAMESPACE"),
            |sandbox, container| {
                sandbox.hostname.clear();
                sandbox_security(sandbox)
                    .namespace_options
                    .get_or_insert_default()
                    .network = 2;
                security(container)
                    .namespace_options
                    .get_or_insert_default()
                    .network = 2;
            },
        );
    }

    fn attacks(&mut self, registry: &Registry, containerd: &Containerd, app: &Pushed) {
        self.heading("names that lie");
        let moved = registry.retag("other/app:1", "shop/app:1");
        let pinned = self.pod(
            "the tag was moved in the registry; a pod that names the digest",
            &app.pinned(),
            Expect::Runs,
            |_, _| {},
        );
        if let Some(started) = pinned {
            self.show_build(&started, "one");
        }
        let again = self.step(
            "the pod names the tag, and pulls always: what it means now is judged anew",
            &app.reference,
            PullPolicy::Always,
            Expect::Runs,
            |_, _| {},
        );
        self.show_pin(&app.reference, &moved.pinned());
        if let Some(started) = again {
            self.show_build(&started, "two");
        }

        // Content from outside the allowlist, brought here past the guard, under an allowed name.
        let clean = registry.push("app-one", "shop/app:2");
        self.pod("a second tag", &clean.reference, Expect::Runs, |_, _| {});
        let foreign = format!("{}/other/app:1", registry.host());
        containerd.ctr(&["images", "pull", "--plain-http", &foreign]);
        containerd.ctr(&["images", "tag", "--force", &foreign, &clean.reference]);
        let foreign_id = image_id(&containerd.cri(), &foreign);
        // containerd's CRI hears of ctr's work a moment later.
        until("the tag is re-pointed", Duration::from_secs(20), || {
            let now = image_id(&containerd.cri(), &clean.reference);
            if now == foreign_id { Ok(()) } else { Err(now) }
        });
        self.pod(
            "`ctr` re-pointed that tag on the node to content from elsewhere",
            &clean.reference,
            Expect::Denied("IMG-UNPROVEN"),
            |_, _| {},
        );
        let mended = self.step(
            "a pull through the guard gives the tag its own image back",
            &clean.reference,
            PullPolicy::Always,
            Expect::Runs,
            |_, _| {},
        );
        if let Some(started) = mended {
            self.show_build(&started, "one");
        }
        self.pod(
            "the foreign image's ID under the allowed name",
            &clean.reference,
            Expect::Denied("IMG-UNPROVEN"),
            |_, container| {
                container.image.get_or_insert_default().image = foreign_id;
            },
        );
    }

    fn status(&mut self) {
        self.heading("pullguard status");
        let output = self.guard.command(&["status"]);
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            println!("  {line}");
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        self.check(
            "status says that the policy is active (exit code 0)",
            output.status.success(),
            said.trim(),
        );
    }

    fn end(self) -> ExitCode {
        if self.surprises.is_empty() {
            println!("\nevery step went as told");
            return ExitCode::SUCCESS;
        }
        println!("\nnot as told:");
        for surprise in &self.surprises {
            println!("  {surprise}");
        }
        ExitCode::FAILURE
    }

    /// A step with `imagePullPolicy: IfNotPresent`.
    fn pod(
        &mut self,
        asked: &str,
        image: &str,
        expect: Expect,
        change: impl FnOnce(&mut PodSandboxConfig, &mut ContainerConfig),
    ) -> Option<Started> {
        self.step(asked, image, PullPolicy::IfNotPresent, expect, change)
    }

    /// One step: starts a pod as a kubelet would, prints what became of it, and compares it with the expectation.
    fn step(
        &mut self,
        asked: &str,
        image: &str,
        policy: PullPolicy,
        expect: Expect,
        change: impl FnOnce(&mut PodSandboxConfig, &mut ContainerConfig),
    ) -> Option<Started> {
        let result = self.cri.run_with("demo", image, &FOREVER, policy, change);
        self.line(asked, &result);
        let as_told = match (&result, expect) {
            (Ok(_), Expect::Runs) => true,
            (Err(refused), Expect::Denied(code)) => refused.code() == code,
            (Ok(_), Expect::Denied(_)) | (Err(_), Expect::Runs) => false,
        };
        if !as_told {
            self.surprises.push(format!("{asked}: expected {expect:?}"));
        }
        result.ok()
    }

    fn line(&self, asked: &str, result: &Result<Started, Refused>) {
        let (verdict, colour, detail) = match result {
            Ok(started) => (
                "ALLOWED",
                "32",
                format!(
                    "container {} runs",
                    started.container.get(..12).unwrap_or_default()
                ),
            ),
            Err(refused) => (
                "DENIED",
                "31",
                format!("{} answers: {}", refused.call, refused.text()),
            ),
        };
        println!("  {} {asked}", self.paint(&format!("{verdict:7}"), colour));
        for line in wrapped(&detail) {
            println!("          {line}");
        }
    }

    /// The digest that the audit log says a pull was pinned to.
    fn show_pin(&mut self, image: &str, expected: &str) {
        let wanted = format!("pin {expected}");
        let found = try_until(Duration::from_secs(10), || {
            let lines = self.guard.audit();
            let lines = lines
                .iter()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let edits: Vec<String> = lines
                .filter(|line| {
                    line.pointer("/image/ref")
                        .is_some_and(|named| named == image)
                })
                .filter_map(|line| line.get("edit")?.as_str().map(str::to_owned))
                .collect();
            if edits.contains(&wanted) {
                Ok(())
            } else {
                Err(format!("{edits:?}"))
            }
        });
        match found {
            Ok(()) => println!("          {} {expected}", self.paint("PINNED", "36")),
            Err(edits) => self.check("the audit log holds the pin", false, &edits),
        }
    }

    fn heading(&self, text: &str) {
        println!("\n{}", self.paint(text, "1"));
    }

    fn paint(&self, text: &str, colour: &str) -> String {
        if self.colour {
            format!("\u{1b}[{colour}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    fn show_uid(&mut self, started: &Started, expected: &str) {
        let uid = self
            .cri
            .exec(&started.container, &["id", "-u"])
            .map_or_else(|status| status.to_string(), |output| output.stdout);
        self.check(
            &format!("`id -u` inside prints {expected}, the image's USER"),
            uid.trim() == expected,
            uid.trim(),
        );
    }

    fn show_build(&mut self, started: &Started, expected: &str) {
        let build = self
            .cri
            .exec(&started.container, &["cat", "/build"])
            .map_or_else(|status| status.to_string(), |output| output.stdout);
        self.check(
            &format!("the build that runs is `{expected}`"),
            build.trim() == expected,
            build.trim(),
        );
    }

    fn check(&mut self, claim: &str, holds: bool, detail: &str) {
        println!(
            "          {} {claim}",
            if holds { "ok:" } else { "NOT SO:" }
        );
        if !holds {
            self.surprises.push(format!("{claim}: {detail}"));
        }
    }
}

/// A text in lines of at most [`COLUMNS`]; a longer word stands alone.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + word.len() < COLUMNS => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The image ID that a name means, asked through the guard or past it.
fn image_id(cri: &Cri, reference: &str) -> String {
    match cri.image_status(support::cri::spec(reference)) {
        Ok(Some(image)) => image.id,
        Ok(None) => panic!("{reference} is not on the node"),
        Err(status) => panic!("{reference}: {status}"),
    }
}

fn security(
    container: &mut ContainerConfig,
) -> &mut support::messages::LinuxContainerSecurityContext {
    container
        .linux
        .get_or_insert_default()
        .security_context
        .get_or_insert_default()
}

fn sandbox_security(
    sandbox: &mut PodSandboxConfig,
) -> &mut support::messages::LinuxSandboxSecurityContext {
    sandbox
        .linux
        .get_or_insert_default()
        .security_context
        .get_or_insert_default()
}
