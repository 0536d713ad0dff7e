//! What a carried pull left on the node, looked at before the kubelet hears of it: the document
//! behind the name that was pulled. One that the guard refuses does not stay, so that no tenant can
//! put it behind an image that others share.

use super::prove::{bad_document, runtime};
use super::{ASK, Inner};
use crate::containerd::ContainerdError;
use crate::image::{Digest, ImageId, Reference};
use crate::policy::Denial;

impl Inner {
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
            if let Err(error) = self.take_away(pulled, &record.digest, id).await {
                tracing::warn!(image = %name, %error, "a refused image keeps a name on the node");
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
        id: &ImageId,
    ) -> Result<(), ContainerdError> {
        let containerd = &self.parts.containerd;
        let by_id = id.to_string();
        for name in [pulled.to_string(), pulled.with_digest(*target).to_string()] {
            containerd.remove_record(&name, target, ASK).await?;
        }
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
