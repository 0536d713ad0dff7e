//! What stands below a container's own root filesystem: containerd's record, not the CRI's word.

use std::time::Duration;

use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::snapshots::StatSnapshotRequest;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::{Container, GetContainerRequest};

use super::channel::Ask;
use super::messages as wire;
use super::{Containerd, ContainerdError};

impl Containerd {
    /// The name of the snapshot on which the container's own one stands: the image's chain ID, or
    /// a form of it that was remapped for a user namespace. Empty if it stands on nothing.
    ///
    /// With a `snapshotter`, both questions are asked at once: the second one under the names that
    /// containerd's CRI gives (the handler's snapshotter, and the container's ID as the snapshot's key);
    /// where the record says others, the second is asked again.
    ///
    /// # Errors
    /// [`ContainerdError::NotFound`] if there is no such container or snapshot;
    /// [`ContainerdError::Bad`] for an answer without one; else what containerd said.
    pub async fn rootfs_parent(
        &self,
        container: &str,
        snapshotter: Option<&str>,
        within: Duration,
    ) -> Result<String, ContainerdError> {
        let ask = Ask::new("a container's record", container, within);
        let guess = async {
            match snapshotter {
                Some(snapshotter) => {
                    Some(self.parent(ask, snapshotter, container, container).await)
                }
                None => None,
            }
        };
        let (record, parent) = tokio::join!(self.record_of(ask, container), guess);
        let record = record?;
        match parent {
            Some(parent)
                if Some(record.snapshotter.as_str()) == snapshotter
                    && record.snapshot_key == container =>
            {
                parent
            }
            Some(_) | None => {
                self.parent(ask, &record.snapshotter, &record.snapshot_key, container)
                    .await
            }
        }
    }

    async fn record_of(&self, ask: Ask<'_>, container: &str) -> Result<Container, ContainerdError> {
        let request = self.request(GetContainerRequest {
            id: container.to_owned(),
        });
        let mut containers =
            ContainersClient::new(self.channel()).max_decoding_message_size(self.max_message());
        let answer = ask.answer(containers.get(request)).await?;
        answer
            .container
            .filter(|record| record.id == container)
            .ok_or_else(|| bad(container, "containerd answered for another container"))
    }

    async fn parent(
        &self,
        ask: Ask<'_>,
        snapshotter: &str,
        key: &str,
        container: &str,
    ) -> Result<String, ContainerdError> {
        let ask = ask.step("a container's snapshot", container);
        let request = self.request(StatSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            key: key.to_owned(),
        });
        let mut snapshots =
            SnapshotsClient::new(self.channel()).max_decoding_message_size(self.max_message());
        let answer = ask.answer(snapshots.stat(request)).await?;
        let info = answer
            .info
            .ok_or_else(|| bad(container, "its snapshot is not described"))?;
        Ok(info.parent)
    }

    /// `RemoveContainer`.
    ///
    /// # Errors
    /// What containerd said.
    pub async fn remove_container(
        &self,
        id: &str,
        within: Duration,
    ) -> Result<(), ContainerdError> {
        let _: wire::Empty = self
            .cri(
                Ask::new("RemoveContainer", id, within),
                "/runtime.v1.RuntimeService/RemoveContainer",
                wire::ContainerOf { id: id.to_owned() },
            )
            .await?;
        Ok(())
    }
}

fn bad(container: &str, why: &str) -> ContainerdError {
    ContainerdError::Bad {
        name: container.to_owned(),
        why: why.to_owned(),
    }
}
