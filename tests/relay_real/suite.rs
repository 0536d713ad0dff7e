//! What is shown for each version of containerd.

use std::collections::BTreeSet;
use std::time::Duration;

use prost::Message;
use pullguard::request::{Handling, Method};

use crate::recorder::Recorder;
use crate::relay_support::framed;
use crate::stage::{Numbered, Stage, UNIMPLEMENTED};
use crate::support::cri::{FOREVER, spec_for};
use crate::support::messages::{ContainerConfig, PodSandboxConfig};
use crate::wire::{Wire, first_text};

const UNKNOWN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// A field that promises five bytes and brings one.
const TORN: &[u8] = &[0x0a, 0x05, b'x'];
const OK: i32 = 0;

/// A pod's life, call by call, over every method that is carried: with unknown fields, with an ID
/// that nobody has, and with bytes that are no message.
pub(crate) fn every_method_is_carried_byte_for_byte(stage: &Stage, unimplemented: &[&str]) {
    let life = Life::begin(stage);
    let mut missing = BTreeSet::new();
    for &method in Method::ALL {
        if !is_carried(method) || ends_something(method) || method == Method::GetContainerEvents {
            continue;
        }
        life.show(method, &mut missing);
    }
    // These in the order in which they still find what they end.
    for method in [
        Method::StopContainer,
        Method::RemoveContainer,
        Method::StopPodSandbox,
        Method::RemovePodSandbox,
        Method::RemoveImage,
    ] {
        life.show(method, &mut missing);
    }
    assert_eq!(
        missing.into_iter().collect::<Vec<_>>(),
        unimplemented,
        "what this containerd does not know"
    );
}

fn is_carried(method: Method) -> bool {
    match method.handling() {
        // StartContainer passes while the pod's life begins.
        Handling::GateIfAsked(_) | Handling::Relay => method != Method::StartContainer,
        Handling::Gate(_)
        | Handling::FilterImageStatus
        | Handling::Refuse
        | Handling::Unimplemented => false,
    }
}

fn ends_something(method: Method) -> bool {
    [
        Method::StopContainer,
        Method::RemoveContainer,
        Method::StopPodSandbox,
        Method::RemovePodSandbox,
        Method::RemoveImage,
    ]
    .contains(&method)
}

/// The pod that the calls are about.
struct Life<'s> {
    stage: &'s Stage,
    pod: String,
    container: String,
    image: String,
}

impl<'s> Life<'s> {
    /// The gated calls, written in an order of fields that no encoder would choose: the bytes that
    /// were judged are the bytes that containerd gets.
    fn begin(stage: &'s Stage) -> Self {
        let cri = stage.guard.cri();
        let image = stage.registry.push("busybox", "app:1").reference;
        let sandbox = cri.sandbox("relayed");
        let spec = spec_for(&image, &sandbox).encode_to_vec();
        let around = sandbox.encode_to_vec();
        let good = |method, message: Vec<u8>| {
            let answer = stage.carried(method, &message);
            assert_eq!(answer.status(), (OK, String::new()), "{}", method.name());
            answer
        };
        let run = Wire::new().text(2, "").message(1, &around).done();
        let pod = first_text(&good(Method::RunPodSandbox, run).data);
        let pull = Wire::new().message(3, &around).message(1, &spec).done();
        let id = first_text(&good(Method::PullImage, pull).data);
        let status = Wire::new().number(2, 1).message(1, &spec).done();
        good(Method::ImageStatus, status);
        let config = cri.container("one", &id, &image, &FOREVER);
        let create = create(&pod, &config, &sandbox);
        let container = first_text(&good(Method::CreateContainer, create).data);
        let started = Wire::new().text(1, &container).odd();
        good(Method::StartContainer, started);
        for missing in [UNKNOWN, "k\u{e4}se"] {
            let answer = stage.carried(Method::StartContainer, &Wire::new().text(1, missing).odd());
            assert_ne!(answer.status().0, OK);
        }
        let shares = Wire::new().number(3, 512).done();
        let resources = Wire::new().message(2, &shares).text(1, &container).done();
        good(Method::UpdateContainerResources, resources);
        Self {
            stage,
            pod,
            container,
            image,
        }
    }

    fn show(&self, method: Method, missing: &mut BTreeSet<&'static str>) {
        let name = method.name();
        let torn = self.stage.carried(method, TORN);
        assert_ne!(torn.status().0, OK, "{name}: torn bytes");
        if let Some(request) = self.request(method, UNKNOWN) {
            self.stage.carried(method, &request);
        }
        let id = if about_the_pod(method) {
            &self.pod
        } else {
            &self.container
        };
        let request = self.request(method, id);
        let answer = self
            .stage
            .carried(method, &request.unwrap_or_else(|| Wire::new().odd()));
        match answer.status() {
            (OK, _) => {}
            (UNIMPLEMENTED, _) => {
                missing.insert(name);
            }
            (code, text) => panic!("{name}: {code}: {text}"),
        }
    }

    /// The request of a method that asks for something by ID; the others ask for everything.
    fn request(&self, method: Method, id: &str) -> Option<Vec<u8>> {
        let by_id = Wire::new().text(1, id);
        let request = match method.name() {
            "PodSandboxStatus" | "ContainerStatus" => by_id.number(2, 1),
            "StopContainer" => by_id.number(2, 1),
            "Exec" => by_id.text(2, "true").number(5, 1),
            "ExecSync" => by_id.text(2, "id").number(3, 10),
            "Attach" => by_id.number(4, 1),
            "PortForward" => by_id.number(2, 80),
            "RemoveImage" => {
                let image = if id == UNKNOWN {
                    "sha256:0123"
                } else {
                    &self.image
                };
                Wire::new().message(1, &Wire::new().text(1, image).done())
            }
            "StopPodSandbox"
            | "RemovePodSandbox"
            | "PodSandboxStats"
            | "RemoveContainer"
            | "ReopenContainerLog"
            | "ContainerStats"
            | "UpdatePodSandboxResources" => by_id,
            _ => return None,
        };
        Some(request.odd())
    }
}

fn about_the_pod(method: Method) -> bool {
    method.name().contains("PodSandbox") || method == Method::PortForward
}

fn create(pod: &str, config: &ContainerConfig, sandbox: &PodSandboxConfig) -> Vec<u8> {
    Wire::new()
        .message(3, &sandbox.encode_to_vec())
        .message(2, &config.encode_to_vec())
        .text(1, pod)
        .done()
}

pub(crate) fn what_is_refused_reaches_nobody(stage: &Stage) {
    for &method in Method::ALL {
        match method.handling() {
            Handling::Refuse | Handling::Unimplemented => {}
            Handling::Gate(_)
            | Handling::FilterImageStatus
            | Handling::GateIfAsked(_)
            | Handling::Relay => continue,
        }
        let (code, text) = stage.kept(method, &Wire::new().text(1, UNKNOWN).odd());
        assert_ne!(code, OK);
        assert!(text.starts_with("RPC-REFUSED"), "{}: {text}", method.name());
    }
}

pub(crate) fn a_100_kb_error_text_comes_whole(stage: &Stage) {
    let id = "\u{e4}%".repeat(50_000);
    let answer = stage.carried(Method::ContainerStatus, &Wire::new().text(1, &id).done());
    let (code, text) = answer.status();
    assert_eq!(code, 5, "not found");
    assert!(text.len() > 100_000, "{} bytes", text.len());
}

pub(crate) fn an_answer_of_3_mb_comes_whole(stage: &Stage, container: &str) {
    let command = ["head", "-c", "3000000", "/dev/zero"];
    let request = command
        .iter()
        .fold(Wire::new().text(1, container), |wire, word| {
            wire.text(2, word)
        })
        .number(3, 10);
    let answer = stage.carried(Method::ExecSync, &request.done());
    assert_eq!(answer.status().0, OK);
    assert!(answer.data.len() > 3_000_000, "{} bytes", answer.data.len());
}

/// The client takes a call back; containerd hears it at once.
pub(crate) fn a_cancelled_call_is_cancelled_at_containerd(stage: &Stage, container: &str) {
    let Numbered { number, request } = Stage::numbered(Method::ExecSync);
    let message = Wire::new()
        .text(1, container)
        .text(2, "sleep")
        .text(2, "60")
        .done();
    stage.within(Duration::from_secs(20), async {
        let (response, mut body) = stage.client.open(request).await;
        body.send_data(framed(&message).into(), true).unwrap();
        let whole = framed(&message).len();
        let recorder: &Recorder = &stage.recorder;
        recorder
            .wait(&number, |seen| seen.request_data.len() == whole)
            .await;
        body.send_reset(h2::Reason::CANCEL);
        drop(response);
        let seen = recorder.wait(&number, |seen| seen.reset.is_some()).await;
        assert_eq!(seen.reset, Some(h2::Reason::CANCEL));
    });
}
