//! What containerd says of its own settings: the pause image, runtimes, snapshotters. A typed,
//! partial reading of the JSON of `Status` (verbose): keys that the guard does not need pass, keys
//! that it needs must have their type.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::ContainerdError;

/// Snapshotters that unpack from layers whose diff IDs the unpacker has compared with the image
/// config. Any other one may show a root filesystem that nobody checked.
pub const VERIFYING_SNAPSHOTTERS: [&str; 5] = ["overlayfs", "native", "btrfs", "zfs", "erofs"];

/// The directory of a snapshotter below containerd's root ends in this and its name.
const SNAPSHOTTER_DIRECTORY: &str = "io.containerd.snapshotter.v1.";

/// A runtime handler as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeHandler {
    /// `runtimeType`: `io.containerd.runc.v2`, `io.containerd.kata.v2`, …
    pub runtime_type: String,
    /// The handler's own snapshotter; `None` where the default one holds.
    pub snapshotter: Option<String>,
}

/// containerd's settings, as far as the guard stands on them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeFacts {
    /// The pause image's name (`sandboxImage`): containerd 1.x only; 2.x does not say it here.
    pub pause_image: Option<String>,
    /// The handler of a sandbox that names none.
    pub default_runtime: Option<String>,
    /// Every configured handler, by name.
    pub handlers: BTreeMap<String, RuntimeHandler>,
    /// The default snapshotter: from the settings (1.x), else the first that `ImageFsInfo`
    /// lists (2.x: the default one comes first, whatever it stores).
    /// `None` if containerd does not say.
    pub snapshotter: Option<String>,
    /// How it reaches registries: containerd 1.x only; 2.x does not say it here.
    pub registry: RegistryFacts,
    /// Where containerd keeps what only the node may touch, as it says itself: its root and state,
    /// the binaries and settings of CNI, the specs of CDI, the settings of registries.
    pub directories: Vec<String>,
}

/// How containerd says that it reaches registries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryFacts {
    /// `config_path`, roots of hosts.toml directories; empty if it has none.
    pub config_path: Vec<PathBuf>,
    /// Registries that `config.toml` itself has mirrors, TLS settings or credentials for.
    pub inline: Vec<String>,
}

impl RegistryFacts {
    /// Why the guard, which reads hosts.toml below `certs_dirs`, asks other hosts than containerd.
    pub fn differs_from(&self, certs_dirs: &[PathBuf]) -> Option<String> {
        if !self.inline.is_empty() {
            return Some(format!(
                "containerd's config.toml has settings of its own for {}, which the guard does not \
                 read; move them to hosts.toml, and credentials to `registry.credentials`",
                self.inline.join(", ")
            ));
        }
        if self.config_path.is_empty() || self.config_path == certs_dirs {
            return None;
        }
        let shown: Vec<_> = self.config_path.iter().map(|one| one.display()).collect();
        Some(format!(
            "containerd's config_path is {shown:?}, the guard's `certs_dir` is {certs_dirs:?}; \
             they must be the same"
        ))
    }
}

impl RuntimeFacts {
    /// Reads info `config` of a verbose status, and the mountpoints of `ImageFsInfo`, which name
    /// the snapshotters that 2.x no longer tells in its settings.
    pub(super) fn parse(
        config: Option<&str>,
        mountpoints: Vec<String>,
    ) -> Result<Self, ContainerdError> {
        let bad = |why: String| ContainerdError::Bad {
            name: "Status".to_owned(),
            why,
        };
        let config = config.ok_or_else(|| bad("it does not tell its settings".to_owned()))?;
        let config: Config = serde_json::from_str(config)
            .map_err(|error| bad(format!("its settings cannot be read: {error}")))?;
        let directories = config.directories();
        let containerd = config.containerd;
        let stated = containerd.snapshotter.filter(|name| !name.is_empty());
        Ok(Self {
            pause_image: config.sandbox_image.filter(|name| !name.is_empty()),
            default_runtime: containerd
                .default_runtime_name
                .filter(|name| !name.is_empty()),
            handlers: containerd
                .runtimes
                .unwrap_or_default()
                .into_iter()
                .map(|(name, runtime)| (name, runtime.into()))
                .collect(),
            snapshotter: stated.or_else(|| first_snapshotter(&mountpoints)),
            registry: config.registry.map(Into::into).unwrap_or_default(),
            directories,
        })
    }

    /// The snapshotter that unpacks images for `handler` (empty: the default handler); `None` if
    /// the handler is not configured or containerd does not say.
    pub fn snapshotter_of(&self, handler: &str) -> Option<&str> {
        let handler = self.handlers.get(self.effective_name(handler)?)?;
        handler
            .snapshotter
            .as_deref()
            .or(self.snapshotter.as_deref())
    }

    /// The name of the handler that containerd takes for `handler`: empty is the default one.
    /// `None` if containerd does not say which that is.
    pub fn effective_name<'a>(&'a self, handler: &'a str) -> Option<&'a str> {
        if handler.is_empty() {
            self.default_runtime.as_deref()
        } else {
            Some(handler)
        }
    }

    /// Whether what `handler` runs is what containerd verified: its snapshotter is known and is one
    /// of [`VERIFYING_SNAPSHOTTERS`].
    pub fn verifies(&self, handler: &str) -> bool {
        self.snapshotter_of(handler)
            .is_some_and(|name| VERIFYING_SNAPSHOTTERS.contains(&name))
    }
}

/// `config` of the CRI plugin; 1.x and 2.x differ in what is there, not in the names.
#[derive(Deserialize)]
struct Config {
    containerd: ContainerdConfig,
    #[serde(rename = "sandboxImage")]
    sandbox_image: Option<String>,
    #[serde(rename = "containerdRootDir")]
    containerd_root: Option<String>,
    #[serde(rename = "rootDir")]
    root: Option<String>,
    #[serde(rename = "stateDir")]
    state: Option<String>,
    #[serde(rename = "cdiSpecDirs")]
    cdi: Option<Vec<String>>,
    cni: Option<Cni>,
    registry: Option<Registry>,
}

#[derive(Deserialize)]
struct Registry {
    #[serde(rename = "configPath")]
    config_path: Option<String>,
    // Credentials are in here: the values are passed over, not kept.
    mirrors: Option<BTreeMap<String, IgnoredAny>>,
    configs: Option<BTreeMap<String, IgnoredAny>>,
    auths: Option<BTreeMap<String, IgnoredAny>>,
}

impl From<Registry> for RegistryFacts {
    fn from(registry: Registry) -> Self {
        let path = registry.config_path.unwrap_or_default();
        let tables = [registry.mirrors, registry.configs, registry.auths];
        let mut inline: Vec<String> = tables
            .into_iter()
            .flatten()
            .flat_map(BTreeMap::into_keys)
            .collect();
        inline.sort();
        inline.dedup();
        Self {
            config_path: path
                .split(':')
                .filter(|one| !one.is_empty())
                .map(PathBuf::from)
                .collect(),
            inline,
        }
    }
}

#[derive(Deserialize)]
struct Cni {
    // `binDir` until 2.0, `binDirs` since 2.1.
    #[serde(rename = "binDir")]
    binaries: Option<String>,
    #[serde(rename = "binDirs")]
    more_binaries: Option<Vec<String>>,
    #[serde(rename = "confDir")]
    settings: Option<String>,
}

impl Config {
    fn directories(&self) -> Vec<String> {
        let cni = self.cni.as_ref();
        let listed = cni.and_then(|cni| cni.more_binaries.as_ref());
        let registries = self.registry.as_ref();
        let registries = registries.and_then(|registry| registry.config_path.as_deref());
        [&self.containerd_root, &self.root, &self.state]
            .into_iter()
            .chain(
                cni.into_iter()
                    .flat_map(|cni| [&cni.binaries, &cni.settings]),
            )
            .flatten()
            .chain(listed.into_iter().flatten())
            .chain(self.cdi.iter().flatten())
            .map(String::as_str)
            .chain(registries.into_iter().flat_map(|paths| paths.split(':')))
            .filter(|path| !path.is_empty())
            .map(whole)
            .collect()
    }
}

/// A plugin's directory stands for containerd's whole root or state: the plugins beside it hold root
/// filesystems and what shims run on.
fn whole(path: &str) -> String {
    match path.trim_end_matches('/').rsplit_once('/') {
        Some((parent, plugin)) if plugin.starts_with("io.containerd.") => parent.to_owned(),
        Some(_) | None => path.to_owned(),
    }
}

#[derive(Deserialize)]
struct ContainerdConfig {
    snapshotter: Option<String>,
    #[serde(rename = "defaultRuntimeName")]
    default_runtime_name: Option<String>,
    runtimes: Option<BTreeMap<String, Runtime>>,
}

#[derive(Deserialize)]
struct Runtime {
    // 1.6 marshals some fields of a runtime without JSON names; both spellings are read.
    #[serde(rename = "runtimeType", alias = "Type", default)]
    runtime_type: String,
    #[serde(alias = "Snapshotter", default)]
    snapshotter: Option<String>,
}

impl From<Runtime> for RuntimeHandler {
    fn from(runtime: Runtime) -> Self {
        Self {
            runtime_type: runtime.runtime_type,
            snapshotter: runtime.snapshotter.filter(|name| !name.is_empty()),
        }
    }
}

/// The snapshotter that the first mountpoint names: containerd 2.x puts the default one there
/// (internal/cri/server/images/imagefs_info.go).
fn first_snapshotter(mountpoints: &[String]) -> Option<String> {
    let last = mountpoints.first()?.rsplit('/').next()?;
    let name = last.strip_prefix(SNAPSHOTTER_DIRECTORY)?;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests;
