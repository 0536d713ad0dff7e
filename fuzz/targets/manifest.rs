//! Manifests, indexes and configs: no panic, every chain ends, and what passes the strict reading
//! says the same to a reader that folds the case of keys and lets the last one win, as Go's does.
use std::fmt;

use pullguard::image::json::{Shape, scan};
use pullguard::image::{
    Chain, Descriptor, Digest, Document, Goal, ImageConfig, ImageId, Next, Platform,
};
use pullguard::limits::Limits;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

const MEDIA_TYPES: [Option<&str>; 5] = [
    None,
    Some("application/vnd.oci.image.index.v1+json"),
    Some("application/vnd.oci.image.manifest.v1+json"),
    Some("application/vnd.docker.distribution.manifest.list.v2+json"),
    Some("application/vnd.docker.distribution.manifest.v2+json"),
];

/// JSON with every key as often as it is written.
enum Node {
    Object(Vec<(String, Node)>),
    List(Vec<Node>),
    Text(String),
    Other,
}

impl Node {
    /// The value of the last key that a case-folding reader takes for `field`.
    fn get(&self, field: &str) -> &Self {
        let Self::Object(pairs) = self else {
            return &Self::Other;
        };
        let same = |key: &str| fold(key) == fold(field);
        let mut found = pairs.iter().rev().filter(|(key, _)| same(key));
        found.next().map_or(&Self::Other, |(_, value)| value)
    }

    fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Object(_) | Self::List(_) | Self::Other => "",
        }
    }

    fn list(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            Self::Object(_) | Self::Text(_) | Self::Other => &[],
        }
    }
}

/// Simple folding: enough for the letters of field names and those that fold to them.
fn fold(key: &str) -> String {
    key.replace('\u{17f}', "s")
        .replace('\u{212a}', "k")
        .to_lowercase()
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(AnyNode)
    }
}

struct AnyNode;

impl<'de> Visitor<'de> for AnyNode {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Node::Object(pairs))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut all = Vec::new();
        while let Some(one) = list.next_element()? {
            all.push(one);
        }
        Ok(Node::List(all))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Other)
    }
}

fn same(read: &[Descriptor], written: &Node) {
    let read: Vec<String> = read.iter().map(|one| one.digest.to_string()).collect();
    let written: Vec<&str> = written
        .list()
        .iter()
        .map(|one| one.get("digest").text())
        .collect();
    assert_eq!(read, written);
}

fn read_document(bytes: &[u8], media_type: Option<&str>, limits: &Limits) -> String {
    let document = match Document::parse(bytes, media_type, limits) {
        Ok(document) => document,
        Err(error) => return error.to_string(),
    };
    let node: Node = serde_json::from_slice(bytes).expect("accepted, and no JSON");
    match document {
        Document::Index(index) => {
            let picked = index.pick(&Platform::linux("amd64", ""));
            assert!(picked.is_none_or(|entry| index.manifests.contains(entry)));
            same(&index.manifests, node.get("manifests"));
            format!("an index, picked {}", picked.is_some())
        }
        Document::Manifest(manifest) => {
            let config = node.get("config").get("digest").text();
            assert_eq!(manifest.config.digest.to_string(), config);
            same(&manifest.layers, node.get("layers"));
            "a manifest".to_owned()
        }
    }
}

/// Walks a chain in which every blob is these bytes: it ends, and only what hashes right holds.
fn walk(bytes: &[u8], start: Digest, goal: Goal, media_type: Option<&str>, limits: &Limits) {
    let node = Platform::linux("amd64", "");
    let mut chain = Chain::start(start, media_type, goal, &node, limits);
    for _ in 0..1_000 {
        match chain.next() {
            Next::Done(links) => {
                assert_eq!(*links.judged(), Digest::of(bytes));
                return;
            }
            Next::Broken(_) => return,
            Next::Need { digest, .. } if digest == start => chain.supply(bytes),
            Next::Need { .. } => chain.missing(),
        }
    }
    panic!("the chain does not end");
}

/// One input; what came of it, for the driver to tell inputs apart.
pub(crate) fn run(bytes: &[u8]) -> String {
    let limits = Limits::default();
    if scan(bytes, &Shape::Any, limits.max_json_depth).is_ok() {
        assert!(serde_json::from_slice::<IgnoredAny>(bytes).is_ok());
    }
    let here = Digest::of(bytes);
    let id = ImageId::of_config(here);
    let mut said = String::new();
    for media_type in MEDIA_TYPES {
        said.push_str(&read_document(bytes, media_type, &limits));
        for goal in [Goal::Pick, Goal::PickOfOlder, Goal::Id(id)] {
            walk(bytes, here, goal, media_type, &limits);
            walk(bytes, Digest::of(b"other"), goal, media_type, &limits);
        }
    }
    if let Ok(config) = ImageConfig::parse(&id, bytes, &limits) {
        let node: Node = serde_json::from_slice(bytes).expect("accepted, and no JSON");
        assert_eq!(config.user(), node.get("config").get("User").text());
        said.push_str("a config");
    }
    said
}
