//! `registries`: which repositories an image may come from. Pure.

use super::Outcome;
use crate::image::PatternUse;
use crate::image::Reference;
use crate::policy::Code;
use crate::policy::compile::{At, Notes, patterns};
use crate::policy::document::RegistriesDoc;
use crate::policy::pattern::{self, ImagePattern, Proven, Tri};
use crate::policy::words::Text;

/// The check, compiled.
#[derive(Clone, Debug)]
pub(crate) struct Registries {
    /// `None`: every repository.
    allow: Option<Vec<ImagePattern>>,
    deny: Vec<ImagePattern>,
}

pub(super) fn compile(doc: &RegistriesDoc, notes: &mut Notes, at: &At) -> Registries {
    if *doc == RegistriesDoc::default() {
        notes.error(
            at,
            "`registries` names nothing; add allow or deny".to_owned(),
        );
    }
    Registries {
        allow: doc
            .allow
            .as_deref()
            .map(|list| patterns(list, PatternUse::Allow, notes, &at.down(["allow"]))),
        deny: doc
            .deny
            .as_deref()
            .map(|list| patterns(list, PatternUse::Deny, notes, &at.down(["deny"])))
            .unwrap_or_default(),
    }
}

impl Registries {
    pub(super) fn judge(
        &self,
        object: &'static str,
        reference: &Reference,
        proven: Proven<'_>,
    ) -> Outcome {
        let denied = pattern::any(&self.deny, reference, proven);
        let by = |pattern: &&ImagePattern| pattern.matches(reference, proven) == Tri::Yes;
        let certain =
            |pattern: &&ImagePattern| by(pattern) && !pattern.matches_by_doubt(reference, proven);
        if let Some(pattern) = self.deny.iter().find(certain) {
            let text = Text::new()
                .words(object)
                .words(" ")
                .value(&reference.to_string())
                .words(" is denied as ")
                .value(pattern.text())
                .advice("use another image");
            return Outcome::Fail(Code::RegDenied, text);
        }
        if let Some(pattern) = self.deny.iter().find(by) {
            let text = Text::new()
                .words(object)
                .words(" ")
                .value(&reference.to_string())
                .words(" could not be told to be another image than ")
                .value(pattern.text())
                .advice("bring its registry back; the kubelet tries again");
            return Outcome::Fail(Code::ImgUnreachable, text);
        }
        match self.names(reference, proven).unwrap_or(Tri::Yes) {
            Tri::No => Outcome::Fail(
                Code::RegDenied,
                Text::new()
                    .words(object)
                    .words(" ")
                    .value(&reference.to_string())
                    .words(" is in no allowed repository")
                    .advice("use an image from an allowed registry"),
            ),
            Tri::Maybe => Outcome::Wait,
            Tri::Yes if denied == Tri::Maybe => Outcome::Wait,
            Tri::Yes => Outcome::Pass,
        }
    }

    /// Every pattern.
    pub(crate) fn patterns(&self) -> impl Iterator<Item = &ImagePattern> {
        self.allow.iter().flatten().chain(&self.deny)
    }

    /// Whether `allow` names the image; `None` without `allow`.
    pub(crate) fn names(&self, reference: &Reference, proven: Proven<'_>) -> Option<Tri> {
        self.allow
            .as_deref()
            .map(|allow| pattern::any(allow, reference, proven))
    }
}
