//! What a carried pull left on the node, looked at before the kubelet hears of it: the document
//! behind the name that was pulled. One that the guard refuses does not stay, so that no tenant can
//! put it behind an image that others share.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::facts::UnderWay;
use super::prove::{bad_document, runtime};
use super::{ASK, Inner};
use crate::containerd::ContainerdError;
use crate::image::{Digest, ImageId, Reference};
use crate::policy::Denial;
use crate::report::Mode;

/// When to look at what a pull left whose end nobody saw: containerd may still be writing.
const LATER: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
];

/// A pull that is being carried. Whatever its end, what it left is looked at: a pull that fails
/// while it unpacks has written its name before, and one whose client goes away may write it later.
#[derive(Debug)]
pub(super) struct Carrying {
    guard: Arc<Inner>,
    pulled: Reference,
    under_way: Option<UnderWay>,
    runtime: Option<Handle>,
}

impl Carrying {
    pub(super) fn new(guard: &Arc<Inner>, pulled: &Reference) -> Self {
        Self {
            guard: Arc::clone(guard),
            pulled: pulled.clone(),
            under_way: Some(guard.facts.pulls.begin()),
            runtime: Handle::try_current().ok(),
        }
    }

    /// The pull brought an image, and what it left was judged.
    pub(super) fn judged(&mut self) {
        self.under_way = None;
    }

    /// The pull brought nothing, or did not say what.
    pub(super) async fn failed(&mut self) {
        self.guard.clear_refused(&self.pulled).await;
        self.under_way = None;
    }
}

impl Drop for Carrying {
    fn drop(&mut self) {
        let (Some(under_way), Some(runtime)) = (self.under_way.take(), self.runtime.take()) else {
            return;
        };
        let (guard, pulled) = (Arc::clone(&self.guard), self.pulled.clone());
        runtime.spawn(async move {
            for wait in LATER {
                tokio::time::sleep(wait).await;
                guard.clear_refused(&pulled).await;
            }
            drop(under_way);
        });
    }
}

impl Inner {
    /// Takes away what `pulled` leads to, if the guard refuses it.
    async fn clear_refused(&self, pulled: &Reference) {
        let name = pulled.to_string();
        let found = self.parts.containerd.image_target(&name, ASK).await;
        let Ok(Some(record)) = found else {
            return;
        };
        let Ok(Err(_)) = self.look_below(&record.digest).await else {
            return;
        };
        let image = self.parts.containerd.image_status(&name, ASK).await;
        let id = image.ok().flatten();
        let id = id.map(|image| ImageId::of_config(image.id));
        self.take_away_or_say(pulled, &record.digest, id.as_ref())
            .await;
    }

    async fn take_away_or_say(&self, pulled: &Reference, target: &Digest, id: Option<&ImageId>) {
        if let Err(error) = self.take_away(pulled, target, id).await {
            tracing::warn!(image = %pulled, %error, "a refused image keeps a name on the node");
        }
    }

    /// Judges what `pulled` leads to now. Gives the digest of containerd's own record of that name,
    /// if it leads by hash to the image that the pull returned.
    ///
    /// # Errors
    /// The denial; what was refused is no longer on the node under these names.
    pub(super) async fn settled_pull(
        &self,
        pulled: &Reference,
        id: &ImageId,
    ) -> Result<Option<Digest>, Denial> {
        let name = pulled.to_string();
        let found = self.parts.containerd.image_target(&name, ASK).await;
        let record = match found {
            Ok(Some(record)) => record,
            // containerd keeps another name; what is behind that is looked at when it is created.
            Ok(None) | Err(ContainerdError::Bad { .. }) => return Ok(None),
            Err(error) => return Err(runtime(&error)),
        };
        if let Err(refused) = self.look_below(&record.digest).await? {
            if self.parts.mode == Mode::Enforce {
                self.take_away_or_say(pulled, &record.digest, Some(id))
                    .await;
            }
            return Err(bad_document(pulled, &refused.why));
        }
        let leads = self.chain_on_node(record.digest, id).await?;
        Ok(leads.map(|links| *links.judged()))
    }

    /// Takes the names away that the pull wrote: its own, the one by digest, and the one that
    /// containerd gives every image after its ID, which another name of the image lends its target
    /// to if there is one (image volumes are found by it).
    async fn take_away(
        &self,
        pulled: &Reference,
        target: &Digest,
        id: Option<&ImageId>,
    ) -> Result<(), ContainerdError> {
        let containerd = &self.parts.containerd;
        for name in [pulled.to_string(), pulled.with_digest(*target).to_string()] {
            containerd.remove_record(&name, target, ASK).await?;
        }
        let Some(id) = id else {
            return Ok(());
        };
        let by_id = id.to_string();
        let left = containerd.records_of(id.digest(), ASK).await?;
        let misled = left
            .iter()
            .any(|record| record.name == by_id && record.digest == *target);
        if !misled {
            return Ok(());
        }
        for other in left.iter().filter(|other| other.name != by_id) {
            let leads = self.chain_on_node(other.digest, id).await;
            if other.digest != *target && matches!(leads, Ok(Some(_))) {
                return containerd.repoint(&by_id, &other.name, ASK).await;
            }
        }
        containerd.remove_record(&by_id, target, ASK).await
    }
}
