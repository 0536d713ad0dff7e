//! The whole texts of denials, as a person sees them.

/// An image of no allowed repository.
pub(crate) fn not_allowed(image: &str) -> String {
    format!(
        "REG-DENIED gates/registries: image `{image}` is in no allowed repository; use an image from an allowed registry"
    )
}

/// An image ID under a name of a repository that nothing connects it with.
pub(crate) fn unproven(name: &str, id: &str, repository: &str) -> String {
    format!(
        "IMG-UNPROVEN gates/registries: image `{name}`: nothing shows that image `{id}` belongs to `{repository}`; pull it again through the guard (imagePullPolicy: Always, or remove it from the node)"
    )
}

/// An image that no enforcing rule names.
pub(crate) fn unmatched(image: &str) -> String {
    format!(
        "IMG-UNMATCHED gates/unmatched: image `{image}` is named by no enforcing rule; use an image that the policy allows"
    )
}

/// A text that is no image reference.
pub(crate) fn no_reference(text: &str, why: &str) -> String {
    format!(
        "REF-INVALID: image `{text}`: {why}; write it as repository:tag or repository@sha256:..."
    )
}
