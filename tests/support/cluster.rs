//! A cluster of one node: etcd, a kube-apiserver, and a kubelet that has joined it. There is no
//! scheduler and no controller: a pod names its node itself.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use serde_json::{Value, json};

use super::api::Api;
use super::kubelet::Kubelet;
use super::lab::Lab;
use super::net::{free_port, get};
use super::parts::{Part, Parts};
use super::process::Process;
use super::wait::until;

/// The node's name, for `spec.nodeName`. With this one its kubelet has an address on loopback.
pub const NODE: &str = "127.0.0.1";

/// How long each part may take to answer.
const READY: Duration = Duration::from_secs(90);
/// Tokens of the one who may do all, and of the node. Fixtures, worth nothing outside the tests.
const ADMIN: &str = "lab-admin-token";
const MEMBER: &str = "lab-node-token";

/// A cluster that this laboratory started. Rust drops fields in this order.
#[derive(Debug)]
pub struct Cluster {
    /// The node's kubelet.
    pub kubelet: Kubelet,
    /// A client with all rights.
    pub api: Api,
    _server: Process,
    _etcd: Process,
}

impl Cluster {
    /// Starts etcd, the API server, and a kubelet on a CRI socket, which must answer already. Returns
    /// when the node is Ready and a pod of the namespace `default` can be made.
    pub fn start(lab: &Lab, socket: &Path) -> Self {
        let keys = Keys::make(lab);
        let (etcd, store) = start_etcd(lab);
        let port = free_port();
        let mut server = start_server(lab, &keys, store, port);
        let api = Api::new(port, &keys.authority, ADMIN);
        until("the API server is ready", READY, || {
            server.assert_running();
            api.get("/readyz").map_err(|refusal| refusal.message)
        });
        furnish(&api, &keys.authority);
        let kubelet = Kubelet::join(lab, socket, kubeconfig(lab, &keys, port));
        until("the node is ready", READY, || node_is_ready(&api));
        Self {
            kubelet,
            api,
            _server: server,
            _etcd: etcd,
        }
    }

    /// Registers a validating webhook for new pods at an address where nobody answers.
    pub fn add_dead_webhook(&self, failure_policy: &str) {
        let webhook = json!({
            "metadata": {"name": DEAD_WEBHOOK},
            "webhooks": [{
                "name": "pods.lab.example",
                "clientConfig": {"url": format!("https://127.0.0.1:{}/", free_port())},
                "rules": [{
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE"],
                    "resources": ["pods"],
                }],
                "failurePolicy": failure_policy,
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "timeoutSeconds": 1,
            }],
        });
        self.api
            .create(WEBHOOKS, &webhook)
            .expect("register the webhook");
    }

    /// Changes what becomes of a request when the webhook does not answer.
    pub fn change_dead_webhook(&self, failure_policy: &str) {
        let change = json!({"webhooks": [{
            "name": "pods.lab.example",
            "failurePolicy": failure_policy,
        }]});
        self.api
            .patch(&format!("{WEBHOOKS}/{DEAD_WEBHOOK}"), &change)
            .expect("change the webhook");
    }
}

const WEBHOOKS: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
const DEAD_WEBHOOK: &str = "away";

/// The cluster's certificates and keys, as files below the laboratory.
#[derive(Debug)]
struct Keys {
    authority: String,
    authority_file: PathBuf,
    server_certificate: PathBuf,
    server_key: PathBuf,
    accounts_private: PathBuf,
    accounts_public: PathBuf,
}

impl Keys {
    fn make(lab: &Lab) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "lab authority");
        let key = KeyPair::generate().expect("make a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("sign the authority");

        let mut params =
            CertificateParams::new(vec![NODE.to_owned()]).expect("an address is a subject");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params
            .distinguished_name
            .push(DnType::CommonName, "kube-apiserver");
        let key = KeyPair::generate().expect("make a key");
        let certificate = params.signed_by(&key, &authority).expect("sign");
        let accounts = KeyPair::generate().expect("make a key");
        Self {
            authority: authority.pem(),
            authority_file: lab.write("pki/ca.crt", &authority.pem()),
            server_certificate: lab.write("pki/server.crt", &certificate.pem()),
            server_key: lab.write("pki/server.key", &key.serialize_pem()),
            accounts_private: lab.write("pki/sa.key", &accounts.serialize_pem()),
            accounts_public: lab.write("pki/sa.pub", &accounts.public_key_pem()),
        }
    }
}

/// etcd, and the port of its clients.
fn start_etcd(lab: &Lab) -> (Process, u16) {
    let (port, peers) = (free_port(), free_port());
    let clients = format!("http://127.0.0.1:{port}");
    let peers = format!("http://127.0.0.1:{peers}");
    let mut command = Command::new(Parts::require().path(Part::Etcd));
    command
        .arg("--name=lab")
        .arg("--data-dir")
        .arg(lab.path("etcd"))
        .arg(format!("--listen-client-urls={clients}"))
        .arg(format!("--advertise-client-urls={clients}"))
        .arg(format!("--listen-peer-urls={peers}"))
        .arg(format!("--initial-advertise-peer-urls={peers}"))
        .arg(format!("--initial-cluster=lab={peers}"))
        .arg("--unsafe-no-fsync")
        // etcd 3.4 wants to be told so on arm64, and reads it nowhere else.
        .env("ETCD_UNSUPPORTED_ARCH", "arm64");
    let mut process = Process::start_detached("etcd", &lab.log_path("etcd"), &mut command);
    until("etcd is healthy", READY, || {
        process.assert_running();
        match get(port, "/health") {
            Ok(text) if text.contains("true") => Ok(()),
            Ok(text) | Err(text) => Err(text),
        }
    });
    (process, port)
}

fn start_server(lab: &Lab, keys: &Keys, etcd: u16, port: u16) -> Process {
    let tokens = format!(
        "{ADMIN},admin,1,\"system:masters\"\n{MEMBER},system:node:{NODE},2,\"system:nodes\"\n"
    );
    let tokens = lab.write("pki/tokens.csv", &tokens);
    let mut command = Command::new(Parts::require().path(Part::ApiServer));
    command
        .arg(format!("--etcd-servers=http://127.0.0.1:{etcd}"))
        .arg("--bind-address=127.0.0.1")
        .arg(format!("--secure-port={port}"));
    for (flag, path) in [
        ("cert-dir", &lab.dir("pki/server")),
        ("tls-cert-file", &keys.server_certificate),
        ("tls-private-key-file", &keys.server_key),
        ("client-ca-file", &keys.authority_file),
        ("token-auth-file", &tokens),
        ("service-account-key-file", &keys.accounts_public),
        ("service-account-signing-key-file", &keys.accounts_private),
    ] {
        command.arg(format!("--{flag}={}", path.display()));
    }
    command
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg("--service-cluster-ip-range=10.96.0.0/24")
        .arg("--authorization-mode=Node,RBAC")
        .arg("--enable-admission-plugins=NodeRestriction")
        // Without it a privileged pod is refused here, and no node ever sees it.
        .arg("--allow-privileged=true")
        .arg("--kubelet-preferred-address-types=InternalIP,Hostname")
        .arg("--endpoint-reconciler-type=none");
    for proxy in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
        command.env_remove(proxy);
    }
    Process::start_detached("apiserver", &lab.log_path("apiserver"), &mut command)
}

/// What a controller manager would make: the account of the namespace's pods, and the authority that
/// their token volumes hold.
fn furnish(api: &Api, authority: &str) {
    let made = |path: &str, object: &Value| {
        let path = Api::core(path);
        // The server makes the namespace by itself, soon after it is ready.
        until(&format!("{path} takes an object"), READY, || {
            match api.create(&path, object) {
                Ok(_) => Ok(()),
                Err(refusal) if refusal.status == 409 => Ok(()),
                Err(refusal) => Err(refusal.message),
            }
        });
    };
    made("serviceaccounts", &json!({"metadata": {"name": "default"}}));
    let root = json!({"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": authority}});
    made("configmaps", &root);
}

fn kubeconfig(lab: &Lab, keys: &Keys, port: u16) -> PathBuf {
    let text = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": {
            "server": format!("https://127.0.0.1:{port}"),
            "certificate-authority": keys.authority_file,
        }}],
        "users": [{"name": "node", "user": {"token": MEMBER}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "node"}}],
        "current-context": "lab",
    });
    lab.write("pki/kubeconfig.json", &text.to_string())
}

fn node_is_ready(api: &Api) -> Result<(), String> {
    let node = api
        .get(&format!("/api/v1/nodes/{NODE}"))
        .map_err(|refusal| refusal.message)?;
    let conditions = node["status"]["conditions"].as_array();
    let ready = conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    if ready {
        Ok(())
    } else {
        Err(node["status"]["conditions"].to_string())
    }
}
