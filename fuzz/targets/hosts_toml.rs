//! A registry's hosts.toml: no panic; it is followed, or it is refused with the file's name.
use std::cell::LazyCell;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{env, fs, process};

use pullguard::image::Repository;
use pullguard::limits::Limits;
use pullguard::registry::{Registry, RegistryError, RegistrySettings};
use tokio::runtime::{Builder, Runtime};

const HOST: &str = "registry.test";

thread_local! {
    /// The root of the hosts.toml directories; one for each fuzzing process.
    static ROOT: LazyCell<PathBuf> = LazyCell::new(|| {
        let root = env::temp_dir().join(format!("pullguard-fuzz-hosts-{}", process::id()));
        fs::create_dir_all(root.join(HOST)).expect("a temporary directory");
        root
    });
    static RUNTIME: LazyCell<Runtime> = LazyCell::new(|| {
        let mut builder = Builder::new_current_thread();
        builder.enable_time().build().expect("a runtime")
    });
}

/// One input; what came of it, for the driver to tell inputs apart.
pub(crate) fn run(bytes: &[u8]) -> String {
    ROOT.with(|root| {
        fs::write(root.join(HOST).join("hosts.toml"), bytes).expect("a temporary file");
        let settings = RegistrySettings {
            certs_dirs: vec![root.to_path_buf()],
            ..RegistrySettings::default()
        };
        let registry = Registry::new(settings, Limits::default());
        let repository = Repository::parse("registry.test/app").expect("a repository");
        // Nothing is dialled until something is asked.
        let opened = registry.open(&repository, None, Instant::now() + Duration::from_secs(20));
        match RUNTIME.with(|runtime| runtime.block_on(opened)) {
            Ok(_) => "followed".to_owned(),
            Err(error @ RegistryError::Unsupported { .. }) => {
                let text = error.to_string();
                assert!(text.contains("hosts.toml"), "{text:?}");
                text
            }
            Err(other) => panic!("{other:?}"),
        }
    })
}
