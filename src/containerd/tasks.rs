//! What runs in containerd's namespace, whoever started it: CRI lists only its own containers.

use std::collections::BTreeSet;
use std::time::Duration;

use containerd_client::services::v1::ListTasksRequest;
use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::types::v1::Status;

use super::channel::Ask;
use super::{Containerd, ContainerdError};

impl Containerd {
    /// The IDs of the containers of the namespace that have a process: those of the CRI, its
    /// sandboxes, and whatever else was started there.
    ///
    /// # Errors
    /// What containerd said.
    pub async fn running_tasks(
        &self,
        within: Duration,
    ) -> Result<BTreeSet<String>, ContainerdError> {
        let ask = Ask::new("tasks", "", within);
        let mut client =
            TasksClient::new(self.channel()).max_decoding_message_size(self.max_message());
        let request = self.request(ListTasksRequest::default());
        let answer = ask.answer(client.list(request)).await?;
        Ok(answer
            .tasks
            .into_iter()
            .filter(|task| task.status() != Status::Stopped)
            .map(|task| {
                // containerd 1.x leaves the first one empty.
                if task.container_id.is_empty() {
                    task.id
                } else {
                    task.container_id
                }
            })
            .collect())
    }
}
