//! The committed output of proto/ is what proto/ gives today. `UPDATE_GOLDEN=1` writes it anew.
#![expect(clippy::expect_used, reason = "an integration test fails by panicking")]

use std::path::{Path, PathBuf};

use prost::Message as _;

/// Messages that hold secrets: their `Debug` is written by hand in src/api/mod.rs.
const UNPRINTABLE: [&str; 2] = [".runtime.v1.AuthConfig", ".runtime.v1.KeyValue"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn descriptor() -> prost_types::FileDescriptorSet {
    protox::compile(["runtime_v1.proto"], [root().join("proto")]).expect("proto/ compiles")
}

fn agree(committed: &Path, made: &[u8]) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(committed, made).expect("the golden file is written");
        return;
    }
    let have = std::fs::read(committed).expect("the committed file is there");
    assert!(
        have == made,
        "{} is not what proto/ gives; run UPDATE_GOLDEN=1 cargo test --test proto_fresh",
        committed.display()
    );
}

#[test]
fn the_committed_rust_types_are_what_the_proto_gives() {
    let out = tempfile::tempdir().expect("a directory");
    prost_build::Config::new()
        .btree_map(["."])
        .skip_debug(UNPRINTABLE)
        // containerd's verbose status repeats a request as JSON under the names of the proto.
        .message_attribute(".", "#[derive(serde::Deserialize)]\n#[serde(default)]")
        // Go writes bytes as base64; nobody reads environments.
        .field_attribute(".runtime.v1.KeyValue.value", "#[serde(skip)]")
        .out_dir(out.path())
        .compile_fds(descriptor())
        .expect("the types are made");
    let made = std::fs::read(out.path().join("runtime.v1.rs")).expect("the types are there");
    agree(&root().join("src/api/runtime_v1.rs"), &made);
}

#[test]
fn the_committed_descriptor_is_what_the_proto_gives() {
    let mut set = descriptor();
    for file in &mut set.file {
        file.source_code_info = None;
    }
    agree(&root().join("src/api/runtime_v1.fds"), &set.encode_to_vec());
}
