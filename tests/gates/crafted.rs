//! Images whose documents no builder writes: a copy of a test image with edited bytes.

use std::fs;
use std::path::{Path, PathBuf};

use pullguard::image::Digest;
use serde_json::{Value, json};

use crate::support::parts::Parts;
use crate::support::{Lab, Pushed, Registry};

/// A manifest's media type.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An index's.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An OCI layout that is being edited.
pub(crate) struct Crafted {
    directory: PathBuf,
}

impl Crafted {
    /// A copy of a test image.
    pub(crate) fn of(lab: &Lab, name: &str, image: &str) -> Self {
        let directory = lab.dir(&format!("crafted/{name}"));
        let crafted = Self { directory };
        fs::create_dir_all(crafted.directory.join("blobs/sha256")).expect("make a layout");
        crafted.take_blobs(image);
        let from = Parts::require().image(image);
        for file in ["oci-layout", "index.json"] {
            fs::copy(from.join(file), crafted.directory.join(file)).expect("copy a layout");
        }
        crafted
    }

    /// Edits the text of the image's config.
    pub(crate) fn config(self, edit: impl FnOnce(String) -> String) -> Self {
        let mut manifest = self.manifest_value();
        let config = self.text(&manifest["config"]["digest"]);
        let (digest, size) = self.write(&edit(config));
        manifest["config"]["digest"] = json!(digest);
        manifest["config"]["size"] = json!(size);
        self.latest(MANIFEST, &manifest.to_string());
        self
    }

    /// Puts the layer of another test image on top.
    pub(crate) fn layer_of(self, image: &str) -> Self {
        self.take_blobs(image);
        let mut manifest = self.manifest_value();
        let other = Self::read(&Parts::require().image(image));
        let mut config: Value = parse(&self.text(&manifest["config"]["digest"]));
        let above: Value = parse(&self.text(&other["config"]["digest"]));
        push(
            &mut config["rootfs"]["diff_ids"],
            &above["rootfs"]["diff_ids"][0],
        );
        let (digest, size) = self.write(&config.to_string());
        manifest["config"]["digest"] = json!(digest);
        manifest["config"]["size"] = json!(size);
        push(&mut manifest["layers"], &other["layers"][0]);
        self.latest(MANIFEST, &manifest.to_string());
        self
    }

    /// Replaces the layers by those of another test image, whose content the config does not name.
    pub(crate) fn with_layers_of(self, image: &str) -> Self {
        self.take_blobs(image);
        let mut manifest = self.manifest_value();
        manifest["layers"] = Self::read(&Parts::require().image(image))["layers"].clone();
        self.latest(MANIFEST, &manifest.to_string());
        self
    }

    /// Edits the text of the image's manifest.
    pub(crate) fn manifest(self, edit: impl FnOnce(String) -> String) -> Self {
        let manifest = self.text(&self.entry()["digest"]);
        self.latest(MANIFEST, &edit(manifest));
        self
    }

    /// Puts an index over the manifest; `more` is text before its closing brace.
    pub(crate) fn index(self, more: &str) -> Self {
        let entry = self.entry();
        let (digest, size) = (&entry["digest"], &entry["size"]);
        let index = format!(
            r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{{"mediaType":"{MANIFEST}","digest":{digest},"size":{size}}}]{more}}}"#
        );
        self.latest(INDEX, &index);
        self
    }

    /// Pushes it.
    pub(crate) fn push(&self, registry: &Registry, name: &str) -> Pushed {
        registry.push_layout(&self.directory, name)
    }

    fn take_blobs(&self, image: &str) {
        let from = Parts::require().image(image).join("blobs/sha256");
        for blob in fs::read_dir(from).expect("a layout's blobs") {
            let blob = blob.expect("a blob");
            let to = self.directory.join("blobs/sha256").join(blob.file_name());
            fs::copy(blob.path(), to).expect("copy a blob");
        }
    }

    fn entry(&self) -> Value {
        let index = fs::read_to_string(self.directory.join("index.json")).expect("index.json");
        parse(&index)["manifests"][0].clone()
    }

    fn manifest_value(&self) -> Value {
        Self::read(&self.directory)
    }

    /// The manifest of a layout.
    fn read(layout: &Path) -> Value {
        let index = fs::read_to_string(layout.join("index.json")).expect("index.json");
        let digest = parse(&index)["manifests"][0]["digest"].clone();
        parse(&blob_text(layout, &digest))
    }

    fn text(&self, digest: &Value) -> String {
        blob_text(&self.directory, digest)
    }

    fn write(&self, text: &str) -> (String, usize) {
        let digest = Digest::of(text.as_bytes()).to_string();
        let hex = digest.strip_prefix("sha256:").expect("a digest");
        fs::write(self.directory.join("blobs/sha256").join(hex), text).expect("write a blob");
        (digest, text.len())
    }

    fn latest(&self, media_type: &str, text: &str) {
        let (digest, size) = self.write(text);
        let index = json!({"schemaVersion": 2, "manifests": [{
            "mediaType": media_type, "digest": digest, "size": size,
            "annotations": {"org.opencontainers.image.ref.name": "latest"},
        }]});
        fs::write(self.directory.join("index.json"), index.to_string()).expect("write index.json");
    }
}

fn blob_text(layout: &Path, digest: &Value) -> String {
    let digest = digest.as_str().expect("a digest");
    let hex = digest.strip_prefix("sha256:").expect("a digest");
    fs::read_to_string(layout.join("blobs/sha256").join(hex)).expect("a blob")
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

fn push(list: &mut Value, value: &Value) {
    list.as_array_mut().expect("a list").push(value.clone());
}
