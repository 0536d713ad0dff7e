//! Which certificates are believed, and which one is shown.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

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
    /// The configuration for `key`, if there is a fresh one.
    pub(crate) fn fresh(&self, key: &TlsKey) -> Option<ClientConfig> {
        let now = Instant::now();
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        built.retain(|_, (since, _)| now.duration_since(*since) < FRESH);
        built.get(key).map(|(_, config)| config.clone())
    }

    /// Keeps what was built of files that were read after `since`.
    pub(crate) fn keep(&self, key: TlsKey, since: Instant, config: ClientConfig) {
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        built.insert(key, (since, config));
    }
}

/// Reads the files of `key`.
pub(crate) fn build(key: &TlsKey) -> Result<ClientConfig, Setup> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let unusable = |path: &Path| Setup::Certificate {
        path: path.display().to_string(),
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|_| unusable(Path::new("")))?;
    let builder = match key.verification {
        Verification::Full => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verified::new(&key.ca, &provider)?)),
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

/// Verifies as webpki does, with one addition: a server whose certificate is itself listed as an
/// authority is that authority. `openssl req -x509` makes such certificates (they say CA:TRUE),
/// people list them as `ca`, and Go, so containerd, takes them.
#[derive(Debug)]
struct Verified {
    /// None: there is no authority at all, so nothing can be believed.
    inner: Option<Arc<WebPkiServerVerifier>>,
    listed: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verified {
    /// The system's authorities and the files'.
    fn new(files: &[PathBuf], provider: &Arc<CryptoProvider>) -> Result<Self, Setup> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let mut listed = Vec::new();
        for file in files {
            let found = certificates(file)?;
            // One odd certificate in a bundle spoils only itself.
            let (added, _) = roots.add_parsable_certificates(found.iter().cloned());
            if added == 0 {
                return Err(Setup::Certificate {
                    path: file.display().to_string(),
                });
            }
            listed.extend(found);
        }
        let provider = Arc::clone(provider);
        let algorithms = provider.signature_verification_algorithms;
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        Ok(Self {
            inner: inner.build().ok(),
            listed,
            algorithms,
        })
    }
}

/// webpki checks a certificate's dates before its constraints: what fails with this is in date.
fn is_authority_as_server(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        return false;
    };
    let webpki = other.0.downcast_ref::<webpki::Error>();
    webpki == Some(&webpki::Error::CaUsedAsEndEntity)
}

impl ServerCertVerifier for Verified {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let unknown = || rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let inner = self.inner.as_ref().ok_or_else(unknown)?;
        let error = match inner.verify_server_cert(leaf, chain, name, ocsp, now) {
            Ok(verified) => return Ok(verified),
            Err(error) => error,
        };
        if !(is_authority_as_server(&error) && self.listed.iter().any(|one| one == leaf)) {
            return Err(error);
        }
        verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
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
