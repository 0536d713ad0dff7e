use super::*;

const ONE: &str = r#"{"containerd":{"snapshotter":"overlayfs","defaultRuntimeName":"runc",
  "runtimes":{"runc":{"runtimeType":"io.containerd.runc.v2"},"kata":{"runtimeType":"io.containerd.kata.v2","snapshotter":"nydus"}}},
  "sandboxImage":"registry.k8s.io/pause:3.6","cni":{}}"#;
const TWO: &str = r#"{"containerd":{"defaultRuntimeName":"runc",
  "runtimes":{"runc":{"runtimeType":"io.containerd.runc.v2","snapshotter":""}}}}"#;

#[test]
fn settings_of_1_x_tell_pause_image_and_snapshotter() {
    let facts = RuntimeFacts::parse(Some(ONE), vec![]).unwrap();
    assert_eq!(
        facts.pause_image.as_deref(),
        Some("registry.k8s.io/pause:3.6")
    );
    assert_eq!(facts.snapshotter_of(""), Some("overlayfs"));
    assert_eq!(facts.snapshotter_of("kata"), Some("nydus"));
    assert!(facts.verifies("runc"));
    assert!(!facts.verifies("kata"));
}

#[test]
fn an_unknown_handler_verifies_nothing() {
    let facts = RuntimeFacts::parse(Some(ONE), vec![]).unwrap();
    assert_eq!(facts.snapshotter_of("other"), None);
    assert!(!facts.verifies("other"));
}

#[test]
fn settings_of_2_x_name_the_snapshotter_by_its_directory() {
    let directory = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs".to_owned();
    let facts = RuntimeFacts::parse(Some(TWO), vec![directory]).unwrap();
    assert_eq!(facts.pause_image, None);
    assert_eq!(facts.snapshotter_of("runc"), Some("overlayfs"));
}

#[test]
fn the_first_of_two_snapshotters_is_the_default_one() {
    let facts = RuntimeFacts::parse(
        Some(TWO),
        vec![
            "/x/io.containerd.snapshotter.v1.overlayfs".to_owned(),
            "/x/io.containerd.snapshotter.v1.nydus".to_owned(),
        ],
    )
    .unwrap();
    assert_eq!(facts.snapshotter_of("runc"), Some("overlayfs"));
    assert!(facts.verifies("runc"));
    let facts = RuntimeFacts::parse(
        Some(TWO),
        vec![
            "/x/io.containerd.snapshotter.v1.nydus".to_owned(),
            "/x/io.containerd.snapshotter.v1.overlayfs".to_owned(),
        ],
    )
    .unwrap();
    assert!(!facts.verifies("runc"));
    let facts = RuntimeFacts::parse(
        Some(TWO),
        vec![
            "/elsewhere".to_owned(),
            "/x/io.containerd.snapshotter.v1.overlayfs".to_owned(),
        ],
    )
    .unwrap();
    assert_eq!(facts.snapshotter_of("runc"), None);
}

#[test]
fn settings_of_another_type_are_bad() {
    let error = RuntimeFacts::parse(Some(r#"{"containerd":7}"#), vec![]).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("`Status` in containerd is not usable: its settings cannot be read"),
        "{error}"
    );
}

#[test]
fn no_settings_are_bad() {
    assert_eq!(
        RuntimeFacts::parse(None, vec![]).unwrap_err().to_string(),
        "`Status` in containerd is not usable: it does not tell its settings"
    );
}

/// What the guard says to settings of containerd with this `registry`.
fn differs(registry: &str, certs_dirs: &[&str]) -> Option<String> {
    let text = format!(r#"{{"containerd":{{}},"registry":{registry}}}"#);
    let facts = RuntimeFacts::parse(Some(&text), vec![]).unwrap();
    let certs_dirs: Vec<PathBuf> = certs_dirs.iter().map(PathBuf::from).collect();
    facts.registry.differs_from(&certs_dirs)
}

#[test]
fn settings_of_registries_that_the_guard_does_not_read_are_named() {
    let inline = r#"{"configPath":"","mirrors":{"docker.io":{"endpoint":["https://m"]}},
      "configs":{"r.example":{"auth":{"password":"secret"}}},"auths":null}"#;
    let said = differs(inline, &["/c"]).unwrap();
    assert!(said.contains("docker.io, r.example"), "{said}");
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn another_config_path_is_told_and_the_same_is_not() {
    let path = r#"{"configPath":"/a:/b"}"#;
    assert!(differs(path, &["/a"]).is_some());
    assert_eq!(differs(path, &["/a", "/b"]), None);
    assert_eq!(differs(r#"{"configPath":""}"#, &["/a"]), None);
    let two = RuntimeFacts::parse(Some(TWO), vec![]).unwrap();
    assert_eq!(two.registry, RegistryFacts::default());
}

#[test]
fn the_directories_that_containerd_keeps_for_itself_are_told() {
    let config = r#"{"containerd":{},"containerdRootDir":"/data/containerd",
      "rootDir":"/data/containerd/io.containerd.grpc.v1.cri","stateDir":"/run/c/io.containerd.grpc.v1.cri",
      "cni":{"binDir":"","binDirs":["/opt/a","/opt/b"],"confDir":"/data/cni"},
      "cdiSpecDirs":["/data/cdi"],"registry":{"configPath":"/data/certs:/data/more"}}"#;
    let facts = RuntimeFacts::parse(Some(config), vec![]).unwrap();
    assert_eq!(
        facts.directories,
        [
            "/data/containerd",
            "/data/containerd",
            "/run/c",
            "/data/cni",
            "/opt/a",
            "/opt/b",
            "/data/cdi",
            "/data/certs",
            "/data/more",
        ]
    );
    let older = r#"{"containerd":{},"cni":{"binDir":"/opt/cni/bin","confDir":"/etc/cni/net.d"}}"#;
    let facts = RuntimeFacts::parse(Some(older), vec![]).unwrap();
    assert_eq!(facts.directories, ["/opt/cni/bin", "/etc/cni/net.d"]);
}
