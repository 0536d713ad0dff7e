//! Platforms, and which entry of an index containerd would run. Pure.
//!
//! The rules are those of the Go package `containerd/platforms` (`Only`, `Normalize`), which
//! containerd's CRI applies to the node's own platform.

use std::fmt;

use serde::Deserialize;

/// A platform (OCI image index, `platform`; OCI image config). Empty strings where nothing is
/// written.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    /// `os`.
    pub os: String,
    /// `architecture`.
    pub architecture: String,
    /// `variant`.
    pub variant: String,
    /// Whether `os.features` names any: containerd 2.x does not run such an entry on a Linux node.
    pub features: Features,
}

/// Whether a platform asks for features of the operating system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Features {
    /// None are named.
    #[default]
    None,
    /// At least one is named.
    Some,
}

impl Platform {
    /// A Linux node of this architecture (Go's spelling: `amd64`, `arm64`) and variant.
    pub fn linux(architecture: &str, variant: &str) -> Self {
        Self {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
            features: Features::None,
        }
    }

    /// Whether this is the platform of buildkit's attestation manifests, `unknown/unknown`: they
    /// lie in an index and are never run.
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }

    /// How well an image of platform `offered` runs on this node: 0 is best, `None` not at all.
    pub fn rank(&self, offered: &Self) -> Option<usize> {
        if offered.features == Features::Some {
            return None;
        }
        self.rank_of_older(offered)
    }

    /// The same as containerd 1.x has it, which does not look at `os.features`.
    pub fn rank_of_older(&self, offered: &Self) -> Option<usize> {
        let offered = offered.normalized();
        self.acceptable().iter().position(|one| *one == offered)
    }

    /// Go's `Normalize`; an empty `os` is the node's, which is Linux.
    fn normalized(&self) -> Self {
        let os = match self.os.to_ascii_lowercase() {
            os if os.is_empty() => "linux".to_owned(),
            os if os == "macos" => "darwin".to_owned(),
            os => os,
        };
        let architecture = self.architecture.to_ascii_lowercase();
        let variant = self.variant.to_ascii_lowercase();
        let (architecture, variant) = match architecture.as_str() {
            "i386" => ("386", ""),
            "x86_64" | "x86-64" | "amd64" => match variant.as_str() {
                "v1" => ("amd64", ""),
                other => ("amd64", other),
            },
            "aarch64" | "arm64" => match variant.as_str() {
                "8" | "v8" | "v8.0" => ("arm64", ""),
                "9" | "9.0" | "v9.0" => ("arm64", "v9"),
                other => ("arm64", other),
            },
            "armhf" => ("arm", "v7"),
            "armel" => ("arm", "v6"),
            "arm" => match variant.as_str() {
                "" | "7" => ("arm", "v7"),
                "5" => ("arm", "v5"),
                "6" => ("arm", "v6"),
                "8" => ("arm", "v8"),
                other => ("arm", other),
            },
            other => (other, variant.as_str()),
        };
        Self {
            os,
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
            features: Features::None,
        }
    }

    /// Go's `platformVector`: what this node runs, best first.
    fn acceptable(&self) -> Vec<Self> {
        let own = self.normalized();
        let like = |architecture: &str, variant: &str| Self {
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
            ..own.clone()
        };
        let mut all = vec![own.clone()];
        match own.architecture.as_str() {
            "amd64" => {
                let level = version(&own.variant).unwrap_or(1);
                for below in (1..level).rev() {
                    all.push(like("amd64", &format!("v{below}")).normalized());
                }
                all.push(like("386", ""));
            }
            "arm" => all.extend(arm_below(&own.variant).iter().map(|v| like("arm", v))),
            "arm64" => {
                all = arm64_from(&own.variant)
                    .iter()
                    .map(|variant| like("arm64", variant).normalized())
                    .collect();
                // Go's rules: a core that it does not know runs nothing, and every one that it
                // knows also runs 32-bit images.
                if !all.is_empty() {
                    all.push(like("arm", "v8"));
                    all.extend(arm_below("v8").iter().map(|v| like("arm", v)));
                }
            }
            _ => {}
        }
        all
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

fn version(variant: &str) -> Option<u32> {
    variant.strip_prefix('v')?.parse().ok().filter(|v| *v <= 9)
}

fn arm_below(variant: &str) -> &'static [&'static str] {
    match variant {
        "v8" => &["v7", "v6", "v5"],
        "v7" => &["v6", "v5"],
        "v6" => &["v5"],
        _ => &[],
    }
}

/// The arm64 variants that a core of this variant runs, best first; none for an unknown variant.
fn arm64_from(variant: &str) -> Vec<String> {
    let down = |major: u32, minor: u32| {
        (0..=minor).rev().map(move |minor| match minor {
            0 => format!("v{major}"),
            minor => format!("v{major}.{minor}"),
        })
    };
    let written = if variant.is_empty() { "v8" } else { variant };
    let (major, minor) = written.split_once('.').unwrap_or((written, "0"));
    match (major, minor.parse::<u32>()) {
        ("v8", Ok(minor @ 0..=9)) => down(8, minor).collect(),
        ("v9", Ok(minor @ 0..=7)) => down(9, minor).chain(down(8, (minor + 5).min(9))).collect(),
        _ => Vec::new(),
    }
}

/// `platform` as it is written.
#[derive(Deserialize)]
pub(super) struct RawPlatform {
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
    #[serde(rename = "os.features")]
    features: Option<Vec<String>>,
}

impl From<RawPlatform> for Platform {
    fn from(raw: RawPlatform) -> Self {
        Self {
            os: raw.os.unwrap_or_default(),
            architecture: raw.architecture.unwrap_or_default(),
            variant: raw.variant.unwrap_or_default(),
            features: match raw.features {
                Some(features) if !features.is_empty() => Features::Some,
                Some(_) | None => Features::None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(node: (&str, &str), offered: (&str, &str)) -> Option<usize> {
        Platform::linux(node.0, node.1).rank(&Platform::linux(offered.0, offered.1))
    }

    #[test]
    fn a3_an_amd64_node_runs_plain_amd64_then_386_and_no_higher_level() {
        assert_eq!(rank(("amd64", ""), ("amd64", "")), Some(0));
        assert_eq!(rank(("amd64", ""), ("x86_64", "v1")), Some(0));
        assert_eq!(rank(("amd64", ""), ("386", "")), Some(1));
        assert_eq!(rank(("amd64", ""), ("amd64", "v3")), None);
        assert_eq!(rank(("amd64", "v3"), ("amd64", "v2")), Some(1));
        assert_eq!(rank(("amd64", "v3"), ("amd64", "")), Some(2));
        assert_eq!(rank(("amd64", ""), ("arm64", "")), None);
    }

    #[test]
    fn a3_an_arm64_node_runs_arm64_then_32_bit() {
        assert_eq!(rank(("arm64", ""), ("arm64", "v8")), Some(0));
        assert_eq!(rank(("arm64", "v8"), ("aarch64", "")), Some(0));
        assert_eq!(rank(("arm64", ""), ("arm", "v8")), Some(1));
        assert_eq!(rank(("arm64", ""), ("arm", "")), Some(2));
        assert_eq!(rank(("arm64", ""), ("arm64", "v9")), None);
        assert_eq!(rank(("arm64", "v9"), ("arm64", "v8.5")), Some(1));
        assert_eq!(rank(("arm64", "v9"), ("arm64", "")), Some(6));
        assert_eq!(rank(("arm64", "x"), ("arm", "")), None);
        assert_eq!(rank(("arm64", "x"), ("arm64", "x")), None);
    }

    #[test]
    fn a3_another_system_or_wanted_features_never_run() {
        let node = Platform::linux("amd64", "");
        let mut offered = node.clone();
        assert_eq!(node.rank(&offered), Some(0));
        offered.features = Features::Some;
        assert_eq!(node.rank(&offered), None);
        assert_eq!(node.rank_of_older(&offered), Some(0));
        offered.features = Features::None;
        offered.os = "windows".to_owned();
        assert_eq!(node.rank(&offered), None);
        offered.os = String::new();
        assert_eq!(node.rank(&offered), Some(0));
    }
}
