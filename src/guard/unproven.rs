//! What a missing or refused proof is called: the guard's own words for images, registries and
//! containerd.

use super::prove::ImageAsk;
use crate::containerd::ContainerdError;
use crate::image::Reference;
use crate::policy::{Code, Denial, Text};
use crate::registry::RegistryError;
use crate::verify::NotProven;

pub(super) fn not_proven(ask: &ImageAsk<'_>, why: &NotProven) -> Denial {
    let text = Text::new()
        .words("image ")
        .value(&ask.reference.to_string())
        .raw(&format!(": {why}"));
    let advice = match why {
        NotProven::OnlyAdopted { .. } => {
            "bring its registry back and pull it again, or set `preloaded: Adopt` in the PolicySet"
        }
        NotProven::Bytes { .. } | NotProven::Name { .. } => {
            "pull it again through the guard (imagePullPolicy: Always, or remove it from the node)"
        }
        NotProven::OtherImage { .. } => "name the digest of the image that is meant",
        NotProven::BadChain { .. } => "build and push the image anew",
    };
    let code = match why {
        NotProven::BadChain { .. } => Code::ImgConfig,
        NotProven::OtherImage { .. }
        | NotProven::Bytes { .. }
        | NotProven::Name { .. }
        | NotProven::OnlyAdopted { .. } => Code::ImgUnproven,
    };
    Denial::say(code, text.advice(advice))
}

/// Not proven by what is on the node, and no registry is asked about what runs already.
pub(super) fn not_asked(ask: &ImageAsk<'_>, why: &NotProven) -> Denial {
    let text = Text::new()
        .words("image ")
        .value(&ask.reference.to_string())
        .raw(&format!(
            ": {why}, and no registry is asked about what runs"
        ));
    Denial::say(
        Code::ImgUnreachable,
        text.advice("nothing needs to be done: the next start of the container asks"),
    )
}

/// Not proven, and the registry that could have helped gave no usable answer.
pub(super) fn not_heard(ask: &ImageAsk<'_>, why: &NotProven, error: &RegistryError) -> Denial {
    match error {
        RegistryError::NotFound => not_proven(ask, why),
        RegistryError::Refused
        | RegistryError::Unreachable { .. }
        | RegistryError::Bad { .. }
        | RegistryError::Unsupported { .. } => {
            let denial = registry(ask.reference, error);
            match why {
                NotProven::OnlyAdopted { .. } => denial.with_advice(
                    "bring the registry back, or set preloaded: Adopt in the PolicySet for images that were here before the guard",
                ),
                NotProven::OtherImage { .. }
                | NotProven::BadChain { .. }
                | NotProven::Bytes { .. }
                | NotProven::Name { .. } => denial,
            }
        }
    }
}

/// What a registry's answer means for a call. The texts name a class, never transport detail, so
/// that every retry says the same; the detail goes to the log.
pub(crate) fn registry(reference: &Reference, error: &RegistryError) -> Denial {
    tracing::info!(image = %reference, detail = %error, "no usable answer of the registry");
    let advice = match error {
        RegistryError::NotFound => "push it, or correct the name",
        RegistryError::Refused => {
            "give the pod a pull secret for this registry, or correct the one that it has"
        }
        RegistryError::Unreachable { .. } => {
            "bring the registry or its mirror back; the kubelet tries again"
        }
        RegistryError::Bad { .. } => {
            "mend the registry or push the image anew; `pullguard verify` shows what it answered"
        }
        RegistryError::Unsupported { .. } => {
            "mend the node's registry settings; `pullguard verify` shows what it found"
        }
    };
    let text = Text::new()
        .words("image ")
        .value(&reference.to_string())
        .raw(&format!(": {}", error.class()));
    Denial::say(error.code(), text.advice(advice))
}

pub(crate) fn bad_document(reference: &Reference, why: &str) -> Denial {
    let text = Text::new()
        .words("image ")
        .value(&reference.to_string())
        .raw(&format!(": {why}"));
    Denial::say(
        Code::ImgConfig,
        text.advice("build and push the image anew"),
    )
}

/// containerd gave no usable answer to a question of the guard's own. The text names a class; the
/// detail goes to the log.
pub(super) fn runtime(error: &ContainerdError) -> Denial {
    tracing::info!(detail = %error, "no usable answer of containerd");
    let what = match error {
        ContainerdError::Unavailable { .. } => "is away",
        ContainerdError::Timeout { .. } => "does not answer in time",
        ContainerdError::NotFound { .. } => "does not know what was asked for",
        ContainerdError::Refused { .. } => "refused a question",
        ContainerdError::TooLarge { .. } => "answered more than the limit allows",
        ContainerdError::Bad { .. } => "gave an answer that contradicts itself",
    };
    let text = Text::new()
        .words("containerd ")
        .words(what)
        .words(": it was asked for ")
        .value(error.asked())
        .advice("look at containerd on the node; the kubelet tries again");
    Denial::say(Code::RuntimeUnavailable, text)
}
