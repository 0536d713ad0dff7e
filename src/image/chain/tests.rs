use std::collections::BTreeMap;

use super::*;
use crate::image::manifest::{DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};

/// A store of blobs by digest.
#[derive(Default)]
struct Store(BTreeMap<Digest, Vec<u8>>);

impl Store {
    fn add(&mut self, text: String) -> Digest {
        let digest = Digest::of(text.as_bytes());
        self.0.insert(digest, text.into_bytes());
        digest
    }

    fn manifest(&mut self, config: &Digest) -> Digest {
        self.add(manifest(config))
    }

    /// An index of (media type, digest, platform as JSON or nothing).
    fn index(&mut self, entries: &[(&str, Digest, &str)]) -> Digest {
        let text = self.index_text(entries);
        self.add(text)
    }

    fn index_text(&self, entries: &[(&str, Digest, &str)]) -> String {
        let entries: Vec<String> = entries
            .iter()
            .map(|(kind, digest, platform)| {
                let size = self.0.get(digest).map_or(7, Vec::len);
                format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size}{platform}}}"#)
            })
            .collect();
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{}]}}"#,
            entries.join(",")
        )
    }

    fn walk(&self, from: Digest, goal: Goal) -> Result<Links, ChainError> {
        let node = Platform::linux("amd64", "");
        let mut chain = Chain::start(from, None, goal, &node, &Limits::default());
        for _ in 0..1_000 {
            match chain.next() {
                Next::Need { digest, .. } => match self.0.get(&digest) {
                    Some(bytes) => chain.supply(bytes),
                    None => chain.missing(),
                },
                Next::Done(links) => return Ok(links),
                Next::Broken(error) => return Err(error),
            }
        }
        panic!("the walk does not end");
    }
}

fn manifest(config: &Digest) -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":2}},"layers":[]}}"#
    )
}

const AMD64: &str = r#","platform":{"os":"linux","architecture":"amd64"}"#;
const ARM64: &str = r#","platform":{"os":"linux","architecture":"arm64"}"#;
const V3: &str = r#","platform":{"os":"linux","architecture":"amd64","variant":"v3"}"#;
const UNKNOWN: &str = r#","platform":{"os":"unknown","architecture":"unknown"}"#;

fn config(text: &str) -> (Digest, ImageId) {
    let digest = Digest::of(text.as_bytes());
    (digest, ImageId::of_config(digest))
}

#[test]
fn a_manifest_leads_to_its_config() {
    let mut store = Store::default();
    let (config, id) = config("a");
    let manifest = store.manifest(&config);
    let links = store.walk(manifest, Goal::Id(id)).unwrap();
    assert_eq!(links.judged(), &manifest);
    assert_eq!(links.index(), None);
    assert_eq!(links.manifest(), &manifest);
    assert_eq!(links.id(), &id);
    assert_eq!(links.digests(), [manifest]);
    assert_eq!(links, Links::recorded(Vec::new(), manifest, id, None));
}

#[test]
fn a7_a_manifest_of_another_image_is_another_image() {
    let mut store = Store::default();
    let (good, _) = config("good");
    let (_, evil) = config("evil");
    let judged = store.manifest(&good);
    assert_eq!(
        store.walk(judged, Goal::Id(evil)),
        Err(ChainError::OtherImage { judged })
    );
}

#[test]
fn a3_an_index_leads_to_any_of_its_images() {
    let mut store = Store::default();
    let (one, id_one) = config("1");
    let (two, id_two) = config("2");
    let (one, two) = (store.manifest(&one), store.manifest(&two));
    let index = store.index(&[(OCI_MANIFEST, one, ARM64), (OCI_MANIFEST, two, AMD64)]);
    for (manifest, id, platform) in [(one, id_one, "linux/arm64"), (two, id_two, "linux/amd64")] {
        let links = store.walk(index, Goal::Id(id)).unwrap();
        assert_eq!(links.index(), Some(&index));
        assert_eq!(links.digests(), [index, manifest]);
        assert_eq!(links.platform().unwrap().to_string(), platform);
        let recorded = Links::recorded(vec![index], manifest, id, links.platform().cloned());
        assert_eq!(recorded, links);
    }
}

#[test]
fn a3_without_an_id_the_pick_is_containerds() {
    let mut store = Store::default();
    let (plain, id) = config("plain");
    let (fast, _) = config("v3");
    let (plain, fast) = (store.manifest(&plain), store.manifest(&fast));
    let index = store.index(&[(OCI_MANIFEST, fast, V3), (OCI_MANIFEST, plain, AMD64)]);
    assert_eq!(store.walk(index, Goal::Pick).unwrap().id(), &id);
    let foreign = store.index(&[(OCI_MANIFEST, fast, V3), (OCI_MANIFEST, plain, ARM64)]);
    let node = Platform::linux("amd64", "");
    assert_eq!(
        store.walk(foreign, Goal::Pick),
        Err(ChainError::NoPlatform { node })
    );
}

#[test]
fn an_attestation_in_an_index_is_passed_over() {
    let mut store = Store::default();
    let (config, id) = config("a");
    let manifest = store.manifest(&config);
    let attestation = store.add("not even json".to_owned());
    let index = store.index(&[
        (OCI_MANIFEST, attestation, UNKNOWN),
        (OCI_MANIFEST, manifest, AMD64),
    ]);
    assert_eq!(
        store.walk(index, Goal::Id(id)).unwrap().manifest(),
        &manifest
    );
    assert_eq!(store.walk(index, Goal::Pick).unwrap().manifest(), &manifest);
}

#[test]
fn indexes_nest_four_deep() {
    let mut store = Store::default();
    let (config, id) = config("a");
    let manifest = store.manifest(&config);
    let mut outer = store.index(&[(OCI_MANIFEST, manifest, AMD64)]);
    for _ in 0..3 {
        outer = store.index(&[(OCI_INDEX, outer, "")]);
    }
    assert_eq!(store.walk(outer, Goal::Id(id)).unwrap().digests().len(), 5);
    let fifth = store.index(&[(OCI_INDEX, outer, "")]);
    assert_eq!(store.walk(fifth, Goal::Id(id)), Err(ChainError::TooMany));
}

#[test]
fn a2_bytes_of_another_digest_are_refused() {
    let mut store = Store::default();
    let (config, id) = config("a");
    let digest = store.manifest(&config);
    store.0.insert(digest, b"{}".to_vec());
    let error = ChainError::NotTheBytes { digest };
    assert!(!error.is_doubt());
    assert_eq!(store.walk(digest, Goal::Id(id)), Err(error));
}

#[test]
fn p5_a_size_that_is_not_the_announced_one_is_refused() {
    let mut store = Store::default();
    let (config, id) = config("a");
    let manifest = store.manifest(&config);
    let text = store.index_text(&[(OCI_MANIFEST, manifest, AMD64)]);
    let size = store.0[&manifest].len();
    let lie = store.add(text.replace(&format!(r#""size":{size}"#), r#""size":1"#));
    assert_eq!(
        store.walk(lie, Goal::Id(id)),
        Err(ChainError::Size { digest: manifest })
    );
}

#[test]
fn a_missing_blob_is_doubt_and_not_another_image() {
    let mut store = Store::default();
    let (config, id) = config("a");
    let absent = Digest::of(b"absent");
    assert_eq!(
        store.walk(absent, Goal::Id(id)),
        Err(ChainError::Missing { digest: absent })
    );
    let manifest = store.manifest(&config);
    let index = store.index(&[
        (OCI_MANIFEST, absent, AMD64),
        (OCI_MANIFEST, manifest, ARM64),
    ]);
    assert_eq!(
        store.walk(index, Goal::Id(id)).unwrap().manifest(),
        &manifest
    );
    let without = store.index(&[(OCI_MANIFEST, absent, AMD64)]);
    let error = store.walk(without, Goal::Id(id)).unwrap_err();
    assert!(error.is_doubt());
    assert_eq!(error, ChainError::Missing { digest: absent });
}

#[test]
fn p1_an_entry_is_read_as_what_the_index_calls_it() {
    let mut store = Store::default();
    let (config, id) = config("a");
    let manifest = store.manifest(&config);
    for kind in [DOCKER_MANIFEST, DOCKER_LIST, OCI_INDEX] {
        let index = store.index(&[(kind, manifest, AMD64)]);
        let error = ChainError::Document {
            digest: manifest,
            error: DocumentError::MediaTypeMismatch,
        };
        assert_eq!(store.walk(index, Goal::Id(id)), Err(error));
    }
}

#[test]
fn a_manifest_of_a_signature_is_no_image() {
    let mut store = Store::default();
    let (config, id) = config("a");
    let text = manifest(&config).replace("oci.image.config", "dev.sigstore.bundle");
    let digest = store.add(text);
    assert_eq!(
        store.walk(digest, Goal::Id(id)),
        Err(ChainError::NotAnImage { digest })
    );
}

#[test]
fn p5_the_walk_ends_after_a_bounded_number_of_documents() {
    let mut store = Store::default();
    let (_, id) = config("wanted");
    let entries: Vec<(&str, Digest, &str)> = (0..1_000)
        .map(|n| {
            let (other, _) = config(&n.to_string());
            (OCI_MANIFEST, store.manifest(&other), ARM64)
        })
        .collect();
    let index = store.index(&entries);
    assert_eq!(store.walk(index, Goal::Id(id)), Err(ChainError::TooMany));
}

#[test]
fn the_bytes_asked_for_are_bounded_by_the_descriptor() {
    let mut store = Store::default();
    let (config, id) = config("a");
    let manifest = store.manifest(&config);
    let index = store.index(&[(OCI_MANIFEST, manifest, AMD64)]);
    let node = Platform::linux("amd64", "");
    let limits = Limits::default();
    let mut chain = Chain::start(index, Some(OCI_INDEX), Goal::Id(id), &node, &limits);
    assert_eq!(
        chain.next(),
        Next::Need {
            digest: index,
            media_type: Some(OCI_INDEX.to_owned()),
            max_bytes: limits.max_manifest_bytes
        }
    );
    chain.supply(&store.0[&index]);
    assert_eq!(
        chain.next(),
        Next::Need {
            digest: manifest,
            media_type: Some(OCI_MANIFEST.to_owned()),
            max_bytes: store.0[&manifest].len()
        }
    );
}

#[test]
fn a_chain_can_be_entered_further_down_and_nowhere_else() {
    let (_, id) = config("a");
    let (outer, inner, manifest) = (Digest::of(b"o"), Digest::of(b"i"), Digest::of(b"m"));
    let links = Links::recorded(vec![outer, inner], manifest, id, None);
    assert_eq!(links.starting_at(&outer), Some(links.clone()));
    let inner_links = Links::recorded(vec![inner], manifest, id, None);
    assert_eq!(links.starting_at(&inner), Some(inner_links));
    let last = Links::recorded(Vec::new(), manifest, id, None);
    assert_eq!(links.starting_at(&manifest), Some(last));
    assert_eq!(links.starting_at(id.digest()), None);
}
