//! Image IDs, and the strings of CreateContainer that hold one or a name. Pure. Refuses truncated
//! and bare IDs.

use std::fmt;

use super::{Digest, DigestError, Reference, ReferenceError};

/// An image ID: the digest of the image's config document, `sha256:<64 lower-case hex>`. What
/// PullImage answers and what a kubelet sends in `CreateContainerRequest.config.image.image`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageId(Digest);

impl ImageId {
    /// Parses exactly `sha256:<64 lower-case hex>`.
    ///
    /// # Errors
    /// [`DigestError`] for every other spelling: containerd also finds truncated IDs and IDs
    /// without the algorithm, the guard takes neither.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        Digest::parse(text).map(Self)
    }

    /// The ID of the image whose config document has this digest.
    pub fn of_config(config: Digest) -> Self {
        Self(config)
    }

    /// The digest of the config document.
    pub fn digest(&self) -> &Digest {
        &self.0
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What `config.image.image` and `Mount.image.image` of CreateContainer can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageString {
    /// A whole ID: from a kubelet.
    Id(ImageId),
    /// A name: from crictl and other clients.
    Name(Reference),
    /// A name of hexadecimal digits alone (`cafe`): containerd takes it for the beginning of an ID
    /// if it knows no image of that name. Safe only after the guard resolved it itself, or written
    /// out as the reference that is in here.
    NameOrTruncatedId(Reference),
}

impl ImageString {
    /// Tells an ID from a name.
    ///
    /// # Errors
    /// [`ReferenceError`] for what is neither, typed and truncated IDs among them.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if let Ok(id) = ImageId::parse(text) {
            return Ok(Self::Id(id));
        }
        let reference = Reference::parse(text)?;
        Ok(if Reference::could_be_truncated_id(text) {
            Self::NameOrTruncatedId(reference)
        } else {
            Self::Name(reference)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    #[test]
    fn a_whole_id_is_an_id() {
        let id = ImageId::parse(ID).unwrap();
        assert_eq!(ImageString::parse(ID), Ok(ImageString::Id(id)));
        assert_eq!(id.to_string(), ID);
        assert_eq!(ImageId::of_config(*id.digest()), id);
    }

    #[test]
    fn a6_a_truncated_typed_id_is_refused() {
        let short = ID.get(..70).unwrap();
        assert_eq!(ImageString::parse(short), Err(ReferenceError::TypedId));
    }

    #[test]
    fn a6_an_id_without_algorithm_is_refused() {
        let bare = ID.strip_prefix("sha256:").unwrap();
        assert_eq!(ImageString::parse(bare), Err(ReferenceError::BareId));
    }

    #[test]
    fn a6_a_short_hexadecimal_string_is_marked() {
        let reference = Reference::parse("abcdef").unwrap();
        assert_eq!(
            ImageString::parse("abcdef"),
            Ok(ImageString::NameOrTruncatedId(reference))
        );
    }

    #[test]
    fn a_name_is_a_name() {
        let reference = Reference::parse("abcdef:latest").unwrap();
        assert_eq!(
            ImageString::parse("abcdef:latest"),
            Ok(ImageString::Name(reference))
        );
    }
}
