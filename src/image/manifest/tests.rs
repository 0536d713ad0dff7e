use super::*;

const D: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn parse(text: &str, media_type: Option<&str>) -> Result<Document, DocumentError> {
    Document::parse(text.as_bytes(), media_type, &Limits::default())
}

fn descriptor(more: &str) -> String {
    format!(r#"{{"mediaType":"{OCI_CONFIG}","digest":"{D}","size":2{more}}}"#)
}

fn manifest(kind: &str, more: &str) -> String {
    let one = descriptor("");
    format!(r#"{{"schemaVersion":2,"mediaType":"{kind}","config":{one},"layers":[{one}]{more}}}"#)
}

fn index(kind: &str, entry_more: &str, more: &str) -> String {
    let one = descriptor(entry_more);
    format!(r#"{{"schemaVersion":2,"mediaType":"{kind}","manifests":[{one}]{more}}}"#)
}

fn without_media_type(text: &str, kind: &str) -> String {
    text.replacen(&format!(r#""mediaType":"{kind}","#), "", 1)
}

#[test]
fn the_four_media_types_are_read() {
    for kind in [OCI_MANIFEST, DOCKER_MANIFEST] {
        let Ok(Document::Manifest(read)) = parse(&manifest(kind, ""), Some(kind)) else {
            panic!("{kind} was not read as a manifest");
        };
        assert_eq!((read.layers.len(), read.is_image()), (1, true));
    }
    for kind in [OCI_INDEX, DOCKER_LIST] {
        let Ok(Document::Index(read)) = parse(&index(kind, "", ""), None) else {
            panic!("{kind} was not read as an index");
        };
        assert_eq!(read.manifests.len(), 1);
    }
    let announced = format!("{OCI_MANIFEST}; charset=utf-8");
    assert!(parse(&manifest(OCI_MANIFEST, ""), Some(&announced)).is_ok());
}

#[test]
fn p1_a_document_of_both_kinds_is_refused() {
    for more in [r#","manifests":[]"#, r#","manifests":null"#] {
        let text = manifest(OCI_MANIFEST, more);
        assert_eq!(parse(&text, None), Err(DocumentError::Ambiguous), "{more}");
    }
    for more in [r#","layers":[]"#, r#","config":null"#, r#","layers":null"#] {
        let text = index(OCI_INDEX, "", more);
        assert_eq!(parse(&text, None), Err(DocumentError::Ambiguous), "{more}");
    }
    let empty = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}"}}"#);
    assert_eq!(parse(&empty, None), Err(DocumentError::Ambiguous));
}

#[test]
fn p1_the_announced_media_type_must_be_the_documents_own() {
    let text = manifest(OCI_MANIFEST, "");
    for other in [DOCKER_MANIFEST, OCI_INDEX, DOCKER_LIST] {
        assert_eq!(
            parse(&text, Some(other)),
            Err(DocumentError::MediaTypeMismatch)
        );
    }
    let unknown = DocumentError::MediaType {
        media_type: "application/json".to_owned(),
    };
    assert_eq!(parse(&text, Some("application/json")), Err(unknown));
}

#[test]
fn p1_only_an_announced_oci_document_may_leave_its_media_type_out() {
    let text = without_media_type(&manifest(OCI_MANIFEST, ""), OCI_MANIFEST);
    assert!(matches!(
        parse(&text, Some(OCI_MANIFEST)),
        Ok(Document::Manifest(_))
    ));
    assert_eq!(parse(&text, Some(OCI_INDEX)), Err(DocumentError::Ambiguous));
    assert_eq!(
        parse(&text, Some(DOCKER_MANIFEST)),
        Err(DocumentError::MediaTypeMismatch)
    );
    assert_eq!(parse(&text, None), Err(DocumentError::NoMediaType));
}

#[test]
fn p1_schema_1_is_refused() {
    let text = r#"{"schemaVersion":1,"fsLayers":[],"history":[],"signatures":[]}"#;
    assert_eq!(parse(text, None), Err(DocumentError::Schema1));
    assert_eq!(parse(text, Some(SCHEMA_1[1])), Err(DocumentError::Schema1));
    let hidden = manifest(OCI_MANIFEST, r#","fsLayers":null"#);
    assert_eq!(parse(&hidden, None), Err(DocumentError::Schema1));
    let third = manifest(OCI_MANIFEST, "").replace("\"schemaVersion\":2", "\"schemaVersion\":3");
    assert_eq!(parse(&third, None), Err(DocumentError::SchemaVersion));
}

#[test]
fn p1_an_artifact_with_an_image_config_is_no_image() {
    let text = manifest(OCI_MANIFEST, r#","artifactType":"application/x""#);
    let Ok(Document::Manifest(read)) = parse(&text, None) else {
        panic!("an artifact is a document all the same");
    };
    assert!(!read.is_image());
}

#[test]
fn p2_keys_in_two_spellings_are_refused_in_documents() {
    let cases = [
        (r#","Layers":[]"#, "layers"),
        (r#","Config":{}"#, "config"),
        (r#","MEDIATYPE":"x""#, "mediaType"),
    ];
    for (more, known) in cases {
        let error = JsonError::KeyCase {
            known: known.to_owned(),
        };
        let read = parse(&manifest(OCI_MANIFEST, more), None);
        assert_eq!(read, Err(DocumentError::Json(error)), "{more}");
    }
    let error = JsonError::KeyCase {
        known: "digest".to_owned(),
    };
    let read = parse(&index(OCI_INDEX, r#","Digest":"x""#, ""), None);
    assert_eq!(read, Err(DocumentError::Json(error)));
}

#[test]
fn p5_layers_from_elsewhere_are_refused() {
    let urls = |list: &str| index(OCI_INDEX, &format!(r#","urls":{list}"#), "");
    assert_eq!(
        parse(&urls(r#"["https://b.example/x"]"#), None),
        Err(DocumentError::Urls)
    );
    assert!(parse(&urls("[]"), None).is_ok());
}

#[test]
fn p5_layers_and_entries_are_counted() {
    let limits = Limits {
        max_layers: 1,
        max_index_entries: 1,
        ..Limits::default()
    };
    let two = |text: String| {
        text.replace(
            &format!("[{}]", descriptor("")),
            &format!("[{0},{0}]", descriptor("")),
        )
    };
    for text in [manifest(OCI_MANIFEST, ""), index(OCI_INDEX, "", "")] {
        assert!(Document::parse(text.as_bytes(), None, &limits).is_ok());
        let read = Document::parse(two(text).as_bytes(), None, &limits);
        assert_eq!(read, Err(DocumentError::TooMany { limit: 1 }));
    }
}

#[test]
fn p5_a_document_over_the_limit_is_not_read() {
    let text = manifest(OCI_MANIFEST, "");
    let limits = Limits {
        max_manifest_bytes: text.len() - 1,
        ..Limits::default()
    };
    let limit = limits.max_manifest_bytes;
    let read = Document::parse(text.as_bytes(), None, &limits);
    assert_eq!(read, Err(DocumentError::TooLarge { limit }));
}

#[test]
fn p5_sizes_that_are_no_sizes_are_refused() {
    for size in ["-1", "1.5", "1e3", "\"2\"", "18446744073709551616"] {
        let text = index(OCI_INDEX, "", "").replace("\"size\":2", &format!("\"size\":{size}"));
        let read = parse(&text, None);
        assert!(
            matches!(read, Err(DocumentError::Json(JsonError::Type { .. }))),
            "{size}"
        );
    }
}

#[test]
fn a8_checkpoints_are_refused_wherever_they_are_annotated() {
    let mark = r#","annotations":{"org.criu.checkpoint.container.name":"x"}"#;
    let harmless = mark.replace("checkpoint", "other");
    for (text, twin) in [
        (index(OCI_INDEX, "", mark), index(OCI_INDEX, "", &harmless)),
        (index(OCI_INDEX, mark, ""), index(OCI_INDEX, &harmless, "")),
        (
            manifest(OCI_MANIFEST, mark),
            manifest(OCI_MANIFEST, &harmless),
        ),
    ] {
        assert_eq!(parse(&text, None), Err(DocumentError::Checkpoint));
        assert!(parse(&twin, None).is_ok());
    }
}

#[test]
fn b7_descriptors_need_sha256() {
    let text = index(OCI_INDEX, "", "").replace("sha256:", "sha512:");
    assert_eq!(
        parse(&text, None),
        Err(DocumentError::Digest(DigestError::Algorithm))
    );
}

#[test]
fn a3_candidates_come_in_containerds_order() {
    let entry = |platform: &str| {
        let digest = Digest::of(platform.as_bytes());
        format!(r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":1{platform}}}"#)
    };
    let on = |architecture: &str| {
        format!(r#","platform":{{"os":"linux","architecture":"{architecture}"}}"#)
    };
    let (amd64, small, other) = (on("amd64"), on("386"), on("arm64"));
    let entries = [entry(""), entry(&other), entry(&small), entry(&amd64)].join(",");
    let text =
        format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{entries}]}}"#);
    let Ok(Document::Index(index)) = parse(&text, None) else {
        panic!("the index was not read");
    };
    let node = Platform::linux("amd64", "");
    let order: Vec<Digest> = index.candidates(&node).iter().map(|d| d.digest).collect();
    assert_eq!(
        order,
        [amd64.as_str(), &small, ""].map(|p| Digest::of(p.as_bytes()))
    );
    assert_eq!(
        index.pick(&node).map(|d| d.digest),
        Some(Digest::of(amd64.as_bytes()))
    );
}
