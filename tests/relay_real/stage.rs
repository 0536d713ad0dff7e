//! A client of bare bytes, the built guard, the recorder and a real containerd, in a row; and the
//! comparison of both sides of one call.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Request;
use pullguard::request::Method;
use tokio::runtime::Runtime;

use crate::recorder::{NUMBER, Recorder, TAMPER};
use crate::relay_support::{Answer, Client, framed, lines};
use crate::support::containerd::Version;
use crate::support::guard::quoted;
use crate::support::{Containerd, Guard, GuardSettings, Lab, Registry};

pub(crate) const UNIMPLEMENTED: i32 = 12;

static NEXT: AtomicUsize = AtomicUsize::new(1);

/// Every part of one test; dropped from top to bottom.
pub(crate) struct Stage {
    pub(crate) client: Client,
    pub(crate) guard: Guard,
    pub(crate) settings: GuardSettings,
    pub(crate) recorder: Recorder,
    pub(crate) runtime: Runtime,
    _containerd: Containerd,
    pub(crate) registry: Registry,
    _lab: Lab,
}

/// A call on its way.
pub(crate) struct Numbered {
    pub(crate) number: String,
    pub(crate) request: Request<()>,
}

impl Stage {
    pub(crate) fn new(name: &str, version: Version) -> Self {
        Self::with(name, version, "", |_| {})
    }

    /// With more rules and other settings.
    pub(crate) fn with(
        name: &str,
        version: Version,
        rules: &str,
        change: impl FnOnce(&mut GuardSettings),
    ) -> Self {
        let lab = Lab::new(name);
        let registry = Registry::start_open(&lab);
        let containerd = Containerd::launch(&lab, &registry, version);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let between = lab.path("recorder.sock");
        let recorder = {
            let _inside = runtime.enter();
            Recorder::start(&between, containerd.socket())
        };
        Guard::write_policy(
            &lab,
            "policy.yaml",
            &format!("{}{rules}", policy(&registry)),
        );
        let mut settings = GuardSettings::new(&lab, &containerd);
        settings.set("upstream", &quoted(&between.display().to_string()));
        settings.bootstrap(&["kube-system"], &containerd.pause().pinned());
        change(&mut settings);
        let guard = Guard::start(&lab, &settings);
        guard.wait_active();
        let client = runtime.block_on(Client::connect(guard.socket()));
        Self {
            client,
            guard,
            settings,
            recorder,
            runtime,
            _containerd: containerd,
            registry,
            _lab: lab,
        }
    }

    /// A request with the headers of a kubelet, and some that only a later one would send.
    pub(crate) fn numbered(method: Method) -> Numbered {
        let number = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
        let request = Client::request(method.path())
            .header("user-agent", "grpc-go/1.72.2")
            .header(
                "traceparent",
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            )
            .header("baggage", "a=1")
            .header("baggage", "b=2")
            .header("x-unknown-bin", "AAEC")
            .header(NUMBER, &number)
            .body(())
            .unwrap();
        Numbered { number, request }
    }

    /// One call, whose every byte must be the same on both sides of the guard.
    pub(crate) fn carried(&self, method: Method, message: &[u8]) -> Answer {
        let Numbered { number, request } = Self::numbered(method);
        let sent = lines(request.headers());
        let body = framed(message);
        let call = self.client.send(request, &body);
        let answer = self
            .runtime
            .block_on(call)
            .unwrap_or_else(|error| panic!("{}: {error}", method.name()));
        let all = self.recorder.of(&number);
        let [seen] = all.as_slice() else {
            panic!(
                "{}: containerd got it {} times; the answer is {:?}",
                method.name(),
                all.len(),
                answer.status()
            );
        };
        let name = method.name();
        assert_eq!(seen.path, method.path(), "{name}: path");
        assert_eq!(seen.request, sent, "{name}: request headers");
        // A method that containerd does not know is answered before its bytes are read.
        if answer.status().0 == UNIMPLEMENTED {
            assert!(
                body.starts_with(&seen.request_data),
                "{name}: request bytes"
            );
        } else {
            assert_eq!(seen.request_data, body, "{name}: request bytes");
        }
        assert_eq!(seen.request_trailers, None, "{name}: request trailers");
        assert_eq!(lines(&answer.head.headers), seen.head, "{name}: headers");
        assert!(answer.data == seen.data, "{name}: answer bytes");
        let trailers = answer.trailers.as_ref().map(lines);
        assert_eq!(trailers, seen.trailers, "{name}: trailers");
        assert_eq!(seen.reset, None, "{name}: reset");
        answer
    }

    /// One call that the guard answers itself: containerd never hears of it.
    pub(crate) fn kept(&self, method: Method, message: &[u8]) -> (i32, String) {
        self.kept_at(Client::request(method.path()), method.name(), message)
    }

    /// The same for any path.
    pub(crate) fn kept_at(
        &self,
        request: http::request::Builder,
        name: &str,
        message: &[u8],
    ) -> (i32, String) {
        let number = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
        let request = request.header(NUMBER, &number).body(()).unwrap();
        let body = framed(message);
        let call = self.client.send(request, &body);
        let answer = self.runtime.block_on(call).unwrap();
        assert_eq!(self.recorder.of(&number), [], "{name}");
        answer.status()
    }

    /// A pull whose answer the recorder replaces, if it is told to; and what containerd got.
    pub(crate) fn pulled(&self, message: &[u8], tamper: Option<&str>) -> (Answer, Vec<u8>) {
        let Numbered {
            number,
            mut request,
        } = Self::numbered(Method::PullImage);
        if let Some(tamper) = tamper {
            let headers = request.headers_mut();
            headers.insert(TAMPER, tamper.parse().unwrap());
        }
        let body = framed(message);
        let call = self.client.send(request, &body);
        let answer = self.runtime.block_on(call).unwrap();
        let seen = self.recorder.of(&number);
        let [seen] = seen.as_slice() else {
            panic!("containerd got it {} times: {answer:?}", seen.len());
        };
        (answer, seen.request_data.clone())
    }

    /// As [`crate::relay_support::soon`], from outside the runtime.
    pub(crate) fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> T {
        self.runtime
            .block_on(async { tokio::time::timeout(limit, work).await })
            .unwrap_or_else(|_| panic!("nothing happened for {limit:?}"))
    }
}

/// Images of the laboratory's registry, as they are: nothing is pinned, so nothing is edited.
fn policy(registry: &Registry) -> String {
    let host = registry.host();
    format!(
        r#"apiVersion: pullguard.io/v1alpha1
kind: PolicySet
metadata: {{name: relay}}
spec:
  audience: relay
  unmatched: {{pods: Allow, images: Deny}}
---
apiVersion: pullguard.io/v1alpha1
kind: NodePolicy
metadata: {{name: relay}}
spec:
  rules:
  - name: registries
    registries: {{allow: ["{host}/**"]}}
"#
    )
}
