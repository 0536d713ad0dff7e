use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_looser_audit_directory_of_before_is_tightened() {
    let parent = tempfile::tempdir().unwrap();
    let place = parent.path().join("audit");
    fs::create_dir(&place).unwrap();
    let loosen = |path: &Path, mode: u32| {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    for name in ["audit.jsonl", "audit-00000001.jsonl"] {
        fs::write(place.join(name), "").unwrap();
        loosen(&place.join(name), 0o644);
    }
    loosen(&place, 0o755);
    let audit = Audit::start(&place);
    audit.write("{}".to_owned());
    audit.flush(PATIENCE);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place), 0o700);
    assert_eq!(mode(&place.join("audit.jsonl")), 0o600);
    assert_eq!(mode(&place.join("audit-00000001.jsonl")), 0o600);
}

#[test]
fn a_directory_that_holds_other_things_than_the_audit_log_keeps_its_mode() {
    let parent = tempfile::tempdir().unwrap();
    let place = parent.path().join("log");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("syslog"), "").unwrap();
    fs::set_permissions(&place, Permissions::from_mode(0o755)).unwrap();
    let audit = Audit::start(&place);
    audit.write("{}".to_owned());
    audit.flush(PATIENCE);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&place), audit.status().written), (0o755, 1));
}

#[test]
fn a_flush_waits_for_a_queue_that_is_full() {
    let directory = tempfile::tempdir().unwrap();
    let audit = Audit::start(&directory.path().join("audit"));
    while audit.status().dropped == 0 {
        audit.write("{}".to_owned());
    }
    let lost = audit.status().dropped;
    audit.write("{}".to_owned());
    audit.flush(PATIENCE);
    let status = audit.status();
    let lines = fs::read_to_string(directory.path().join("audit/audit.jsonl")).unwrap();
    assert_eq!(
        u64::try_from(lines.lines().count()).unwrap(),
        status.written
    );
    assert!(status.written >= 4096 && status.dropped >= lost);
}
