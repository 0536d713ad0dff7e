//! A client of a kube-apiserver: paths, objects as JSON, and what a person reads of a pod.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Certificate, Client, Method};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::kubelet::{ContainerView, view};
use super::wait::until;

/// The namespace of everything that this client makes.
pub const NAMESPACE: &str = "default";

/// A client with all rights. Synchronous: it carries its own runtime.
#[derive(Clone, Debug)]
pub struct Api {
    runtime: Arc<Runtime>,
    client: Client,
    base: String,
    token: String,
}

/// What the API server answered in place of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status; 0 if there was no answer.
    pub status: u16,
    /// Its words.
    pub message: String,
}

impl Api {
    /// A client of the server at `https://127.0.0.1:PORT`, whose certificate `authority` (PEM) signed.
    pub fn new(port: u16, authority: &str, token: &str) -> Self {
        let authority = Certificate::from_pem(authority.as_bytes()).expect("a certificate");
        let client = Client::builder()
            .no_proxy()
            .tls_certs_only([authority])
            .timeout(Duration::from_secs(30))
            .build()
            .expect("make a client");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("make a runtime");
        Self {
            runtime: Arc::new(runtime),
            client,
            base: format!("https://127.0.0.1:{port}"),
            token: token.to_owned(),
        }
    }

    /// What is at a path.
    pub fn get(&self, path: &str) -> Result<Value, Refusal> {
        self.call(Method::GET, path, "", None)
    }

    /// Makes an object in the collection at a path.
    pub fn create(&self, path: &str, object: &Value) -> Result<Value, Refusal> {
        self.call(Method::POST, path, "application/json", Some(object))
    }

    /// Changes the object at a path by a strategic merge.
    pub fn patch(&self, path: &str, change: &Value) -> Result<Value, Refusal> {
        let kind = "application/strategic-merge-patch+json";
        self.call(Method::PATCH, path, kind, Some(change))
    }

    /// Deletes the object at a path.
    pub fn delete(&self, path: &str) -> Result<Value, Refusal> {
        self.call(Method::DELETE, path, "", None)
    }

    /// The path of a core object of the namespace, `pods/NAME` and the like.
    pub fn core(rest: &str) -> String {
        format!("/api/v1/namespaces/{NAMESPACE}/{rest}")
    }

    /// Makes a pod.
    pub fn add_pod(&self, manifest: &Value) -> Result<Value, Refusal> {
        self.create(&Self::core("pods"), manifest)
    }

    /// Adds an ephemeral container to a pod, as `kubectl debug` does.
    pub fn debug(&self, pod: &str, container: &Value) -> Result<Value, Refusal> {
        let change = json!({"spec": {"ephemeralContainers": [container]}});
        self.patch(
            &Self::core(&format!("pods/{pod}/ephemeralcontainers")),
            &change,
        )
    }

    /// Resizes the container `main` of a pod in place; `resources` as in a pod's container.
    pub fn resize(&self, pod: &str, resources: &Value) -> Result<Value, Refusal> {
        let change = json!({"spec": {"containers": [{"name": "main", "resources": resources}]}});
        self.patch(&Self::core(&format!("pods/{pod}/resize")), &change)
    }

    /// Makes a pull secret for one registry.
    pub fn add_pull_secret(&self, name: &str, host: &str, user: &str, password: &str) {
        let entry = json!({"auth": STANDARD.encode(format!("{user}:{password}"))});
        let config = json!({"auths": {host: entry}}).to_string();
        let secret = json!({
            "metadata": {"name": name},
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": STANDARD.encode(config)},
        });
        self.create(&Self::core("secrets"), &secret)
            .expect("make the secret");
    }

    /// Makes a RuntimeClass that stands for a handler of the runtime.
    pub fn add_runtime_class(&self, name: &str, handler: &str) {
        let class = json!({"metadata": {"name": name}, "handler": handler});
        self.create("/apis/node.k8s.io/v1/runtimeclasses", &class)
            .expect("make the runtime class");
    }

    /// Every container of a pod (init, regular and ephemeral) as its status shows it; none if there is no such pod.
    pub fn containers(&self, pod: &str) -> Vec<ContainerView> {
        let found = self
            .get(&Self::core(&format!("pods/{pod}")))
            .unwrap_or_default();
        [
            "initContainerStatuses",
            "containerStatuses",
            "ephemeralContainerStatuses",
        ]
        .iter()
        .filter_map(|list| found["status"][list].as_array())
        .flatten()
        .map(view)
        .collect()
    }

    /// The events of a pod: reason and message, as `kubectl describe` prints them.
    pub fn events(&self, pod: &str) -> Vec<(String, String)> {
        let path = Self::core(&format!("events?fieldSelector=involvedObject.name={pod}"));
        let list = self.get(&path).unwrap_or_default();
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|event| (word(&event["reason"]), word(&event["message"])))
            .collect()
    }

    /// Waits for an event of a pod with this reason whose message holds `needle`, and gives the message.
    pub fn wait_event(&self, pod: &str, reason: &str, needle: &str, limit: Duration) -> String {
        until(&format!("pod {pod} has {reason}: {needle}"), limit, || {
            let events = self.events(pod);
            let found = events
                .iter()
                .find(|(why, message)| why == reason && message.contains(needle));
            found
                .map(|(_, message)| message.clone())
                .ok_or_else(|| format!("{events:?}"))
        })
    }

    /// Waits until a container of a pod runs, and gives its status.
    pub fn wait_running(&self, pod: &str, container: &str, limit: Duration) -> ContainerView {
        until(&format!("{container} of {pod} runs"), limit, || {
            let all = self.containers(pod);
            let found = all
                .iter()
                .find(|one| one.name == container && one.state == "running");
            found
                .cloned()
                .ok_or_else(|| format!("{all:?} {:?}", self.events(pod)))
        })
    }

    /// Waits until a container of a pod waits with a text that holds `needle`, and gives its status.
    pub fn wait_waiting(
        &self,
        pod: &str,
        container: &str,
        needle: &str,
        limit: Duration,
    ) -> ContainerView {
        let what = format!("{container} of {pod} waits: {needle}");
        until(&what, limit, || {
            let all = self.containers(pod);
            let found = all.iter().find(|one| {
                one.name == container && one.state == "waiting" && one.message.contains(needle)
            });
            found
                .cloned()
                .ok_or_else(|| format!("{all:?} {:?}", self.events(pod)))
        })
    }

    fn call(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Option<&Value>,
    ) -> Result<Value, Refusal> {
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(&self.token);
        if let Some(body) = body {
            request = request
                .header("content-type", content_type)
                .body(body.to_string());
        }
        let answer = self.runtime.block_on(async {
            let response = request.send().await?;
            Ok((response.status(), response.bytes().await?))
        });
        let (status, bytes) = answer.map_err(|error: reqwest::Error| Refusal {
            status: 0,
            message: format!("{error:?}"),
        })?;
        // A health check answers in plain text.
        let value = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        if status.is_success() {
            return Ok(value);
        }
        let message = value["message"].as_str().map(str::to_owned);
        Err(Refusal {
            status: status.as_u16(),
            message: message.unwrap_or_else(|| value.to_string()),
        })
    }
}
