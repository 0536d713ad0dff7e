//! What the guard asks of registries: a tag's digest, a manifest, a blob; over the same mirrors as
//! containerd, bounded in time, size and number.
//!
//! Every byte that comes back has been hashed against the digest that it is returned under.
//! Absent, refused and unreachable are three results ([`RegistryError`]). A credential goes only
//! to the host it was given for. Refuses: redirects to another scheme, realms at other hosts,
//! loopback and link-local targets of registries that are not on loopback, encoded bodies, and
//! everything over its limit.

mod address;
mod challenge;
mod credentials;
mod endpoint;
mod error;
mod files;
mod hosts;
mod lane;
mod settings;
mod tls;
mod token;
mod trace;
mod transport;
mod trip;

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use tokio::time::Instant;

pub use address::{Address, Lookup, Names, SystemNames};
pub use credentials::PullAuth;
pub use error::{Cause, Fault, RegistryError, Setup, TlsFault};
pub use settings::RegistrySettings;
pub use trace::{HostAnswer, HostOutcome, HostRole, Trace};

use self::endpoint::Need;
use self::error::Failures;
use self::files::Files;
use self::lane::{Ask, Lane};
use self::tls::TlsConfigs;
use self::transport::{Answer, Slots, bad};
use crate::image::{Digest, Reference, Repository};
use crate::limits::Limits;

/// What is accepted as a manifest; the same list as containerd's, so that a registry that chooses
/// by it chooses the same for both.
const MANIFESTS: &str = "application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, */*";

/// The registries as this node reaches them. One for the whole daemon: it holds the bounds on
/// fetches at once. Nothing that was fetched, and no credential, outlives an operation in it.
#[derive(Debug)]
pub struct Registry {
    settings: Arc<RegistrySettings>,
    limits: Limits,
    names: Arc<dyn Names>,
    files: Files,
    tls: TlsConfigs,
    slots: Slots,
}

/// A manifest or index, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The sha256 of `bytes`.
    pub digest: Digest,
    /// `Content-Type` without parameters; empty if there was none. A hint: the document decides.
    pub media_type: String,
    /// The document as it came.
    pub bytes: Bytes,
    /// The host that answered, a mirror perhaps, port included if it is written.
    pub endpoint: String,
    /// Whether a credential was used.
    pub authenticated: bool,
}

/// The answer of [`KnownBytes`], boxed so that it can stand behind a pointer.
pub type Known<'a> = Pin<Box<dyn Future<Output = Option<Bytes>> + Send + 'a>>;

/// Bytes that are on the node already.
pub trait KnownBytes: fmt::Debug + Sync {
    /// The manifest or index with this digest, if it is here. What does not hash to it is dropped.
    fn bytes<'a>(&'a self, digest: &'a Digest) -> Known<'a>;
}

impl Registry {
    /// A client for `settings`, bounded by `limits`, with the system's resolver.
    #[must_use]
    pub fn new(settings: RegistrySettings, limits: Limits) -> Self {
        Self::with_names(settings, limits, Arc::new(SystemNames))
    }

    /// Like [`Registry::new`], with another resolver; for tests that play a public host on
    /// loopback.
    #[must_use]
    pub fn with_names(settings: RegistrySettings, limits: Limits, names: Arc<dyn Names>) -> Self {
        let limits = Limits {
            connect_timeout: settings.connect_timeout.unwrap_or(limits.connect_timeout),
            header_timeout: settings.header_timeout.unwrap_or(limits.header_timeout),
            ..limits
        };
        let slots = Slots::new(&limits);
        Self {
            settings: Arc::new(settings),
            limits,
            names,
            files: Files::default(),
            tls: TlsConfigs::default(),
            slots,
        }
    }

    /// Where hosts.toml directories are looked for.
    #[must_use]
    pub fn certs_dirs(&self) -> &[PathBuf] {
        &self.settings.certs_dirs
    }

    /// One operation on one repository: reads hosts.toml, then shares connections and tokens
    /// among its requests. Everything in it ends with it.
    ///
    /// # Errors
    /// [`RegistryError::Unsupported`] for hosts.toml, certificates or a proxy that cannot be
    /// followed or not read in time, [`RegistryError::Bad`] for a host that cannot stand in a URL.
    pub async fn open<'a>(
        &'a self,
        repository: &'a Repository,
        auth: Option<&'a PullAuth>,
        deadline: std::time::Instant,
    ) -> Result<Session<'a>, RegistryError> {
        let deadline = Instant::from_std(deadline);
        let (settings, host) = (Arc::clone(&self.settings), repository.host().to_owned());
        let look = move || hosts::endpoints(&settings, &host);
        let lanes = self.files.look(deadline, look).await?;
        Ok(Session {
            registry: self,
            repository,
            auth,
            deadline,
            lanes: lanes.into_iter().map(Lane::new).collect(),
            known: None,
        })
    }

    /// Asks which manifest or index `reference` is now, and returns it. With a tag the hosts that
    /// may resolve are asked, with a digest those that may say whether the repository holds it.
    ///
    /// # Errors
    /// [`RegistryError`], by the rule of [`Session`].
    pub async fn resolve(
        &self,
        reference: &Reference,
        auth: Option<&PullAuth>,
        deadline: std::time::Instant,
    ) -> Result<Resolved, RegistryError> {
        let mut session = self.open(reference.repository(), auth, deadline).await?;
        match reference {
            Reference::Tagged { tag, .. } => session.resolve_tag(tag).await,
            Reference::Digested { digest, .. } => session.name_manifest(digest).await,
        }
    }

    /// Fetches the manifest or index `digest` of `repository`.
    ///
    /// # Errors
    /// [`RegistryError`], by the rule of [`Session`].
    pub async fn fetch_manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
        auth: Option<&PullAuth>,
        deadline: std::time::Instant,
    ) -> Result<Resolved, RegistryError> {
        let mut session = self.open(repository, auth, deadline).await?;
        session.fetch_manifest(digest).await
    }

    /// Fetches the blob `digest` of `repository`, at most `max` bytes.
    ///
    /// # Errors
    /// [`RegistryError`], by the rule of [`Session`].
    pub async fn fetch_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        max: usize,
        auth: Option<&PullAuth>,
        deadline: std::time::Instant,
    ) -> Result<Bytes, RegistryError> {
        let mut session = self.open(repository, auth, deadline).await?;
        session.fetch_blob(digest, max).await
    }
}

/// One operation: requests about one repository, with one pull's credentials, until one deadline.
///
/// Each request goes to the hosts of hosts.toml in order, the registry itself last, as containerd
/// does, until one gives content that hashes to what it should. If none does, the registry's own
/// host decides whether there was an answer: silent, the failure is its silence, whatever mirrors
/// said; else what speaks is, in this order, a setting that cannot be followed, a bad answer, a
/// refusal, and "not found" only if every host that answered said so. Where the registry's own host
/// lacks the capability, any host's silence speaks first. Among equals the first host asked speaks.
#[derive(Debug)]
pub struct Session<'a> {
    registry: &'a Registry,
    repository: &'a Repository,
    auth: Option<&'a PullAuth>,
    deadline: Instant,
    lanes: Vec<Lane>,
    known: Option<&'a dyn KnownBytes>,
}

impl<'a> Session<'a> {
    /// Looks at `known` before it downloads what a tag means or what a repository holds.
    #[must_use]
    pub fn knowing(mut self, known: &'a dyn KnownBytes) -> Self {
        self.known = Some(known);
        self
    }
}

impl Session<'_> {
    /// The repository that is asked.
    pub fn repository(&self) -> &Repository {
        self.repository
    }

    /// The manifest or index that `tag` names now. A host is asked for the digest first, as
    /// containerd does: registries count downloads, not this. Its word for the digest is what is
    /// judged and pulled; the bytes are hashed wherever they come from.
    ///
    /// # Errors
    /// [`RegistryError`], by the rule of this type.
    pub async fn resolve_tag(&mut self, tag: &str) -> Result<Resolved, RegistryError> {
        self.manifest(Need::Resolve, tag, None).await
    }

    /// The manifest or index with this digest, from a host whose answer says that the repository
    /// holds it: the registry itself, or a mirror with `resolve`. What a content-addressed mirror
    /// with `pull` alone answers says nothing about the repository.
    ///
    /// # Errors
    /// [`RegistryError`], by the rule of this type.
    pub async fn name_manifest(&mut self, digest: &Digest) -> Result<Resolved, RegistryError> {
        let object = digest.to_string();
        self.manifest(Need::Name, &object, Some(digest)).await
    }

    /// The manifest or index with this digest, from any host: bytes, and no name.
    ///
    /// # Errors
    /// [`RegistryError`], by the rule of this type.
    pub async fn fetch_manifest(&mut self, digest: &Digest) -> Result<Resolved, RegistryError> {
        let object = digest.to_string();
        self.manifest(Need::Pull, &object, Some(digest)).await
    }

    /// The blob with this digest, at most `max` bytes.
    ///
    /// # Errors
    /// [`RegistryError`], by the rule of this type.
    pub async fn fetch_blob(
        &mut self,
        digest: &Digest,
        max: usize,
    ) -> Result<Bytes, RegistryError> {
        let object = digest.to_string();
        let found = self
            .ask_all(Need::Pull, "blobs", &object, Some(digest), max)
            .await?;
        Ok(found.bytes)
    }

    async fn manifest(
        &mut self,
        need: Need,
        object: &str,
        digest: Option<&Digest>,
    ) -> Result<Resolved, RegistryError> {
        let max = self.registry.limits.max_manifest_bytes;
        self.ask_all(need, "manifests", object, digest, max).await
    }

    async fn ask_all(
        &mut self,
        need: Need,
        kind: &'static str,
        object: &str,
        digest: Option<&Digest>,
        max_body: usize,
    ) -> Result<Resolved, RegistryError> {
        let mut failures = Failures::default();
        let last = self.lanes.iter().rposition(|lane| lane.endpoint.can(need));
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            if !lane.endpoint.can(need) {
                continue;
            }
            let ask = Ask {
                registry: self.registry,
                repository: self.repository,
                auth: self.auth,
                deadline: self.deadline,
                kind,
                object,
                accept: if kind == "manifests" {
                    MANIFESTS
                } else {
                    "*/*"
                },
                max_body,
                last: last == Some(index),
                head: false,
            };
            let answer = match need {
                Need::Resolve => ask_tag(lane, ask, self.known).await,
                Need::Name => ask_name(lane, ask, digest, self.known).await,
                Need::Pull => ask_one(lane, ask, digest).await,
            };
            match answer {
                Ok(resolved) => return Ok(resolved),
                Err(error) => failures.add(lane.endpoint.own, error),
            }
        }
        Err(failures.speaks())
    }
}

/// Which digest a tag means to one host, and the bytes of that: from the node or from the host.
async fn ask_tag(
    lane: &mut Lane,
    ask: Ask<'_>,
    known: Option<&dyn KnownBytes>,
) -> Result<Resolved, RegistryError> {
    let head = match lane.get(Ask { head: true, ..ask }).await {
        // Not every registry knows HEAD.
        Err(RegistryError::Bad {
            fault: Fault::Status { code: 405 },
        }) => return ask_one(lane, ask, None).await,
        asked => asked?,
    };
    let Some(digest) = claimed(&head)? else {
        return ask_one(lane, ask, None).await;
    };
    if let Some(bytes) = here(known, &digest).await {
        return Ok(resolved(lane, digest, &head, bytes));
    }
    let object = digest.to_string();
    let ask = Ask {
        object: &object,
        ..ask
    };
    ask_one(lane, ask, Some(&digest)).await
}

/// Whether one host's repository holds `digest`: its word is enough where the bytes are here.
async fn ask_name(
    lane: &mut Lane,
    ask: Ask<'_>,
    digest: Option<&Digest>,
    known: Option<&dyn KnownBytes>,
) -> Result<Resolved, RegistryError> {
    let Some(wanted) = digest else {
        return ask_one(lane, ask, None).await;
    };
    let Some(bytes) = here(known, wanted).await else {
        return ask_one(lane, ask, digest).await;
    };
    match lane.get(Ask { head: true, ..ask }).await {
        Ok(head) if claimed(&head)? == Some(*wanted) => Ok(resolved(lane, *wanted, &head, bytes)),
        // Not every registry knows HEAD, or says there what it is about.
        Ok(_)
        | Err(RegistryError::Bad {
            fault: Fault::Status { code: 405 },
        }) => ask_one(lane, ask, digest).await,
        Err(error) => Err(error),
    }
}

/// The bytes of `digest`, if they are on the node.
async fn here(known: Option<&dyn KnownBytes>, digest: &Digest) -> Option<Bytes> {
    let bytes = known?.bytes(digest).await?;
    (Digest::of(&bytes) == *digest).then_some(bytes)
}

fn resolved(lane: &Lane, digest: Digest, answer: &Answer, bytes: Bytes) -> Resolved {
    Resolved {
        digest,
        media_type: media_type(answer),
        bytes,
        endpoint: lane.endpoint.host.clone(),
        authenticated: lane.authenticated(),
    }
}

/// The digest that an answer says it is of.
fn claimed(answer: &Answer) -> Result<Option<Digest>, RegistryError> {
    let mut found = None;
    for value in answer.headers.get_all("docker-content-digest") {
        let digest = value
            .to_str()
            .ok()
            .and_then(|text| Digest::parse(text).ok());
        let digest = digest.ok_or(bad(Fault::DigestHeader))?;
        if found.is_some_and(|found| found != digest) {
            return Err(bad(Fault::DigestHeader));
        }
        found = Some(digest);
    }
    Ok(found)
}

/// One question to one host, and its answer held to its hash.
async fn ask_one(
    lane: &mut Lane,
    ask: Ask<'_>,
    digest: Option<&Digest>,
) -> Result<Resolved, RegistryError> {
    let answer = lane.get(ask).await?;
    let digest = judge(&answer, digest)?;
    let bytes = answer.body.clone();
    Ok(resolved(lane, digest, &answer, bytes))
}

/// Holds the body to the digest that was asked for and to the one that the header claims.
fn judge(answer: &Answer, wanted: Option<&Digest>) -> Result<Digest, RegistryError> {
    let found = Digest::of(&answer.body);
    if wanted.is_some_and(|wanted| *wanted != found) {
        return Err(bad(Fault::DigestMismatch));
    }
    if claimed(answer)?.is_some_and(|claimed| claimed != found) {
        return Err(bad(Fault::DigestHeader));
    }
    Ok(found)
}

fn media_type(answer: &Answer) -> String {
    let value = answer.headers.get(CONTENT_TYPE);
    let text = value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let bare = text.split(';').next().unwrap_or_default();
    bare.trim().to_owned()
}
