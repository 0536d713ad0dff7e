//! Manifests, indexes and configs: no panic, and what passes the strict scan is JSON for another
//! reader.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pullguard::image::json::{Shape, scan};
use pullguard::image::{Digest, Document, ImageConfig, ImageId, Platform};
use pullguard::limits::Limits;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits::default();
    if scan(bytes, &Shape::Any, limits.max_json_depth).is_ok() {
        assert!(std::str::from_utf8(bytes).is_ok());
    }
    if let Ok(Document::Index(index)) = Document::parse(bytes, None, &limits) {
        let picked = index.pick(&Platform::linux("amd64", ""));
        assert!(picked.is_none_or(|entry| index.manifests.contains(entry)));
    }
    let id = ImageId::of_config(Digest::of(bytes));
    let _ = ImageConfig::parse(&id, bytes, &limits);
});
