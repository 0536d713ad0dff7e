//! The registry client against a registry that lies, stalls and points elsewhere. Loopback only.
//! Each attack has a twin that differs in one thing and is let through.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a suite: a broken assumption must end the test"
)]

mod addresses;
mod credentials;
mod disk;
mod faults;
mod heads;
mod mirrors;
mod server;
mod sizes;
mod times;
mod tls;

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pullguard::image::{Digest, Reference};
use pullguard::limits::Limits;
use pullguard::registry::{
    Address, Cause, Fault, Lookup, Names, PullAuth, Registry, RegistryError, RegistrySettings,
    Resolved,
};
use server::{Reply, Seen, Server};

const MANIFEST: &[u8] = br#"{"schemaVersion":2}"#;

/// `host/team/app:v1`.
fn tagged(host: &str) -> Reference {
    Reference::parse(&format!("{host}/team/app:v1")).unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn plain() -> Registry {
    with(RegistrySettings::default())
}

fn with(settings: RegistrySettings) -> Registry {
    Registry::new(settings, Limits::default())
}

fn limited(limits: Limits) -> Registry {
    Registry::new(RegistrySettings::default(), limits)
}

async fn resolve(registry: &Registry, host: &str) -> Result<Resolved, RegistryError> {
    registry.resolve(&tagged(host), None, soon()).await
}

async fn resolve_as(
    registry: &Registry,
    host: &str,
    auth: &PullAuth,
) -> Result<Resolved, RegistryError> {
    registry.resolve(&tagged(host), Some(auth), soon()).await
}

fn alice() -> PullAuth {
    PullAuth::new().with_password("alice", "secret")
}

/// base64 of `alice:secret`.
const ALICE: &str = "Basic YWxpY2U6c2VjcmV0";

fn bad<T>(fault: Fault) -> Result<T, RegistryError> {
    Err(RegistryError::Bad { fault })
}

fn unreachable<T>(cause: Cause) -> Result<T, RegistryError> {
    Err(silent(cause))
}

/// No host gave an answer.
fn silent(cause: Cause) -> RegistryError {
    RegistryError::Unreachable {
        cause,
        every_host: true,
    }
}

/// The registry itself gave none; a mirror did.
fn own_silent(cause: Cause) -> RegistryError {
    RegistryError::Unreachable {
        cause,
        every_host: false,
    }
}

/// Names of a test: what each claims, all dialled on loopback. An answer that is not the last of
/// its list is given once.
#[derive(Debug, Default)]
struct Table {
    answers: Mutex<HashMap<String, Vec<IpAddr>>>,
    asked: Mutex<Vec<String>>,
}

impl Table {
    fn of(rows: &[(&str, &[&str])]) -> Arc<Self> {
        let answers = rows
            .iter()
            .map(|(name, claims)| {
                let claims = claims.iter().map(|claim| claim.parse().unwrap()).collect();
                ((*name).to_owned(), claims)
            })
            .collect();
        Arc::new(Self {
            answers: Mutex::new(answers),
            asked: Mutex::default(),
        })
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Names for Table {
    fn lookup(&self, host: &str) -> Lookup {
        self.asked.lock().unwrap().push(host.to_owned());
        let mut answers = self.answers.lock().unwrap();
        let claimed = answers.get_mut(host).map(|list| {
            if list.len() > 1 {
                list.remove(0)
            } else {
                list[0]
            }
        });
        Box::pin(async move {
            let claimed = claimed.ok_or_else(|| io::Error::other("no such name"))?;
            let dial = "127.0.0.1".parse().unwrap();
            Ok(vec![Address { claimed, dial }])
        })
    }
}

/// `registry.test` is public by name and address, and spoken to in plain text.
fn public(server: &Server, names: &Arc<Table>) -> (Registry, String) {
    let host = format!("registry.test:{}", server.port());
    let settings = RegistrySettings {
        insecure: vec![host.clone()],
        ..RegistrySettings::default()
    };
    let names: Arc<dyn Names> = names.clone();
    (
        Registry::with_names(settings, Limits::default(), names),
        host,
    )
}

fn serves_manifest(_: &Seen) -> Reply {
    Reply::ok(MANIFEST)
}

#[tokio::test]
async fn a_tag_resolves_to_the_digest_of_the_bytes_that_came() {
    let server = Server::start(serves_manifest);
    let found = resolve(&plain(), &server.host()).await.unwrap();
    assert_eq!(found.digest, Digest::of(MANIFEST));
    assert_eq!(&found.bytes[..], MANIFEST);
    assert_eq!(
        found.media_type,
        "application/vnd.oci.image.manifest.v1+json"
    );
    assert_eq!(found.endpoint, server.host());
    assert!(!found.authenticated);
    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].method, "GET");
    assert_eq!(seen[0].target, "/v2/team/app/manifests/v1");
}
