//! What a gated request may not hold, each with a twin that differs in that alone: bytes written
//! field by field, on the built guard; containerd hears of none of them.

use prost::Message;
use pullguard::request::Method;

use crate::relay_support::{Client, framed};
use crate::stage::Stage;
use crate::support::cri::{FOREVER, spec_for};
use crate::support::messages::{ContainerConfig, PodSandboxConfig};
use crate::wire::{Wire, first_text};

const OK: i32 = 0;
const INVALID_ARGUMENT: i32 = 3;
const PERMISSION_DENIED: i32 = 7;

/// A create that containerd would take, and places in it for one field more.
struct Create {
    pod: String,
    sandbox: PodSandboxConfig,
    config: ContainerConfig,
}

impl Create {
    fn new(stage: &Stage, name: &str) -> Self {
        let cri = stage.guard.cri();
        let image = stage.registry.push("busybox", "app:strict").reference;
        let sandbox = cri.sandbox(name);
        let good = |method, message: Vec<u8>| {
            let answer = stage.carried(method, &message);
            assert_eq!(answer.status(), (OK, String::new()), "{}", method.name());
            first_text(&answer.data)
        };
        let around = sandbox.encode_to_vec();
        let run = Wire::new().message(1, &around).done();
        let pod = good(Method::RunPodSandbox, run);
        let spec = spec_for(&image, &sandbox).encode_to_vec();
        let pull = Wire::new().message(1, &spec).message(3, &around).done();
        let id = good(Method::PullImage, pull);
        let config = cri.container("one", &id, &image, &FOREVER);
        Self {
            pod,
            sandbox,
            config,
        }
    }

    /// The request, with these bytes at the end of its parts.
    fn with(&self, extra: &Extra) -> Vec<u8> {
        let mut config = self.config.clone();
        let linux = config.linux.take().unwrap();
        let mut context = linux.security_context.unwrap().encode_to_vec();
        context.extend(&extra.context);
        let linux = Wire::new().message(2, &context).done();
        let mut mount = Wire::new().text(1, "/mnt").text(2, "/tmp").done();
        mount.extend(&extra.mount);
        let mut bytes = config.encode_to_vec();
        bytes.extend(Wire::new().message(7, &mount).message(15, &linux).done());
        bytes.extend(&extra.config);
        Wire::new()
            .message(3, &self.sandbox.encode_to_vec())
            .text(1, &self.pod)
            .message(2, &bytes)
            .done()
    }
}

/// Bytes at the end of each part.
#[derive(Default)]
struct Extra {
    config: Vec<u8>,
    mount: Vec<u8>,
    context: Vec<u8>,
}

fn in_config(config: Wire) -> Extra {
    Extra {
        config: config.done(),
        ..Extra::default()
    }
}

fn in_mount(mount: Wire) -> Extra {
    Extra {
        mount: mount.done(),
        ..Extra::default()
    }
}

fn in_context(context: Wire) -> Extra {
    Extra {
        context: context.done(),
        ..Extra::default()
    }
}

fn unknown(method: Method, place: &str) -> (i32, String) {
    let text = format!(
        "RPC-UNKNOWN-FIELD: request `{}`: the request has fields that this version does not know: \
         `{place}`; upgrade the guard",
        method.name()
    );
    (PERMISSION_DENIED, text)
}

/// A field that nobody knows, in each message that decides about security.
pub(crate) fn an_unknown_field_in_a_gated_call_reaches_nobody(stage: &Stage) {
    let create = Create::new(stage, "unknown");
    let later = || Wire::new().number(2047, 1);
    for (place, extra) in [
        ("ContainerConfig.2047", in_config(later())),
        ("Mount.2047", in_mount(later())),
        ("LinuxContainerSecurityContext.2047", in_context(later())),
    ] {
        let said = stage.kept(Method::CreateContainer, &create.with(&extra));
        assert_eq!(said, unknown(Method::CreateContainer, place));
        let (message, _) = place.split_once('.').unwrap();
        let metric =
            format!("pullguard_unknown_fields_total{{message=\"{message}\",field=\"2047\"}} 1\n");
        let page = stage.settings.metrics().unwrap();
        assert!(page.contains(&metric), "{metric}: {page}");
    }
    let spec = spec_for("example.com/a:1", &create.sandbox).encode_to_vec();
    let odd = [spec.clone(), later().done()].concat();
    let status = |spec: &[u8]| Wire::new().message(1, spec).done();
    assert_eq!(
        stage.kept(Method::ImageStatus, &status(&odd)),
        unknown(Method::ImageStatus, "ImageSpec.2047")
    );
    // The twins: the same without the field.
    let answer = stage.carried(Method::CreateContainer, &create.with(&Extra::default()));
    assert_eq!(answer.status(), (OK, String::new()));
    let twin = status(&spec);
    let answer = stage.client.call(Method::ImageStatus.path(), &twin);
    assert_eq!(stage.runtime.block_on(answer).unwrap().status().0, OK);
}

/// What two readers could read differently.
pub(crate) fn a_field_that_is_not_as_it_must_be_reaches_nobody(stage: &Stage) {
    let create = Create::new(stage, "malformed");
    let metadata = create.config.metadata.clone().unwrap().encode_to_vec();
    for (text, extra) in [
        (
            "field `ContainerConfig.metadata` occurs twice",
            in_config(Wire::new().message(1, &metadata)),
        ),
        (
            "field `Mount.readonly` is a bool other than 0 and 1",
            in_mount(Wire::new().number(3, 2)),
        ),
        (
            "field `Mount.propagation` has the unknown value `4294967298`",
            in_mount(Wire::new().number(5, (1 << 32) + 2)),
        ),
        (
            "field `ContainerConfig.tty` has the wrong wire type",
            in_config(Wire::new().text(14, "x")),
        ),
    ] {
        let line = format!(
            "RPC-MALFORMED: request `CreateContainer`: {text}; report the client that sent it"
        );
        assert_eq!(
            stage.kept(Method::CreateContainer, &create.with(&extra)),
            (INVALID_ARGUMENT, line)
        );
    }
    let twin = Extra {
        mount: Wire::new().number(3, 1).number(5, 0).done(),
        config: Wire::new().number(14, 0).done(),
        ..Extra::default()
    };
    let answer = stage.carried(Method::CreateContainer, &create.with(&twin));
    assert_eq!(answer.status(), (OK, String::new()));
}

/// Paths that are nearly one of the table.
pub(crate) fn e1_a_path_that_is_not_exactly_known_reaches_nobody(stage: &Stage) {
    for path in [
        "//runtime.v1.ImageService/PullImage",
        "/runtime.v1.ImageService//PullImage",
        "/runtime.v1.ImageService%2fPullImage",
        "/runtime.v1.ImageService/PullImage/",
        "/runtime.v1.ImageService/PullImage?",
        "/runtime.v1.ImageService/PullImage?a=b",
        "/runtime.v1.ImageService/pullimage",
        "/runtime.v1.ImageService/../ImageService/PullImage",
        "/runtime.v1alpha2.ImageService/PullImage",
        "/containerd.services.containers.v1.Containers/Create",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.health.v1.Health/Check",
        "/",
    ] {
        let line = format!(
            "RPC-REFUSED: method `{path}` is not carried by the guard; see docs/methods.md for \
             what is"
        );
        // `grpc-message` travels percent-encoded.
        let line = line.replace('%', "%25");
        assert_eq!(stage.kept_at(Client::request(path), path, &[]), (12, line));
    }
}

/// Under `digest: Pin` containerd gets the bytes that came and one field more; an answer that names
/// no image is no success, as nobody could give the image its tag.
pub(crate) fn a_pinned_pull_is_the_received_bytes_and_one_field(stage: &Stage) {
    let image = stage.registry.push("busybox", "app:pinned");
    let sandbox = stage.guard.cri().sandbox("pinned");
    let spec = spec_for(&image.reference, &sandbox).encode_to_vec();
    let message = Wire::new()
        .message(3, &sandbox.encode_to_vec())
        .message(1, &spec)
        .done();
    for tamper in ["empty", "compressed"] {
        let (answer, _) = stage.pulled(&message, Some(tamper));
        let text = "RUNTIME-UNAVAILABLE: the container runtime's answer to `PullImage` names no \
                    image; look at containerd on the node; the kubelet tries again";
        assert_eq!(answer.status(), (14, text.to_owned()), "{tamper}");
        assert_eq!(answer.data, b"", "{tamper}");
    }
    let (answer, seen) = stage.pulled(&message, None);
    assert_eq!(answer.status(), (OK, String::new()));
    let appended = seen[5..].strip_prefix(message.as_slice()).unwrap();
    let pinned = spec_of(&image.pinned());
    assert_eq!(appended, Wire::new().message(1, &pinned).done());
    assert_eq!(seen, framed(&[message.as_slice(), appended].concat()));
}

/// An image spec of nothing but a name.
fn spec_of(name: &str) -> Vec<u8> {
    Wire::new().text(1, name).done()
}

/// Without a pin the answer is the runtime's own business, whatever it holds.
pub(crate) fn an_odd_answer_to_a_plain_pull_is_carried(stage: &Stage) {
    let image = stage.registry.push("busybox", "app:plain").reference;
    let sandbox = stage.guard.cri().sandbox("plain");
    let spec = spec_for(&image, &sandbox).encode_to_vec();
    let message = Wire::new().message(1, &spec).done();
    let (answer, _) = stage.pulled(&message, Some("empty"));
    assert_eq!((answer.status().0, answer.data), (OK, framed(b"")));
}
