//! What stands below a container's own root filesystem: containerd's record, not the CRI's word.

use std::time::Duration;

use containerd_client::services::v1::GetContainerRequest;
use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::snapshots::StatSnapshotRequest;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;

use super::channel::Ask;
use super::messages as wire;
use super::{Containerd, ContainerdError};

impl Containerd {
    /// The name of the snapshot on which the container's own one stands: the image's chain ID, or
    /// a form of it that was remapped for a user namespace. Empty if it stands on nothing.
    ///
    /// # Errors
    /// [`ContainerdError::NotFound`] if there is no such container or snapshot;
    /// [`ContainerdError::Bad`] for an answer without one; else what containerd said.
    pub async fn rootfs_parent(
        &self,
        container: &str,
        within: Duration,
    ) -> Result<String, ContainerdError> {
        let ask = Ask::new("a container's record", container, within);
        let bad = |why: &str| ContainerdError::Bad {
            name: container.to_owned(),
            why: why.to_owned(),
        };
        let request = self.request(GetContainerRequest {
            id: container.to_owned(),
        });
        let mut containers =
            ContainersClient::new(self.channel()).max_decoding_message_size(self.max_message());
        let answer = ask.answer(containers.get(request)).await?;
        let record = answer
            .container
            .filter(|record| record.id == container)
            .ok_or_else(|| bad("containerd answered for another container"))?;
        let ask = ask.step("a container's snapshot", container);
        let request = self.request(StatSnapshotRequest {
            snapshotter: record.snapshotter,
            key: record.snapshot_key,
        });
        let mut snapshots =
            SnapshotsClient::new(self.channel()).max_decoding_message_size(self.max_message());
        let answer = ask.answer(snapshots.stat(request)).await?;
        let info = answer
            .info
            .ok_or_else(|| bad("its snapshot is not described"))?;
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
