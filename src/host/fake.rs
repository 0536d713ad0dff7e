//! A host for tests.

use std::collections::BTreeMap;
use std::io;

use super::spot::below;
use super::{End, HostFs, MountTable, Node, NodeKind, Trail};

pub(super) const DIRECTORY: Node = Node {
    kind: NodeKind::Directory,
    uid: 0,
    mode: 0o755,
};

/// A host of directories: the mount of a path is the longest mount point above it.
pub(super) struct Fake {
    pub(super) mounts: String,
    odd: BTreeMap<String, Node>,
    missing: Vec<String>,
    pub(super) real: BTreeMap<String, String>,
    links: BTreeMap<String, String>,
}

impl Fake {
    /// `/` on device 8:1, and more lines `(root, point, device)`.
    pub(super) fn with(mounts: &[(&str, &str, &str)]) -> Self {
        let mut text = "1 0 8:1 / / rw - ext4 /dev/sda rw\n".to_owned();
        for (at, (root, point, device)) in mounts.iter().enumerate() {
            let id = at + 2;
            text.push_str(&format!("{id} 1 {device} {root} {point} rw - x x rw\n"));
        }
        Self {
            mounts: text,
            odd: BTreeMap::new(),
            missing: Vec::new(),
            real: BTreeMap::new(),
            links: BTreeMap::new(),
        }
    }

    pub(super) fn odd(mut self, path: &str, node: Node) -> Self {
        self.odd.insert(path.to_owned(), node);
        self
    }

    pub(super) fn link(mut self, path: &str, target: &str) -> Self {
        self.links.insert(path.to_owned(), target.to_owned());
        let link = Node {
            kind: NodeKind::Symlink,
            ..DIRECTORY
        };
        self.odd(path, link)
    }

    pub(super) fn missing(mut self, path: &str) -> Self {
        self.missing.push(path.to_owned());
        self
    }
}

impl HostFs for Fake {
    fn trail(&self, path: &str) -> io::Result<Trail> {
        let mut nodes = vec![DIRECTORY];
        let mut at = String::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            at = format!("{at}/{part}");
            if self.missing.contains(&at) {
                return Ok(Trail {
                    nodes,
                    end: End::Missing,
                    mount: None,
                });
            }
            let node = self.odd.get(&at).copied().unwrap_or(DIRECTORY);
            nodes.push(node);
            if node.kind == NodeKind::Symlink {
                return Ok(Trail {
                    nodes,
                    end: End::Symlink,
                    mount: None,
                });
            }
        }
        let table = MountTable::parse(self.mounts.as_bytes()).unwrap();
        let mount = table
            .mounts()
            .iter()
            .filter(|mount| below(path.as_bytes(), &mount.point).is_some())
            .max_by_key(|mount| mount.point.len())
            .map(|mount| mount.id);
        Ok(Trail {
            nodes,
            end: End::Found,
            mount,
        })
    }

    fn mountinfo(&self) -> io::Result<Vec<u8>> {
        Ok(self.mounts.clone().into_bytes())
    }

    fn real_path(&self, path: &str) -> io::Result<String> {
        Ok(self
            .real
            .get(path)
            .cloned()
            .unwrap_or_else(|| path.to_owned()))
    }

    fn read_link(&self, path: &str) -> io::Result<String> {
        Ok(self.links[path].clone())
    }
}
