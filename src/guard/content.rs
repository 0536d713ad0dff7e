//! What an image's own documents may ask for, whatever the rules say: the config that containerd
//! will read, and the document behind every name by which containerd may take the image. Runs at
//! every create, so that no way onto the node leads around it.

use std::sync::Arc;

use super::prove::{Reach, bad_document, runtime};
use super::{ASK, Inner};
use crate::containerd::{ContainerdError, ImageTarget};
use crate::image::manifest::{OCI_INDEX, OCI_MANIFEST};
use crate::image::{
    ConfigError, Digest, Document, DocumentError, ImageConfig, ImageId, Reference, chain_id,
    mentions_checkpoint,
};
use crate::policy::{Code, Denial, Text};
use crate::report::Mode;
use crate::request::{CreateAsk, MountSource};

/// Documents read below one name; the one that runs is among the first.
const MAX_READ: usize = 32;
/// Entries followed of one index: containerd runs the first that it has.
const MAX_ENTRIES: usize = 8;
/// A longer USER is read anew each time, instead of being kept.
const MAX_USER: usize = 256;

/// What the guard keeps of a config that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Config {
    /// `config.User`, verbatim.
    pub(super) user: String,
    /// The name of the snapshot of all layers; `None` without layers.
    pub(super) layers: Option<Digest>,
}

/// Why a document below a name is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// The line for people.
    pub(super) why: String,
    /// Whether containerd could restore a process from it, so that it counts whoever named it.
    is_checkpoint: bool,
}

impl Inner {
    /// Whether every image of the container is one that containerd may read.
    pub(super) async fn judge_content(&self, ask: &CreateAsk, reach: Reach) -> Result<(), Denial> {
        let container = &ask.container;
        self.judge_image(&container.image, &container.user_specified_image, reach)
            .await?;
        for mount in &container.mounts {
            if let MountSource::Image {
                image,
                user_specified_image,
                ..
            } = &mount.source
            {
                self.judge_image(image, user_specified_image, reach)
                    .await
                    .map_err(Denial::of_image_volume)?;
            }
        }
        Ok(())
    }

    async fn judge_image(&self, sent: &str, named: &str, reach: Reach) -> Result<(), Denial> {
        let Some(id) = self.id_of(sent).await? else {
            // Nothing is there under that name; containerd says so in its own words.
            return Ok(());
        };
        let shown = if named.is_empty() { sent } else { named };
        self.config(&id, shown).await?;
        self.judge_records(&id, shown, reach).await
    }

    async fn id_of(&self, sent: &str) -> Result<Option<ImageId>, Denial> {
        if let Ok(id) = ImageId::parse(sent) {
            return Ok(Some(id));
        }
        let found = self.parts.containerd.image_status(sent, ASK).await;
        let found = found.map_err(|error| runtime(&error))?;
        Ok(found.map(|image| ImageId::of_config(image.id)))
    }

    /// The image's config, read strictly from the bytes that hash to its ID.
    pub(super) async fn config(&self, id: &ImageId, shown: &str) -> Result<Arc<Config>, Denial> {
        let read = match self.facts.configs.get(id.digest()) {
            Some(known) => known,
            None => self.read_config(id, shown).await?,
        };
        match read.as_ref() {
            Ok(config) => Ok(Arc::clone(config)),
            Err(error) => Err(bad_config(shown, error)),
        }
    }

    async fn read_config(
        &self,
        id: &ImageId,
        shown: &str,
    ) -> Result<Arc<Result<Arc<Config>, ConfigError>>, Denial> {
        let limits = &self.parts.limits;
        let limit = limits.max_manifest_bytes;
        let blob = self.parts.containerd.blob(id.digest(), limit, ASK).await;
        let read = match blob {
            Ok(Some(bytes)) => ImageConfig::parse(id, &bytes, limits).map(|config| {
                Arc::new(Config {
                    user: config.user().to_owned(),
                    layers: chain_id(config.diff_ids()),
                })
            }),
            // containerd reads the same bytes to make the container, so it cannot start either.
            Ok(None) => return Err(no_config(shown)),
            Err(ContainerdError::TooLarge { .. }) => Err(ConfigError::TooLarge { limit }),
            Err(ContainerdError::Bad { .. }) => Err(ConfigError::NotTheId),
            Err(error) => return Err(runtime(&error)),
        };
        let read = Arc::new(read);
        // The size of a USER is its author's choice.
        let is_small = |config: &Arc<Config>| config.user.len() <= MAX_USER;
        if read.as_ref().as_ref().is_ok_and(is_small) || read.is_err() {
            self.facts.configs.put(*id.digest(), Arc::clone(&read));
        }
        Ok(read)
    }

    /// Whether what stands behind every name of the image may stand there: containerd takes the
    /// first of them, in an order of its own. A name of the pod's own repository must lead to
    /// documents without a fault; a foreign one must not mention a checkpoint, and its other faults
    /// are not this pod's.
    async fn judge_records(&self, id: &ImageId, shown: &str, reach: Reach) -> Result<(), Denial> {
        let own = Reference::parse(shown).ok();
        let own = own.as_ref().map(Reference::repository);
        let key = (
            *id.digest(),
            own.map(ToString::to_string).unwrap_or_default(),
        );
        let moment = self.facts.pulls.moment();
        if moment.is_some() && self.facts.clean.get(&key) == moment {
            return Ok(());
        }
        let records = self.parts.containerd.records_of(id.digest(), ASK).await;
        let by_id = id.to_string();
        let (mut clean, mut misled) = (None, None);
        for record in records.map_err(|error| runtime(&error))? {
            let Err(refused) = self.look_below(&record.digest).await? else {
                if clean.is_none() && record.name != by_id && self.leads(&record, id).await? {
                    clean = Some(record.name);
                }
                continue;
            };
            let named = Reference::parse(&record.name).ok();
            let is_own = own.is_some() && named.as_ref().map(Reference::repository) == own;
            if record.name == by_id {
                misled = refused.is_checkpoint.then_some((record, refused));
            } else if is_own || refused.is_checkpoint {
                return Err(bad_record(shown, &record, &refused));
            }
        }
        if let Some((record, refused)) = misled {
            if reach == Reach::Quiet && clean.is_some() {
                // The next create leads it back; a look changes nothing.
                return Ok(());
            }
            self.lead_back(&record, clean.as_deref(), &refused, shown)
                .await?;
        }
        if let Some(moment) = moment {
            self.facts.clean.put(key, moment);
        }
        Ok(())
    }

    /// Whether a name leads to the image by hash, now that others may have moved it.
    async fn leads(&self, record: &ImageTarget, id: &ImageId) -> Result<bool, Denial> {
        Ok(self.chain_on_node(record.digest, id).await?.is_some())
    }

    /// containerd writes the name after the ID itself, whenever any name of the image appears, and
    /// leaves it where the last one led. A name that is clean leads it back.
    async fn lead_back(
        &self,
        record: &ImageTarget,
        clean: Option<&str>,
        refused: &Refused,
        shown: &str,
    ) -> Result<(), Denial> {
        match (clean, self.parts.mode) {
            (Some(clean), Mode::Enforce) => self
                .parts
                .containerd
                .repoint(&record.name, clean, ASK)
                .await
                .map_err(|error| runtime(&error)),
            (Some(_), Mode::Observe) => Ok(()),
            (None, Mode::Enforce | Mode::Observe) => Err(bad_record(shown, record, refused)),
        }
    }

    /// Reads the document `target` and what containerd may run below it, as far as it is on the
    /// node: what is not there, containerd cannot read either.
    pub(super) async fn look_below(&self, target: &Digest) -> Result<Result<(), Refused>, Denial> {
        let limits = &self.parts.limits;
        let mut open = vec![*target];
        let mut read = 0;
        while let Some(digest) = open.pop() {
            if read == MAX_READ {
                break;
            }
            read += 1;
            if let Some(below) = self.facts.documents.get(&digest) {
                open.extend(below.iter());
                continue;
            }
            let limit = limits.max_manifest_bytes;
            let bytes = match self.parts.containerd.blob(&digest, limit, ASK).await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => continue,
                Err(ContainerdError::TooLarge { .. }) => {
                    return Ok(Err(Refused {
                        why: format!(
                            "`{digest}` is refused: {}",
                            DocumentError::TooLarge { limit }
                        ),
                        is_checkpoint: true,
                    }));
                }
                Err(ContainerdError::Bad { .. }) => {
                    return Ok(Err(Refused {
                        why: format!("the bytes handed out as `{digest}` are others"),
                        is_checkpoint: true,
                    }));
                }
                Err(error) => return Err(runtime(&error)),
            };
            match self.document(&bytes) {
                Ok(Document::Index(index)) => {
                    let entries = index.candidates(&self.parts.platform);
                    let entries = entries.into_iter().take(MAX_ENTRIES);
                    let below: Arc<[Digest]> = entries.map(|entry| entry.digest).collect();
                    open.extend(below.iter());
                    self.facts.documents.put(digest, below);
                }
                Ok(Document::Manifest(_)) => self.facts.documents.put(digest, Arc::default()),
                Err(error) => {
                    return Ok(Err(Refused {
                        why: format!("`{digest}` is refused: {error}"),
                        is_checkpoint: error == DocumentError::Checkpoint
                            || mentions_checkpoint(&bytes),
                    }));
                }
            }
        }
        Ok(Ok(()))
    }

    /// A document may leave its media type to whoever hands it over; each kind has fields that the
    /// other must not have, so at most one fits.
    fn document(&self, bytes: &[u8]) -> Result<Document, DocumentError> {
        let limits = &self.parts.limits;
        let mut read = Document::parse(bytes, None, limits);
        for media_type in [OCI_MANIFEST, OCI_INDEX] {
            if !matches!(
                read,
                Err(DocumentError::NoMediaType | DocumentError::Ambiguous)
            ) {
                break;
            }
            read = Document::parse(bytes, Some(media_type), limits);
        }
        read
    }
}

pub(super) fn bad_config(shown: &str, error: &ConfigError) -> Denial {
    let text = Text::new()
        .words("image ")
        .value(shown)
        .raw(&format!(": {error}"));
    Denial::say(
        Code::ImgConfig,
        text.advice("build and push the image anew"),
    )
}

fn no_config(shown: &str) -> Denial {
    let text = Text::new()
        .words("image ")
        .value(shown)
        .words(" has no config on the node")
        .advice(
            "pull it again through the guard (imagePullPolicy: Always, or remove it from the node)",
        );
    Denial::say(Code::ImgUnproven, text)
}

/// The pod's own name is a fault of the image; any other one is on the node, and only there it can
/// be taken away.
fn bad_record(shown: &str, record: &ImageTarget, refused: &Refused) -> Denial {
    match Reference::parse(shown) {
        Ok(reference) if reference.to_string() == record.name => {
            bad_document(&reference, &refused.why)
        }
        Ok(_) | Err(_) => {
            let text = Text::new()
                .words("image ")
                .value(shown)
                .words(" is also named ")
                .value(&record.name)
                .raw(&format!(" on the node, and {}", refused.why))
                .advice("remove that name from the node, then pull the image again");
            Denial::say(Code::ImgConfig, text)
        }
    }
}
