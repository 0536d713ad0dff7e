//! The registry client against Debian's docker-registry, started here on loopback with its own
//! directory. Fails where that program is not installed.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a suite: a broken assumption must end the test"
)]

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pullguard::image::{Digest, Reference};
use pullguard::limits::Limits;
use pullguard::registry::{PullAuth, Registry, RegistryError, RegistrySettings};

const PROGRAM: &str = "docker-registry";
const CONFIG: &[u8] = b"{}";
/// bcrypt of `secret`, as htpasswd makes it.
const HTPASSWD: &str = "alice:$2y$05$W0j.89V35HqeUlgs8M70W.7bMcLKDi1SWsnBewOC5Tvsc5Ojm6ZAW\n";

struct Real {
    child: Child,
    host: String,
    _dir: tempfile::TempDir,
}

impl Drop for Real {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Starts a registry; with `auth` it wants a user.
async fn start(auth: bool) -> Real {
    let dir = tempfile::tempdir().unwrap();
    let host = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let root = dir.path().join("data");
    let mut config = format!(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {host}\n",
        root.display()
    );
    if auth {
        let file = dir.path().join("htpasswd");
        fs::write(&file, HTPASSWD).unwrap();
        config.push_str(&format!(
            "auth:\n  htpasswd:\n    realm: r\n    path: {}\n",
            file.display()
        ));
    }
    let file = dir.path().join("config.yml");
    fs::write(&file, config).unwrap();
    let child = Command::new(PROGRAM)
        .arg("serve")
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("docker-registry must be installed (apt install docker-registry)");
    let real = Real {
        child,
        host,
        _dir: dir,
    };
    let until = Instant::now() + Duration::from_secs(20);
    while tokio::net::TcpStream::connect(&real.host).await.is_err() {
        assert!(Instant::now() < until, "docker-registry does not listen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    real
}

impl Real {
    /// Puts a config blob and a manifest, and returns the manifest.
    async fn push(&self, auth: Option<(&str, &str)>) -> String {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let base = format!("http://{}/v2/team/app", self.host);
        let user = |request: reqwest::RequestBuilder| match auth {
            Some((name, password)) => request.basic_auth(name, Some(password)),
            None => request,
        };
        let config = Digest::of(CONFIG);
        let begun = user(client.post(format!("{base}/blobs/uploads/")));
        let begun = begun.send().await.unwrap().error_for_status().unwrap();
        let at = begun.headers()["location"].to_str().unwrap();
        let put = user(client.put(format!("{at}&digest={config}")).body(CONFIG));
        put.send().await.unwrap().error_for_status().unwrap();
        let kind = "application/vnd.docker.distribution.manifest.v2+json";
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{kind}","config":{{"mediaType":"application/vnd.docker.container.image.v1+json","size":{},"digest":"{config}"}},"layers":[]}}"#,
            CONFIG.len()
        );
        let put = client.put(format!("{base}/manifests/v1"));
        let put = user(put.header("content-type", kind).body(manifest.clone()));
        put.send().await.unwrap().error_for_status().unwrap();
        manifest
    }

    fn reference(&self, tail: &str) -> Reference {
        Reference::parse(&format!("{}/{tail}", self.host)).unwrap()
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn registry() -> Registry {
    Registry::new(RegistrySettings::default(), Limits::default())
}

#[tokio::test]
async fn a_real_registry_gives_tag_manifest_and_blob() {
    let real = start(false).await;
    let manifest = real.push(None).await;
    let registry = registry();
    let reference = real.reference("team/app:v1");
    let found = registry.resolve(&reference, None, soon()).await.unwrap();
    let digest = Digest::of(manifest.as_bytes());
    assert_eq!(found.digest, digest);
    assert_eq!(&found.bytes[..], manifest.as_bytes());
    let repository = reference.repository();
    let again = registry
        .fetch_manifest(repository, &digest, None, soon())
        .await
        .unwrap();
    assert_eq!(again, found);
    let config = Digest::of(CONFIG);
    let blob = registry
        .fetch_blob(repository, &config, 100, None, soon())
        .await
        .unwrap();
    assert_eq!(blob, CONFIG);
}

#[tokio::test]
async fn a_real_registry_says_not_found() {
    let real = start(false).await;
    let reference = real.reference("team/app:v1");
    let result = registry().resolve(&reference, None, soon()).await;
    assert_eq!(result, Err(RegistryError::NotFound));
}

#[tokio::test]
async fn a_real_registry_refuses_without_the_password_and_gives_with_it() {
    let real = start(true).await;
    real.push(Some(("alice", "secret"))).await;
    let reference = real.reference("team/app:v1");
    let registry = registry();
    let nobody = registry.resolve(&reference, None, soon()).await;
    assert_eq!(nobody, Err(RegistryError::Refused));
    let wrong = PullAuth::new().with_password("alice", "wrong");
    let result = registry.resolve(&reference, Some(&wrong), soon()).await;
    assert_eq!(result, Err(RegistryError::Refused));
    let right = PullAuth::new().with_password("alice", "secret");
    let found = registry.resolve(&reference, Some(&right), soon()).await;
    assert!(found.unwrap().authenticated);
}
