//! Which certificates are believed, and which one is shown.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::error::Setup;

/// How long a built configuration serves before the files are read again: a changed CA bundle
/// or client certificate is seen within this time.
const FRESH: Duration = Duration::from_secs(60);
const MAX_PEM_BYTES: u64 = 4 * 1024 * 1024;

/// Whether a server's certificate is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Verification {
    Full,
    /// `skip_verify` of hosts.toml, a loopback registry, or the `insecure` setting.
    Skipped,
}

/// What makes two TLS configurations equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TlsKey {
    pub(crate) ca: Vec<PathBuf>,
    /// Certificate and key file; no key file: the key is in the certificate file.
    pub(crate) client: Option<(PathBuf, Option<PathBuf>)>,
    pub(crate) verification: Verification,
}

/// Built configurations, kept for a minute.
#[derive(Debug, Default)]
pub(crate) struct TlsConfigs {
    built: Mutex<HashMap<TlsKey, (Instant, ClientConfig)>>,
}

impl TlsConfigs {
    /// The configuration for `key`. Reads files when there is no fresh one.
    pub(crate) fn get(&self, key: &TlsKey) -> Result<ClientConfig, Setup> {
        let now = Instant::now();
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        built.retain(|_, (since, _)| now.duration_since(*since) < FRESH);
        if let Some((_, config)) = built.get(key) {
            return Ok(config.clone());
        }
        let config = build(key)?;
        built.insert(key.clone(), (now, config.clone()));
        Ok(config)
    }
}

fn build(key: &TlsKey) -> Result<ClientConfig, Setup> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let unusable = |path: &Path| Setup::Certificate {
        path: path.display().to_string(),
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|_| unusable(Path::new("")))?;
    let builder = match key.verification {
        Verification::Full => builder.with_root_certificates(roots(&key.ca)?),
        Verification::Skipped => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unverified::new(&provider))),
    };
    let Some((certificate, private)) = &key.client else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(certificate)?;
    let private = private.as_ref().unwrap_or(certificate);
    let bytes = zeroize::Zeroizing::new(read(private)?);
    let private_key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| unusable(private))?;
    builder
        .with_client_auth_cert(chain, private_key)
        .map_err(|_| unusable(certificate))
}

/// The system's authorities and the files'.
fn roots(files: &[PathBuf]) -> Result<RootCertStore, Setup> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for file in files {
        for certificate in certificates(file)? {
            store.add(certificate).map_err(|_| Setup::Certificate {
                path: file.display().to_string(),
            })?;
        }
    }
    Ok(store)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Setup> {
    let bytes = read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) | Err(_) => Err(Setup::Certificate {
            path: file.display().to_string(),
        }),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Setup> {
    let mut bytes = Vec::new();
    fs::File::open(file)
        .and_then(|open| open.take(MAX_PEM_BYTES).read_to_end(&mut bytes))
        .map_err(|_| Setup::Certificate {
            path: file.display().to_string(),
        })?;
    Ok(bytes)
}

/// Accepts every certificate, but still wants the server to hold its key.
#[derive(Debug)]
struct Unverified(WebPkiSupportedAlgorithms);

impl Unverified {
    fn new(provider: &CryptoProvider) -> Self {
        Self(provider.signature_verification_algorithms)
    }
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
