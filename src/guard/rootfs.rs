//! Whether a container that containerd made stands on the layers of the image that was proven.
//! containerd takes an ID to a name of the image, and the name to whatever it leads to at that
//! moment; a name that is moved in between would put other layers under the ID.

use super::{ASK, Inner};
use crate::containerd::{ContainerState, ContainerdError};
use crate::image::Digest;
use crate::policy::{Code, Denial, Text};
use crate::request::{CreateAsk, IdRange, UserNamespace};

/// What a container must stand on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The snapshot of the proven image's layers; `None` if it has none.
    pub(super) layers: Option<Digest>,
    /// The container's user namespace.
    pub(super) user: UserNamespace,
    /// The snapshotter of the sandbox's handler, as far as containerd's settings tell it.
    pub(super) snapshotter: Option<String>,
    /// The image, as the pod names it.
    pub(super) shown: String,
}

impl Inner {
    /// Compares, and takes the container away if it stands on something else, or if that cannot be
    /// told: it was not started yet.
    pub(super) async fn judge_rootfs(
        &self,
        container: &str,
        wanted: &Wanted,
    ) -> Result<(), Denial> {
        let containerd = &self.parts.containerd;
        let snapshotter = wanted.snapshotter.as_deref();
        let parent = containerd.rootfs_parent(container, snapshotter, ASK).await;
        let denial = match parent {
            Ok(parent) if stands_on(&parent, wanted) => return Ok(()),
            Ok(_) => other_layers(&wanted.shown),
            Err(error) => super::prove::runtime(&error),
        };
        self.remove_refused(container).await;
        Err(denial)
    }

    /// Takes away what a create made that nobody was told of: what is only created in this sandbox
    /// under this name, and was not let through here.
    pub(super) async fn remove_unnamed(&self, ask: &CreateAsk) {
        let containers = match self.parts.containerd.list_containers(ASK).await {
            Ok(containers) => containers,
            Err(error) => {
                tracing::warn!(%error, "a refused container was not looked for");
                return;
            }
        };
        let unnamed = containers.into_iter().filter(|one| {
            one.state == ContainerState::Created
                && one.sandbox_id.as_ref() == Some(&ask.sandbox_id)
                && one.name == ask.container.name
                && self.parts.ledger.container(&one.id).is_none()
        });
        for container in unnamed {
            self.remove_refused(&container.id).await;
        }
    }

    async fn remove_refused(&self, container: &str) {
        match self.parts.containerd.remove_container(container, ASK).await {
            Ok(()) | Err(ContainerdError::NotFound { .. }) => {}
            Err(error) => {
                tracing::warn!(container, %error, "a refused container could not be removed");
            }
        }
    }
}

/// Whether a snapshot of this name holds the wanted layers and nothing else: the chain ID, or the
/// name of a copy that containerd remapped for the container's user namespace where the
/// snapshotter cannot do so while mounting.
fn stands_on(parent: &str, wanted: &Wanted) -> bool {
    let Some(layers) = wanted.layers else {
        return parent.is_empty();
    };
    parent == layers.to_string()
        || match &wanted.user {
            UserNamespace::None => false,
            UserNamespace::Pod { uids, gids } => {
                remapped_by_ids(&layers, uids, gids).as_deref() == Some(parent)
                    || remapped_by_hash(&layers, uids, gids).to_string() == parent
            }
        }
}

/// containerd 1.7 and 2.0: the chain ID and the first ids on the host.
fn remapped_by_ids(layers: &Digest, uids: &[IdRange], gids: &[IdRange]) -> Option<String> {
    let (uid, gid) = (uids.first()?, gids.first()?);
    Some(format!("{layers}-{}-{}", uid.host_id, gid.host_id))
}

/// containerd 2.1 and newer: the digest of the JSON of parent and sorted mappings (containerd
/// client/snapshotter_opts_unix.go, `remappedSnapshot`).
fn remapped_by_hash(layers: &Digest, uids: &[IdRange], gids: &[IdRange]) -> Digest {
    let json = format!(
        r#"{{"Parent":"{layers}","IDMap":{{"UidMap":{},"GidMap":{}}}}}"#,
        mappings(uids),
        mappings(gids)
    );
    Digest::of(json.as_bytes())
}

fn mappings(ranges: &[IdRange]) -> String {
    let mut sorted = ranges.to_vec();
    sorted.sort_by_key(|range| range.container_id);
    let each: Vec<String> = sorted
        .iter()
        .map(|range| {
            format!(
                r#"{{"containerID":{},"hostID":{},"size":{}}}"#,
                range.container_id, range.host_id, range.length
            )
        })
        .collect();
    format!("[{}]", each.join(","))
}

fn other_layers(shown: &str) -> Denial {
    let text = Text::new()
        .words("image ")
        .value(shown)
        .words(" was given the root filesystem of another image: one of its names was moved")
        .advice("the kubelet tries again; if it stays, remove the image from the node");
    Denial::say(Code::ImgUnproven, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(letter: char) -> Digest {
        Digest::parse(&format!("sha256:{}", letter.to_string().repeat(64))).unwrap()
    }

    fn wanted(layers: Option<Digest>, user: UserNamespace) -> Wanted {
        Wanted {
            layers,
            user,
            snapshotter: None,
            shown: "r.example/a:1".to_owned(),
        }
    }

    fn range(host_id: u32) -> IdRange {
        IdRange {
            host_id,
            container_id: 0,
            length: 65536,
        }
    }

    fn userns() -> UserNamespace {
        UserNamespace::Pod {
            uids: vec![range(131_072)],
            gids: vec![range(196_608)],
        }
    }

    #[test]
    fn a_container_stands_on_the_layers_that_were_proven_and_on_no_others() {
        let good = wanted(Some(digest('a')), UserNamespace::None);
        assert!(stands_on(&digest('a').to_string(), &good));
        for other in [
            String::new(),
            digest('b').to_string(),
            format!("{}-0-0", digest('a')),
        ] {
            assert!(!stands_on(&other, &good), "{other}");
        }
    }

    #[test]
    fn an_image_without_layers_stands_on_nothing() {
        let empty = wanted(None, UserNamespace::None);
        assert!(stands_on("", &empty));
        assert!(!stands_on(&digest('a').to_string(), &empty));
    }

    #[test]
    fn layers_that_were_remapped_for_the_user_namespace_are_the_same_layers() {
        let good = wanted(Some(digest('a')), userns());
        let plain = digest('a').to_string();
        assert!(stands_on(&plain, &good));
        assert!(stands_on(&format!("{plain}-131072-196608"), &good));
        let json = format!(
            r#"{{"Parent":"{plain}","IDMap":{{"UidMap":[{{"containerID":0,"hostID":131072,"size":65536}}],"GidMap":[{{"containerID":0,"hostID":196608,"size":65536}}]}}}}"#
        );
        assert!(stands_on(&Digest::of(json.as_bytes()).to_string(), &good));
    }

    #[test]
    fn other_layers_remapped_for_the_user_namespace_are_other_layers() {
        let good = wanted(Some(digest('a')), userns());
        for other in [
            format!("{}-131072-196608", digest('b')),
            format!("{}-131072-0", digest('a')),
            remapped_by_hash(&digest('b'), &[range(131_072)], &[range(196_608)]).to_string(),
            remapped_by_hash(&digest('a'), &[range(1)], &[range(196_608)]).to_string(),
        ] {
            assert!(!stands_on(&other, &good), "{other}");
        }
    }
}
