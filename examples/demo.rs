//! `make demo`: a real containerd, a real registry and the guard between them and a CRI client.
//! Prints one line per step: what was asked, what became of it, and the text that a person would see.
//! Ends with an error if a step did not go as the narrative says.
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

use support::cri::{FOREVER, PullPolicy, Refused, Started};
use support::messages::{ContainerConfig, Mount, PodSandboxConfig};
use support::{Containerd, Cri, Guard, GuardSettings, Lab, Pushed, Registry};

fn main() -> ExitCode {
    let lab = Lab::new("demo");
    let registry = Registry::start_open(&lab);
    let containerd = Containerd::v1_6(&lab, &registry);
    Guard::write_policy(&lab, "demo.yaml", &policy(&registry));
    let mut settings = GuardSettings::new(&lab, &containerd);
    settings.bootstrap(&["kube-system"], &containerd.pause().pinned());
    let guard = Guard::start(&lab, &settings);
    let mut demo = Demo {
        cri: guard.cri(),
        colour: std::io::stdout().is_terminal(),
        surprises: Vec::new(),
    };

    demo.title(&registry, &containerd);
    let app = registry.push("app-one", "shop/app:1");
    demo.images(&registry, &app);
    demo.pods(&registry, &app);
    demo.attacks(&registry, &containerd, &app);
    demo.status(&guard);
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
    /// One of these calls is refused with this code.
    Denied(&'static str),
}

struct Demo {
    cri: Cri,
    colour: bool,
    surprises: Vec<String>,
}

impl Demo {
    fn title(&self, registry: &Registry, containerd: &Containerd) {
        let version = self.cri.version().unwrap_or_default();
        println!(
            "pullguard in front of {} {} (pid {}), registry {}",
            version.runtime_name,
            version.runtime_version,
            containerd.pid(),
            registry.host()
        );
        println!(
            "policy: images only from {}/shop, pinned; no privilege, root, host path or host namespace\n",
            registry.host()
        );
    }

    fn images(&mut self, registry: &Registry, app: &Pushed) {
        self.heading("images");
        self.pod(
            "image by digest, from the allowed repository",
            &app.pinned(),
            Expect::Runs,
            |_, _| {},
        );
        let web = registry.push("app-one", "shop/web:1");
        let started = self.pod("an image by tag", &web.reference, Expect::Runs, |_, _| {});
        if let Some(started) = started {
            self.show_uid(&started, "1000");
        }
        let by_digest = format!("/v2/shop/web/manifests/{}", web.digest);
        let asked = registry.wait_request(&by_digest, Duration::from_secs(5));
        self.check(
            "containerd was told to pull the digest that the tag had",
            asked.is_ok(),
            &by_digest,
        );
        let other = registry.push("app-two", "other/app:1");
        self.pod(
            "image outside the allowlist",
            &other.reference,
            Expect::Denied("REG-DENIED"),
            |_, _| {},
        );
        let id = self.image_id(&web.reference);
        self.pod(
            "image by its bare ID",
            &id,
            Expect::Denied("REF-INVALID"),
            |_, _| {},
        );
    }

    fn pods(&mut self, registry: &Registry, app: &Pushed) {
        self.heading("pods");
        let image = app.reference.clone();
        self.pod(
            "privileged container",
            &image,
            Expect::Denied("POD-PRIVILEGED"),
            |sandbox, container| {
                security(container).privileged = true;
                sandbox_security(sandbox).privileged = true;
            },
        );
        let root = registry.push("busybox", "shop/root:1");
        self.pod(
            "container of root",
            &root.reference,
            Expect::Denied("POD-ROOT"),
            |_, _| {},
        );
        self.pod(
            "hostPath /etc",
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
            "hostNetwork",
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
            "the tag moved in the registry; the pod names the digest",
            &app.pinned(),
            Expect::Runs,
            |_, _| {},
        );
        if let Some(started) = pinned {
            self.show_build(&started, "one");
        }
        let again = self.run(&app.reference, PullPolicy::Always, |_, _| {});
        self.line("the pod names the tag, and pulls always", &again);
        println!("      now the tag means {}", moved.digest);

        // Content from outside the allowlist, brought here past the guard, under an allowed name.
        let clean = registry.push("app-one", "shop/app:2");
        self.pod("a second tag", &clean.reference, Expect::Runs, |_, _| {});
        let foreign = format!("{}/other/app:1", registry.host());
        containerd.ctr(&["images", "pull", "--plain-http", &foreign]);
        containerd.ctr(&["images", "tag", "--force", &foreign, &clean.reference]);
        let pointed = self.run(&clean.reference, PullPolicy::IfNotPresent, |_, _| {});
        self.line(
            "ctr re-pointed that tag to content from elsewhere",
            &pointed,
        );
        if let Ok(started) = &pointed {
            self.show_build(started, "one");
        }
        let foreign_id = containerd_id(containerd, &foreign);
        self.pod(
            "the foreign image's ID under the allowed name",
            &clean.reference,
            Expect::Denied("IMG-UNPROVEN"),
            |_, container| {
                container.image.get_or_insert_default().image = foreign_id;
            },
        );
    }

    fn status(&mut self, guard: &Guard) {
        self.heading("pullguard status");
        let output = guard.command(&["status"]);
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

    /// One step: starts a pod as a kubelet would, prints what became of it, and compares it with the expectation.
    fn pod(
        &mut self,
        asked: &str,
        image: &str,
        expect: Expect,
        change: impl FnOnce(&mut PodSandboxConfig, &mut ContainerConfig),
    ) -> Option<Started> {
        let result = self.run(image, PullPolicy::IfNotPresent, change);
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

    fn run(
        &self,
        image: &str,
        policy: PullPolicy,
        change: impl FnOnce(&mut PodSandboxConfig, &mut ContainerConfig),
    ) -> Result<Started, Refused> {
        self.cri.run_with("demo", image, &FOREVER, policy, change)
    }

    fn line(&self, asked: &str, result: &Result<Started, Refused>) {
        let (verdict, colour, detail) = match result {
            Ok(started) => (
                "ALLOWED",
                "32",
                format!(
                    "container {}",
                    started.container.get(..12).unwrap_or_default()
                ),
            ),
            Err(refused) => (
                "DENIED",
                "31",
                format!("{}: {}", refused.call, refused.text()),
            ),
        };
        println!(
            "  {} {asked}\n          {detail}",
            self.paint(&format!("{verdict:7}"), colour)
        );
    }

    fn heading(&self, text: &str) {
        println!("{}", self.paint(text, "1"));
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

    fn image_id(&self, reference: &str) -> String {
        match self.cri.image_status(support::cri::spec(reference)) {
            Ok(Some(image)) => image.id,
            Ok(None) => panic!("{reference} is not on the node"),
            Err(status) => panic!("{reference}: {status}"),
        }
    }
}

/// The image ID that containerd itself has for a name.
fn containerd_id(containerd: &Containerd, reference: &str) -> String {
    match containerd.cri().image_status(support::cri::spec(reference)) {
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
