//! D3 and F13: certificates, and no way from TLS to plain text.

use std::fs;
use std::path::PathBuf;

use pullguard::registry::TlsFault;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;

use super::*;

type Leaf = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A certificate authority with its file.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
    _dir: tempfile::TempDir,
}

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    fs::write(&file, issuer.pem()).unwrap();
    Authority {
        issuer,
        file,
        _dir: dir,
    }
}

impl Authority {
    fn leaf_pem(&self, name: &str, years: (i32, i32)) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn leaf(&self, name: &str, years: (i32, i32)) -> Leaf {
        let (certificate, key) = self.leaf_pem(name, years);
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        (vec![certificate], key)
    }

    fn issue(&self, name: &str, years: (i32, i32)) -> ServerConfig {
        let (chain, key) = self.leaf(name, years);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap()
    }

    fn good(&self) -> ServerConfig {
        self.issue("registry.test", (2020, 2120))
    }

    /// Resolves from `registry.test` at `server`, which this authority is believed to vouch for.
    async fn resolve(&self, server: &Server) -> Result<Resolved, RegistryError> {
        self.resolve_with(server, RegistrySettings::default()).await
    }

    async fn resolve_with(
        &self,
        server: &Server,
        settings: RegistrySettings,
    ) -> Result<Resolved, RegistryError> {
        let settings = RegistrySettings {
            ca: vec![self.file.clone()],
            ..settings
        };
        let (registry, host) = public_tls(server, settings);
        resolve_as(&registry, &host, &alice()).await
    }
}

fn public_tls(server: &Server, settings: RegistrySettings) -> (Registry, String) {
    let names = Table::of(&[
        ("registry.test", &["203.0.113.7"]),
        ("other.test", &["203.0.113.8"]),
    ]);
    let registry = Registry::with_names(settings, Limits::default(), names);
    (registry, format!("registry.test:{}", server.port()))
}

fn tls<T>(fault: TlsFault) -> Result<T, RegistryError> {
    unreachable(Cause::Tls(fault))
}

#[tokio::test]
async fn d3_a_certificate_of_a_configured_authority_is_believed() {
    let authority = authority();
    let server = Server::start_tls(authority.good(), serves_manifest);
    let found = authority.resolve(&server).await.unwrap();
    assert_eq!(found.digest, Digest::of(MANIFEST));
}

#[tokio::test]
async fn d3_a_certificate_of_no_authority_is_not_believed() {
    let authority = authority();
    let server = Server::start_tls(authority.good(), serves_manifest);
    let (registry, host) = public_tls(&server, RegistrySettings::default());
    assert_eq!(
        resolve(&registry, &host).await,
        tls(TlsFault::UnknownIssuer)
    );
    assert!(server.seen().is_empty());
}

/// What `openssl req -x509` makes: a certificate that vouches for itself and says CA:TRUE.
fn self_signed(name: &str, years: (i32, i32)) -> (ServerConfig, String) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = date_time_ymd(years.0, 1, 1);
    params.not_after = date_time_ymd(years.1, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let private = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    (config, certificate.pem())
}

/// Resolves from a server with a self-signed certificate for `name`; `believed` is the bundle.
async fn from_self_signed(
    name: &str,
    years: (i32, i32),
    bundle: impl Fn(String) -> String,
) -> Result<Resolved, RegistryError> {
    let (config, pem) = self_signed(name, years);
    let server = Server::start_tls(config, serves_manifest);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    fs::write(&file, bundle(pem)).unwrap();
    let settings = RegistrySettings {
        ca: vec![file],
        ..RegistrySettings::default()
    };
    let (registry, host) = public_tls(&server, settings);
    resolve(&registry, &host).await
}

#[tokio::test]
async fn d3_a_self_signed_certificate_that_is_listed_itself_is_believed() {
    let found = from_self_signed("registry.test", (2020, 2120), |pem| pem).await;
    assert_eq!(found.unwrap().digest, Digest::of(MANIFEST));
}

#[tokio::test]
async fn d3_a_self_signed_certificate_that_is_not_listed_is_not_believed() {
    let another = |_| self_signed("registry.test", (2020, 2120)).1;
    let result = from_self_signed("registry.test", (2020, 2120), another).await;
    assert!(matches!(
        result,
        Err(RegistryError::Unreachable {
            cause: Cause::Tls(TlsFault::UnknownIssuer | TlsFault::Certificate),
            ..
        })
    ));
}

#[tokio::test]
async fn d3_a_listed_self_signed_certificate_is_held_to_its_name() {
    let result = from_self_signed("other.test", (2020, 2120), |pem| pem).await;
    assert_eq!(result, tls(TlsFault::WrongName));
}

#[tokio::test]
async fn d3_a_listed_self_signed_certificate_is_held_to_its_dates() {
    let result = from_self_signed("registry.test", (2020, 2021), |pem| pem).await;
    assert_eq!(result, tls(TlsFault::Expired));
}

/// PEM of what is no certificate.
const ODD: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

#[tokio::test]
async fn d3_one_odd_certificate_in_a_bundle_spoils_only_itself() {
    let bundle = |pem| format!("{ODD}{pem}");
    let found = from_self_signed("registry.test", (2020, 2120), bundle).await;
    assert!(found.is_ok());
}

#[tokio::test]
async fn d3_a_bundle_of_odd_certificates_alone_is_named() {
    let result = from_self_signed("registry.test", (2020, 2120), |_| ODD.to_owned()).await;
    assert!(matches!(
        result,
        Err(RegistryError::Unsupported {
            setup: pullguard::registry::Setup::Certificate { .. }
        })
    ));
}

#[tokio::test]
async fn d3_a_certificate_past_its_end_is_not_believed() {
    let authority = authority();
    let config = authority.issue("registry.test", (2020, 2021));
    let server = Server::start_tls(config, serves_manifest);
    assert_eq!(authority.resolve(&server).await, tls(TlsFault::Expired));
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn d3_a_certificate_before_its_start_is_not_believed() {
    let authority = authority();
    let config = authority.issue("registry.test", (2110, 2120));
    let server = Server::start_tls(config, serves_manifest);
    assert_eq!(authority.resolve(&server).await, tls(TlsFault::NotYetValid));
}

#[tokio::test]
async fn d3_a_certificate_for_another_name_is_not_believed() {
    let authority = authority();
    let config = authority.issue("other.test", (2020, 2120));
    let server = Server::start_tls(config, serves_manifest);
    assert_eq!(authority.resolve(&server).await, tls(TlsFault::WrongName));
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn d3_a_registry_that_speaks_no_tls_is_not_asked_in_plain_text() {
    let server = Server::start(serves_manifest);
    let (registry, host) = public_tls(&server, RegistrySettings::default());
    let result = resolve_as(&registry, &host, &alice()).await;
    assert_eq!(result, tls(TlsFault::NotTls));
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn d3_an_insecure_registry_is_asked_in_plain_text() {
    let server = Server::start(serves_manifest);
    let settings = RegistrySettings {
        insecure: vec![format!("registry.test:{}", server.port())],
        ..RegistrySettings::default()
    };
    let (registry, host) = public_tls(&server, settings);
    assert!(resolve(&registry, &host).await.is_ok());
}

#[tokio::test]
async fn d3_an_insecure_registry_with_tls_is_asked_with_tls() {
    let server = Server::start_tls(authority().good(), serves_manifest);
    let settings = RegistrySettings {
        insecure: vec![format!("registry.test:{}", server.port())],
        ..RegistrySettings::default()
    };
    let (registry, host) = public_tls(&server, settings);
    assert!(resolve(&registry, &host).await.is_ok());
}

#[tokio::test]
async fn d3_insecure_holds_for_the_listed_port_only() {
    let server = Server::start(serves_manifest);
    let settings = RegistrySettings {
        insecure: vec!["registry.test".to_owned(), "registry.test:1".to_owned()],
        ..RegistrySettings::default()
    };
    let (registry, host) = public_tls(&server, settings);
    assert_eq!(resolve(&registry, &host).await, tls(TlsFault::NotTls));
}

#[tokio::test]
async fn d3_a_redirect_from_tls_to_plain_text_is_refused() {
    let authority = authority();
    let target = Server::start(serves_manifest);
    let to = format!("http://other.test:{}/x", target.port());
    let server = Server::start_tls(authority.good(), move |_| Reply::redirect(&to));
    assert_eq!(authority.resolve(&server).await, bad(Fault::RedirectScheme));
    assert!(target.seen().is_empty());
}

#[tokio::test]
async fn d3_a_redirect_from_tls_to_tls_is_followed() {
    let authority = authority();
    let config = authority.issue("other.test", (2020, 2120));
    let target = Server::start_tls(config, serves_manifest);
    let to = format!("https://other.test:{}/x", target.port());
    let server = Server::start_tls(authority.good(), move |_| Reply::redirect(&to));
    assert!(authority.resolve(&server).await.is_ok());
}

#[tokio::test]
async fn d3_a_realm_in_plain_text_for_a_tls_registry_is_refused() {
    let authority = authority();
    let server = Server::start_tls(authority.good(), |seen| {
        Reply::bearer(&format!("http://{}/token", seen.host()))
    });
    assert_eq!(authority.resolve(&server).await, bad(Fault::RealmScheme));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn d3_a_realm_with_tls_for_a_tls_registry_is_used() {
    let authority = authority();
    let server = Server::start_tls(authority.good(), |seen| {
        match (seen.is_for("/token"), seen.authorization()) {
            (true, _) => Reply::new(200, &[], br#"{"access_token":"t0"}"#),
            (false, Some("Bearer t0")) => Reply::ok(MANIFEST),
            (false, _) => Reply::bearer(&format!("https://{}/token", seen.host())),
        }
    });
    assert!(authority.resolve(&server).await.unwrap().authenticated);
}

#[tokio::test]
async fn d3_a_token_server_with_a_bad_certificate_gets_no_credential() {
    let authority = authority();
    let config = authority.issue("other.test", (2020, 2021));
    let tokens = Server::start_tls(config, serves_manifest);
    let token_host = format!("other.test:{}", tokens.port());
    let realm = format!("https://{token_host}/token");
    let server = Server::start_tls(authority.good(), move |_| Reply::bearer(&realm));
    let name = format!("registry.test:{}", server.port());
    let settings = RegistrySettings {
        token_hosts: [(name, vec![token_host])].into(),
        ..RegistrySettings::default()
    };
    let result = authority.resolve_with(&server, settings).await;
    assert_eq!(result, tls(TlsFault::Expired));
    assert!(tokens.seen().is_empty());
}

/// How the certificates of a host are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    /// `ca` and a pair of files.
    Pair,
    /// `ca` as a list, and certificate and key in one file.
    Lists,
    /// Docker's layout: no hosts.toml, `*.crt`, `*.cert` and `*.key`.
    Docker,
    /// `ca` alone.
    NoClient,
}

/// Resolves from a registry on loopback that wants a client certificate.
async fn behind_client_certificates(written: Written) -> Result<Resolved, RegistryError> {
    let authority = authority();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.issuer.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let (chain, key) = authority.leaf("registry.test", (2020, 2120));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(chain, key)
        .unwrap();
    let server = Server::start_tls(config, serves_manifest);
    let host = format!("registry.test:{}", server.port());
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join(&host);
    fs::create_dir(&dir).unwrap();
    fs::copy(&authority.file, dir.join("ca.crt")).unwrap();
    let (certificate, key) = authority.leaf_pem("node", (2020, 2120));
    fs::write(dir.join("both.pem"), format!("{certificate}{key}")).unwrap();
    let hosts = match written {
        Written::Pair => "ca = \"ca.crt\"\nclient = [[\"node.cert\", \"node.key\"]]\n",
        Written::Lists => "ca = [\"ca.crt\", \"ca.crt\"]\nclient = \"both.pem\"\n",
        Written::NoClient => "ca = \"ca.crt\"\n",
        Written::Docker => "",
    };
    if !hosts.is_empty() {
        let text = format!("server = \"https://{host}\"\n{hosts}");
        fs::write(dir.join("hosts.toml"), text).unwrap();
    }
    fs::write(dir.join("node.cert"), certificate).unwrap();
    fs::write(dir.join("node.key"), key).unwrap();
    let settings = RegistrySettings {
        certs_dirs: vec![root.path().to_owned()],
        ..RegistrySettings::default()
    };
    let (registry, host) = public_tls(&server, settings);
    resolve(&registry, &host).await
}

#[tokio::test]
async fn f13_the_client_certificate_of_hosts_toml_is_shown() {
    let found = behind_client_certificates(Written::Pair).await.unwrap();
    assert_eq!(found.digest, Digest::of(MANIFEST));
}

#[tokio::test]
async fn f13_without_a_client_certificate_a_registry_that_wants_one_is_unreachable() {
    let result = behind_client_certificates(Written::NoClient).await;
    assert_eq!(result, tls(TlsFault::Handshake));
}

#[tokio::test]
async fn f13_authorities_may_be_a_list_and_the_client_certificate_one_file() {
    let found = behind_client_certificates(Written::Lists).await.unwrap();
    assert_eq!(found.digest, Digest::of(MANIFEST));
}

#[tokio::test]
async fn f13_without_hosts_toml_the_certificates_of_dockers_layout_are_used() {
    let found = behind_client_certificates(Written::Docker).await.unwrap();
    assert_eq!(found.digest, Digest::of(MANIFEST));
}
