//! Where the real programs are. The one who knows is `tools/parts.sh where`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The programs and images that a suite may start.
#[derive(Clone, Debug)]
pub struct Parts {
    paths: HashMap<String, PathBuf>,
}

/// One part, and the make target that brings it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Debian's containerd.
    Containerd1,
    /// containerd 2.x from its Go module.
    Containerd2,
    /// docker-registry.
    Registry,
    /// A kubelet from its Go module.
    Kubelet,
    /// A kube-apiserver of the kubelet's version.
    ApiServer,
    /// Debian's etcd.
    Etcd,
    /// skopeo, which fills the registry.
    Skopeo,
    /// runc.
    Runc,
    /// The directory of CNI plugins.
    Cni,
    /// iproute2's `ip`.
    Ip,
    /// The directory of test images.
    Images,
}

impl Part {
    fn key(self) -> (&'static str, &'static str) {
        match self {
            Self::Containerd1 => ("containerd1", "parts"),
            Self::Containerd2 => ("containerd2", "parts-e2e"),
            Self::Registry => ("registry", "parts"),
            Self::Kubelet => ("kubelet", "parts-e2e"),
            Self::ApiServer => ("apiserver", "parts-e2e"),
            Self::Etcd => ("etcd", "parts-e2e"),
            Self::Skopeo => ("skopeo", "parts"),
            Self::Runc => ("runc", "parts"),
            Self::Cni => ("cni", "parts"),
            Self::Ip => ("ip", "parts"),
            Self::Images => ("images", "parts"),
        }
    }
}

impl Parts {
    /// Finds the parts. A suite that cannot run fails here, or at [`Parts::path`], and says what to do.
    pub fn require() -> &'static Self {
        static PARTS: OnceLock<Parts> = OnceLock::new();
        PARTS.get_or_init(|| {
            let user = Command::new("id").arg("-u").output().expect("run id");
            assert_eq!(
                String::from_utf8_lossy(&user.stdout).trim(),
                "0",
                "suites on real parts need root: containers, mounts and network namespaces are real; run them as root"
            );
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/parts.sh");
            let output = Command::new(&script)
                .arg("where")
                .output()
                .expect("run tools/parts.sh where");
            assert!(
                output.status.success(),
                "tools/parts.sh where: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            let paths = String::from_utf8(output.stdout)
                .expect("paths are text")
                .lines()
                .filter_map(|line| line.split_once('='))
                .map(|(key, path)| (key.to_owned(), PathBuf::from(path)))
                .collect();
            Parts { paths }
        })
    }

    /// The path of one part; fails with the make target that brings it.
    pub fn path(&self, part: Part) -> &Path {
        let (key, target) = part.key();
        let path = self
            .paths
            .get(key)
            .expect("tools/parts.sh names every part");
        assert!(
            path.exists(),
            "{key} is not at {}: run `make {target}` first",
            path.display()
        );
        path
    }

    /// The OCI layout of one test image (`tools/images.sh` lists them).
    pub fn image(&self, name: &str) -> PathBuf {
        let layout = self.path(Part::Images).join(name);
        assert!(
            layout.exists(),
            "there is no test image `{name}`: tools/images.sh lists them"
        );
        layout
    }
}
