//! Blobs of containerd's content store, believed only if their bytes are their digest.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use containerd_client::services::v1::ReadContentRequest;
use containerd_client::services::v1::content_client::ContentClient;

use super::channel::Ask;
use super::{Containerd, ContainerdError};
use crate::image::Digest;

impl Containerd {
    /// The blob `digest` of the content store, at most `max_bytes`; `None` if the store has no such
    /// blob. The bytes are hashed here: what is returned is what the digest names.
    ///
    /// # Errors
    /// [`ContainerdError::TooLarge`] over `max_bytes`; [`ContainerdError::Bad`] if the stored bytes
    /// have another digest; else what containerd said.
    pub async fn blob(
        &self,
        digest: &Digest,
        max_bytes: usize,
        within: Duration,
    ) -> Result<Option<Bytes>, ContainerdError> {
        let name = digest.to_string();
        let ask = Ask::new("reading a blob", &name, within);
        let bytes = match self.read(&ask, &name, max_bytes).await {
            Ok(bytes) => bytes,
            Err(ContainerdError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        if Digest::of(&bytes) != *digest {
            return Err(ContainerdError::Bad {
                name,
                why: "the stored bytes have another digest".to_owned(),
            });
        }
        Ok(Some(bytes))
    }

    async fn read(
        &self,
        ask: &Ask<'_>,
        name: &str,
        max_bytes: usize,
    ) -> Result<Bytes, ContainerdError> {
        let mut client =
            ContentClient::new(self.channel()).max_decoding_message_size(self.max_message());
        let request = self.request(ReadContentRequest {
            digest: name.to_owned(),
            offset: 0,
            size: 0,
        });
        let mut parts = ask.answer(client.read(request)).await?;
        let mut bytes = BytesMut::new();
        loop {
            let part = tokio::time::timeout_at(ask.until(), parts.message())
                .await
                .map_err(|_| ask.timeout())?
                .map_err(|status| ask.error(&status))?;
            let Some(part) = part else {
                return Ok(bytes.freeze());
            };
            if part.data.len() > max_bytes.saturating_sub(bytes.len()) {
                return Err(ContainerdError::TooLarge {
                    name: name.to_owned(),
                    limit: max_bytes,
                });
            }
            bytes.extend_from_slice(&part.data);
        }
    }
}
