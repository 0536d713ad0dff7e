//! The images of one container, and when the bootstrap list takes one out of the image rules. Pure.

use super::Which;
use crate::image::{Digest, ImageString, Reference, ReferenceError};
use crate::policy::compile::BootstrapEntry;
use crate::policy::images::ImageCase;
use crate::policy::judgement::Failures;
use crate::policy::pull::candidates;
use crate::policy::rules::Moment;
use crate::policy::words::Text;
use crate::policy::{Code, CreateEvidence, Denial, refused_reference};
use crate::request::{Container, MountSource, Pod};
use crate::verify::ImageProof;

/// One image of the container.
#[derive(Clone, Debug)]
pub(super) struct Image<'p> {
    pub(super) which: Which,
    /// Its place among the container's images: its own is 0.
    pub(super) position: usize,
    /// The pod's own string.
    pub(super) text: &'p str,
    pub(super) named: Named,
    pub(super) candidates: Vec<&'p BootstrapEntry>,
}

#[derive(Clone, Debug)]
pub(super) enum Named {
    Reference(Reference),
    /// The client sent a full ID and no name.
    IdOnly,
    Refused(Denial),
}

impl Image<'_> {
    pub(super) fn object(&self) -> &'static str {
        match self.which {
            Which::Container => "image",
            Which::Mount(_) => "image volume",
        }
    }

    pub(super) fn case<'a>(&self, reference: &'a Reference) -> ImageCase<'a> {
        ImageCase {
            reference,
            object: self.object(),
            position: self.position,
            moment: Moment::Create,
        }
    }

    pub(super) fn said(&self, failures: Failures) -> Failures {
        match self.which {
            Which::Container => failures,
            Which::Mount(_) => failures.of_image_volume(),
        }
    }
}

/// The proof of the image at `index`, if there is one.
pub(super) fn proof(evidence: &CreateEvidence, index: usize) -> Option<&ImageProof> {
    match evidence.images.get(index) {
        Some(Some(Ok(proof))) => Some(proof),
        Some(Some(Err(_)) | None) | None => None,
    }
}

/// Whether a proof is of what the pod names.
pub(super) fn fits(proof: &ImageProof, reference: &Reference) -> bool {
    let digest_fits =
        |digest: &Digest| proof.digests().is_empty() || proof.digests().contains(digest);
    proof.repository() == reference.repository() && reference.digest().is_none_or(digest_fits)
}

/// The proof that an image is what it is called, or why there is none.
pub(super) fn proven<'e>(
    image: &Image<'_>,
    reference: &Reference,
    evidence: &'e CreateEvidence,
) -> Result<&'e ImageProof, Denial> {
    match evidence.images.get(image.position) {
        Some(Some(Ok(proof))) if fits(proof, reference) => Ok(proof),
        Some(Some(Err(denial))) => Err(denial.clone()),
        Some(Some(Ok(_))) | Some(None) | None => {
            let text = Text::new()
                .words(image.object())
                .words(" ")
                .value(image.text)
                .words(" is not proven to be what it is called")
                .advice("pull it again through the guard");
            Err(Denial::say(Code::ImgUnproven, text))
        }
    }
}

/// Whether the bootstrap list takes an image out of the image rules: its chain leads to the digest
/// of an entry for this namespace and repository.
pub(super) fn exempt(image: &Image<'_>, proof: Option<&ImageProof>) -> bool {
    let (Some(proof), Named::Reference(reference)) = (proof, &image.named) else {
        return false;
    };
    fits(proof, reference)
        && image
            .candidates
            .iter()
            .any(|entry| proof.digests().contains(&entry.digest))
}

pub(super) fn images_of<'p>(
    pod: &Pod,
    container: &'p Container,
    bootstrap: &'p [BootstrapEntry],
) -> Vec<Image<'p>> {
    let own = image(
        Which::Container,
        &container.image,
        &container.user_specified_image,
        pod,
        bootstrap,
    );
    let volumes = container
        .mounts
        .iter()
        .enumerate()
        .filter_map(|(index, mount)| match &mount.source {
            MountSource::HostPath(_) => None,
            MountSource::Image {
                image: id,
                user_specified_image,
                ..
            } => Some(image(
                Which::Mount(index),
                id,
                user_specified_image,
                pod,
                bootstrap,
            )),
        });
    let mut images: Vec<Image<'p>> = std::iter::once(own).chain(volumes).collect();
    for (position, image) in images.iter_mut().enumerate() {
        image.position = position;
    }
    images
}

/// What containerd would look up is more than the pod's own string: an image volume's cannot be
/// replaced by an ID, so what it could take for the beginning of one is refused whatever the policy
/// says. The container's own is resolved by the edge.
fn refused_as_sent(which: Which, sent: &str) -> Option<Denial> {
    let error = match (which, ImageString::parse(sent)) {
        (Which::Container, _)
        | (Which::Mount(_), Ok(ImageString::Id(_) | ImageString::Name(_))) => return None,
        (Which::Mount(_), Ok(ImageString::NameOrTruncatedId(_))) => ReferenceError::TypedId,
        (Which::Mount(_), Err(error)) => error,
    };
    Some(refused_reference(sent, &error))
}

fn image<'p>(
    which: Which,
    id: &'p str,
    specified: &'p str,
    pod: &Pod,
    bootstrap: &'p [BootstrapEntry],
) -> Image<'p> {
    let text = if specified.is_empty() { id } else { specified };
    let named = if let Some(denial) = refused_as_sent(which, id) {
        Named::Refused(denial)
    } else if specified.is_empty() && Digest::parse(id).is_ok() {
        Named::IdOnly
    } else {
        match Reference::parse(text) {
            Ok(reference) => Named::Reference(reference),
            Err(error) => Named::Refused(refused_reference(text, &error)),
        }
    };
    let candidates = match &named {
        Named::Reference(reference) => candidates(bootstrap, pod, reference),
        Named::IdOnly | Named::Refused(_) => Vec::new(),
    };
    Image {
        which,
        position: 0,
        text,
        named,
        candidates,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    #[test]
    fn an_image_volume_of_which_the_id_is_cut_is_refused_though_the_pod_wrote_a_name() {
        for sent in ["sha256:bbbb", "cafe", "/tmp/image.tar", ""] {
            let denial = refused_as_sent(Which::Mount(0), sent).unwrap();
            assert_eq!(denial.code(), Code::RefInvalid, "{sent}");
        }
        assert_eq!(refused_as_sent(Which::Mount(0), ID), None);
        assert_eq!(refused_as_sent(Which::Mount(0), "r.example/cafe:1"), None);
    }
}
