//! containerd's image records: names and what they point at. A record is a hint about bytes that
//! are proven elsewhere; anyone with containerd's socket can write one.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::{
    CreateImageRequest, DeleteImageRequest, GetImageRequest, Image, ListImagesRequest,
    UpdateImageRequest,
};
use containerd_client::types::Descriptor;
use prost_types::FieldMask;
use tokio::time::Instant;
use tonic::transport::Channel;

use super::channel::Ask;
use super::{Containerd, ContainerdError};
use crate::image::{Digest, Reference};

/// The label by which containerd's CRI knows its own images (containerd internal/cri/labels).
const MANAGED_LABEL: &str = "io.cri-containerd.image";
/// The value that the CRI writes.
const MANAGED: &str = "managed";
/// Digests tried for one ID; an image with more names than that is not an image of a kubelet.
const MAX_CANDIDATES: usize = 64;
/// First pause between two looks for the adopted alias; doubles up to [`LAST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// Longest pause between two looks.
const LAST_PAUSE: Duration = Duration::from_millis(50);

/// What an image record points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageTarget {
    /// The record's name: a reference, or an image ID.
    pub name: String,
    /// Digest of the index or manifest.
    pub digest: Digest,
    /// Media type as the record claims it.
    pub media_type: String,
    /// Size in bytes as the record claims it.
    pub size: u64,
}

/// An index or manifest that may lead to an image ID: a hint, to be proven by the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Digest of the index or manifest.
    pub digest: Digest,
    /// The record names that say so, sorted.
    pub names: Vec<String>,
}

impl Containerd {
    /// What the record `name` points at; `None` if there is no such record.
    ///
    /// # Errors
    /// [`ContainerdError::Bad`] for a record without a usable target; else what containerd said.
    pub async fn image_target(
        &self,
        name: &str,
        within: Duration,
    ) -> Result<Option<ImageTarget>, ContainerdError> {
        let ask = Ask::new("an image record", name, within);
        match self.record(&ask, name).await? {
            Some(image) => target_of(image).map(Some),
            None => Ok(None),
        }
    }

    /// Every index or manifest that containerd's own records connect with the image ID: the record
    /// that the CRI names after the ID, the repository digests and tags of ImageStatus(ID). Hints
    /// only. Empty if the image is not on the node; at most 64.
    ///
    /// # Errors
    /// What containerd said.
    pub async fn candidates(
        &self,
        id: &Digest,
        within: Duration,
    ) -> Result<Vec<Candidate>, ContainerdError> {
        let name = id.to_string();
        let ask = Ask::new("the records of an image", &name, within);
        let mut found = Found::default();
        if let Some(image) = self.record(&ask, &name).await? {
            found.add(target_of(image)?.digest, &name);
        }
        let Some(image) = self.image_status_by(&ask, &name).await? else {
            return Ok(found.into_list());
        };
        for name in image.repo_digests.iter().take(MAX_CANDIDATES) {
            if let Some(Ok(digest)) = name.rsplit_once('@').map(|(_, d)| Digest::parse(d)) {
                found.add(digest, name);
            }
        }
        for name in image.repo_tags.iter().take(MAX_CANDIDATES) {
            let ask = ask.step("an image record", name);
            if let Some(image) = self.record(&ask, name).await? {
                found.add(target_of(image)?.digest, name);
            }
        }
        Ok(found.into_list())
    }

    /// Every record that containerd's CRI may take for the image: the one named after the ID, and
    /// all whose name the CRI has for it, sorted by name. A record without a usable target is left
    /// out: containerd cannot use it either. Empty if the image is not on the node.
    ///
    /// # Errors
    /// What containerd said.
    pub async fn records_of(
        &self,
        id: &Digest,
        within: Duration,
    ) -> Result<Vec<ImageTarget>, ContainerdError> {
        let own = id.to_string();
        let ask = Ask::new("the records of an image", &own, within);
        let mut names: BTreeSet<String> = BTreeSet::from([own.clone()]);
        if let Some(image) = self.image_status_by(&ask, &own).await? {
            names.extend(image.repo_tags.into_iter().chain(image.repo_digests));
        }
        // One list instead of a question each: an image may have any number of names.
        let request = self.request(ListImagesRequest { filters: vec![] });
        let answer = ask.answer(self.images().list(request)).await?;
        let mut records: Vec<ImageTarget> = answer
            .images
            .into_iter()
            .filter(|image| names.contains(&image.name))
            .filter_map(|image| target_of(image).ok())
            .collect();
        records.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(records)
    }

    /// Takes the name `name` from the node if it still leads to `target`.
    ///
    /// # Errors
    /// What containerd said; that there is no such name is no error.
    pub async fn remove_record(
        &self,
        name: &str,
        target: &Digest,
        within: Duration,
    ) -> Result<(), ContainerdError> {
        let ask = Ask::new("removing an image's name", name, within);
        let leads_there = self
            .record(&ask, name)
            .await?
            .and_then(|image| target_of(image).ok())
            .is_some_and(|record| record.digest == *target);
        if !leads_there {
            return Ok(());
        }
        let request = self.request(DeleteImageRequest {
            name: name.to_owned(),
            sync: false,
            target: None,
        });
        match ask.answer(self.images().delete(request)).await {
            Ok(()) | Err(ContainerdError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Lets the name `name` lead to what the name `from` leads to.
    ///
    /// # Errors
    /// [`ContainerdError::NotFound`] if there is no record `from`; else what containerd said.
    pub async fn repoint(
        &self,
        name: &str,
        from: &str,
        within: Duration,
    ) -> Result<(), ContainerdError> {
        let ask = Ask::new("naming an image", from, within);
        let target = self
            .record(&ask, from)
            .await?
            .and_then(|image| image.target)
            .ok_or_else(|| ask.error(&tonic::Status::not_found("")))?;
        self.write_alias(&ask, name, target).await
    }

    /// The records that point at `digest`, by name, sorted.
    ///
    /// # Errors
    /// What containerd said.
    pub async fn names_of(
        &self,
        digest: &Digest,
        within: Duration,
    ) -> Result<Vec<String>, ContainerdError> {
        let name = digest.to_string();
        let ask = Ask::new("the names of an image", &name, within);
        let request = self.request(ListImagesRequest {
            filters: vec![format!("target.digest=={name}")],
        });
        let answer = ask.answer(self.images().list(request)).await?;
        let mut names: Vec<String> = answer.images.into_iter().map(|image| image.name).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Gives the image that was pulled as `pulled` (`repo@D`) the second name `name`, as containerd
    /// itself would have named it, and returns once the CRI answers `id` for that name.
    ///
    /// # Errors
    /// [`ContainerdError::NotFound`] if there is no record `pulled`; [`ContainerdError::Bad`] if
    /// that record does not point at D, if the CRI gives the name another image, or if `pulled` has
    /// no digest; [`ContainerdError::Timeout`] if the CRI did not adopt the name in time.
    pub async fn alias(
        &self,
        name: &Reference,
        pulled: &Reference,
        id: &Digest,
        within: Duration,
    ) -> Result<(), ContainerdError> {
        let from = pulled.to_string();
        let to = name.to_string();
        let ask = Ask::new("naming an image", &from, within);
        let target = self.pulled_target(&ask, pulled, &from).await?;
        self.write_alias(&ask, &to, target).await?;
        self.wait_adopted(&ask, &to, id).await
    }

    async fn pulled_target(
        &self,
        ask: &Ask<'_>,
        pulled: &Reference,
        from: &str,
    ) -> Result<Descriptor, ContainerdError> {
        let bad = |why: &str| ContainerdError::Bad {
            name: from.to_owned(),
            why: why.to_owned(),
        };
        let digest = pulled.digest().ok_or_else(|| bad("it names no digest"))?;
        let target = self
            .record(ask, from)
            .await?
            .ok_or_else(|| ask.error(&tonic::Status::not_found("")))?
            .target
            .ok_or_else(|| bad("the record has no target"))?;
        if target.digest != digest.to_string() {
            return Err(bad("the record points at another digest than its name"));
        }
        Ok(target)
    }

    async fn write_alias(
        &self,
        ask: &Ask<'_>,
        name: &str,
        target: Descriptor,
    ) -> Result<(), ContainerdError> {
        let image = Image {
            name: name.to_owned(),
            labels: HashMap::from([(MANAGED_LABEL.to_owned(), MANAGED.to_owned())]),
            target: Some(target),
            created_at: None,
            updated_at: None,
        };
        let ask = ask.step("naming an image", name);
        let create = self.request(CreateImageRequest {
            image: Some(image.clone()),
            source_date_epoch: None,
        });
        let created = tokio::time::timeout_at(ask.until(), self.images().create(create)).await;
        match created {
            Err(_) => Err(ask.timeout()),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) if status.code() == tonic::Code::AlreadyExists => {
                let update = self.request(UpdateImageRequest {
                    image: Some(image),
                    update_mask: Some(FieldMask {
                        paths: vec!["target".to_owned(), format!("labels.{MANAGED_LABEL}")],
                    }),
                    source_date_epoch: None,
                });
                ask.answer(self.images().update(update)).await.map(|_| ())
            }
            Ok(Err(status)) => Err(ask.error(&status)),
        }
    }

    /// The CRI adopts a name when it sees the event of the record, usually within a millisecond.
    async fn wait_adopted(
        &self,
        ask: &Ask<'_>,
        name: &str,
        id: &Digest,
    ) -> Result<(), ContainerdError> {
        let ask = ask.step("adopting an image's name", name);
        let mut pause = FIRST_PAUSE;
        loop {
            let seen = self.image_status_by(&ask, name).await?;
            if seen.as_ref().is_some_and(|image| image.id == *id) {
                return Ok(());
            }
            let next = Instant::now() + pause;
            if next >= ask.until() {
                return Err(match seen {
                    None => ask.timeout(),
                    Some(other) => ContainerdError::Bad {
                        name: name.to_owned(),
                        why: format!("the name leads to the image {} instead of {id}", other.id),
                    },
                });
            }
            tokio::time::sleep_until(next).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    async fn record(&self, ask: &Ask<'_>, name: &str) -> Result<Option<Image>, ContainerdError> {
        let request = self.request(GetImageRequest {
            name: name.to_owned(),
        });
        match ask.answer(self.images().get(request)).await {
            Ok(answer) => Ok(answer.image),
            Err(ContainerdError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn images(&self) -> ImagesClient<Channel> {
        ImagesClient::new(self.channel()).max_decoding_message_size(self.max_message())
    }
}

/// Candidates in the order in which they were found.
#[derive(Default)]
struct Found(Vec<Candidate>);

impl Found {
    fn add(&mut self, digest: Digest, name: &str) {
        if let Some(known) = self.0.iter_mut().find(|known| known.digest == digest) {
            known.names.push(name.to_owned());
        } else if self.0.len() < MAX_CANDIDATES {
            self.0.push(Candidate {
                digest,
                names: vec![name.to_owned()],
            });
        }
    }

    fn into_list(self) -> Vec<Candidate> {
        let mut list = self.0;
        for candidate in &mut list {
            candidate.names.sort_unstable();
            candidate.names.dedup();
        }
        list
    }
}

fn target_of(image: Image) -> Result<ImageTarget, ContainerdError> {
    let bad = |name: &str, why: &str| ContainerdError::Bad {
        name: name.to_owned(),
        why: why.to_owned(),
    };
    let target = image
        .target
        .ok_or_else(|| bad(&image.name, "the record has no target"))?;
    Ok(ImageTarget {
        digest: Digest::parse(&target.digest)
            .map_err(|_| bad(&image.name, "the record's target is no sha256 digest"))?,
        size: u64::try_from(target.size)
            .map_err(|_| bad(&image.name, "the record's target has no size"))?,
        media_type: target.media_type,
        name: image.name,
    })
}
