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
fn two_snapshotters_leave_the_default_one_unknown() {
    let facts = RuntimeFacts::parse(
        Some(TWO),
        vec![
            "/x/io.containerd.snapshotter.v1.overlayfs".to_owned(),
            "/x/io.containerd.snapshotter.v1.nydus".to_owned(),
        ],
    )
    .unwrap();
    assert_eq!(facts.snapshotter_of("runc"), None);
    assert!(!facts.verifies("runc"));
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
