//! Tests of the settings: text in, settings or one line of error out.

mod sockets;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::*;

const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn parse(text: &str) -> Result<Settings, String> {
    Settings::parse(text, "p.toml", "node-1").map_err(|error| error.to_string())
}

#[test]
fn an_empty_file_means_the_defaults() {
    assert_eq!(parse("").unwrap(), Settings::defaults("node-1"));
}

#[test]
fn the_defaults_fit_kubeadm_with_containerd() {
    let settings = Settings::defaults("node-1");
    assert_eq!(settings.listen, Path::new("/run/pullguard/cri.sock"));
    assert_eq!(
        settings.upstream,
        Path::new("/run/containerd/containerd.sock")
    );
    assert_eq!(settings.containerd_namespace, "k8s.io");
    assert_eq!(settings.mode, Mode::Enforce);
    assert_eq!(settings.bootstrap, Vec::new());
    assert_eq!(settings.policy, PolicySource::Nowhere);
}

#[test]
fn a_socket_may_be_written_with_its_scheme() {
    let settings = parse("upstream = \"unix:///run/k3s/containerd/containerd.sock\"").unwrap();
    assert_eq!(
        settings.upstream,
        Path::new("/run/k3s/containerd/containerd.sock")
    );
}

#[test]
fn the_roots_of_hosts_toml_are_one_path_some_with_colons_or_a_list() {
    let rows = [
        ("\"/a\"", vec!["/a"]),
        ("\"/a:/b\"", vec!["/a", "/b"]),
        ("[\"/a\", \"/b\"]", vec!["/a", "/b"]),
    ];
    for (written, expected) in rows {
        let settings = parse(&format!("certs_dir = {written}")).unwrap();
        assert_eq!(settings.registry.certs_dirs, settings.certs_dirs);
        let expected: Vec<_> = expected.into_iter().map(PathBuf::from).collect();
        assert_eq!(settings.certs_dirs, expected, "{written}");
    }
}

#[test]
fn every_path_has_one_spelling_however_it_is_written() {
    let spellings = [
        "/d/x", "/d/x/", "/d//x", "//d/x", "/d/./x", "/d/x/.", "/d/x///",
    ];
    for written in spellings {
        let text = format!(
            "listen = \"{written}\"\nupstream = \"unix://{written}2\"\n\
             admin_listen = \"/a//s\"\nkubelet_root = \"{written}\"\nstate_dir = \"{written}\"\n\
             certs_dir = \"{written}\"\nbreak_glass = \"{written}\"\n[policy]\nlocal = \"{written}\"\n\
             [registry]\ncredentials = \"{written}\"\nca = [\"{written}\"]\n\
             [report]\naudit_dir = \"{written}\"\n"
        );
        let settings = parse(&text).unwrap();
        let PolicySource::Local(policy) = &settings.policy else {
            panic!("there is a policy source");
        };
        let credentials = settings.registry.credentials.as_ref().unwrap();
        for (key, path) in [
            ("listen", &settings.listen),
            ("kubelet_root", &settings.kubelet_root),
            ("state_dir", &settings.state_dir),
            ("certs_dir", &settings.certs_dirs[0]),
            ("break_glass", &settings.break_glass),
            ("policy.local", policy),
            ("registry.credentials", credentials),
            ("registry.ca", &settings.registry.ca[0]),
            ("report.audit_dir", &settings.report.audit_dir),
        ] {
            assert_eq!(path.as_os_str(), "/d/x", "{key} = {written}");
        }
        assert_eq!(settings.admin_listen.as_os_str(), "/a/s");
    }
}

#[test]
fn a_root_of_hosts_toml_that_is_no_absolute_path_is_refused() {
    for written in ["\"/a:b\"", "\"/a:\"", "[\"a\"]", "5"] {
        let error = parse(&format!("certs_dir = {written}")).unwrap_err();
        assert!(error.starts_with("p.toml:1:"), "{written}: {error}");
    }
}

#[test]
fn whatever_decides_for_the_guard_is_guarded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p.toml");
    let text = "kubelet_root = \"/data/kubelet/\"\nstate_dir = \"/s/state\"\n\
        certs_dir = \"/s/certs\"\nbreak_glass = \"/s/glass/file\"\nlisten = \"/r/cri/l.sock\"\n\
        admin_listen = \"/r/admin/a.sock\"\nupstream = \"/r/up/u.sock\"\n\
        [policy]\nlocal = \"/s/policy\"\n[registry]\ncredentials = \"/s/cred/c.json\"\n\
        ca = [\"/s/ca/a.pem\"]\n[report]\naudit_dir = \"/s/audit\"\n";
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let loaded = load(&path, &directory.path().join("copy/last"));
    let guarded = loaded.guarded_paths(Path::new("/r/passed/p.sock"));
    let own = directory.path().to_str().unwrap();
    for wanted in [
        own,
        &format!("{own}/p.toml"),
        &format!("{own}/copy"),
        &format!("{own}/copy/last"),
        "/data/kubelet",
        "/r/admin",
        "/r/cri",
        "/r/passed",
        "/r/passed/p.sock",
        "/r/up",
        "/s/audit",
        "/s/ca",
        "/s/ca/a.pem",
        "/s/certs",
        "/s/cred",
        "/s/cred/c.json",
        "/s/glass",
        "/s/glass/file",
        "/s/policy",
        "/s/state",
    ] {
        assert!(guarded.iter().any(|path| path == wanted), "{wanted}");
    }
    assert!(
        !guarded
            .iter()
            .any(|path| path == "/" || path.ends_with('/'))
    );
}

#[test]
fn keys_that_do_nothing_yet_are_told_where_somebody_wrote_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p.toml");
    let told = |text: &str| {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        load(&path, &directory.path().join("copy")).without_effect()
    };
    assert_eq!(told("mode = \"observe\"\n"), Vec::<String>::new());
    let all = "channel = \"beta\"\nbreak_glass = \"/x\"\n\
        ";
    let mut keys = told(all);
    keys.sort();
    assert_eq!(keys, show::NO_EFFECT);
    let page = include_str!("../../docs/settings.md");
    for key in show::NO_EFFECT {
        let line = page
            .lines()
            .find(|line| line.starts_with(&format!("| `{key}` |")));
        assert!(line.unwrap().contains("no effect in this version"), "{key}");
    }
}

#[test]
fn what_the_proxy_is_not_asked_for_is_a_list_of_hosts_and_networks() {
    let text = "[registry]\nno_proxy = [\"example.com\", \"10.0.0.0/8\"]\n";
    let settings = parse(text).unwrap();
    assert_eq!(settings.registry.no_proxy, ["example.com", "10.0.0.0/8"]);
    let error = parse("[registry]\nno_proxy = [\"a,b\"]\n").unwrap_err();
    assert!(error.contains("`a,b` does not work"), "{error}");
}

#[test]
fn an_unknown_key_is_refused_with_its_place_and_the_known_ones() {
    let error = parse("mode = \"enforce\"\nlissten = \"/run/x.sock\"\n").unwrap_err();
    assert!(
        error.starts_with(
            "p.toml:2:1: `lissten`: unknown field `lissten`, expected one of `listen`"
        ),
        "{error}"
    );
}

#[test]
fn an_unknown_key_of_a_table_is_refused() {
    let error = parse("[report]\nlevel = \"info\"\ncolour = true\n").unwrap_err();
    assert!(
        error.starts_with("p.toml:3:1: `report.colour`: unknown field `colour`"),
        "{error}"
    );
}

#[test]
fn a_duplicate_key_is_refused() {
    let error = parse("mode = \"enforce\"\nmode = \"observe\"\n").unwrap_err();
    assert_eq!(error, "p.toml:2:1: duplicate key");
}

#[test]
fn a_wrong_type_is_refused_with_its_key() {
    let error = parse("[limits]\nmax_layers = true\n").unwrap_err();
    assert_eq!(
        error,
        "p.toml:2:14: `limits.max_layers`: invalid type: boolean `true`, expected a whole number, \
         more than zero"
    );
}

#[test]
fn a_limit_of_zero_is_refused() {
    assert_eq!(
        parse("[limits]\nmax_layers = 0\n").unwrap_err(),
        "p.toml:2:14: `limits.max_layers`: `0` does not work; it takes a whole number, more than zero"
    );
}

#[test]
fn limits_are_set_by_name_and_unit() {
    let settings = parse(
        "[limits]\nmax_manifest_bytes = \"1MiB\"\nmax_layers = 7\ndrain_timeout = \"2m\"\n\
         min_body_bytes_per_second = \"8KiB\"\n",
    )
    .unwrap();
    let expected = Limits {
        max_manifest_bytes: 1024 * 1024,
        max_layers: 7,
        drain_timeout: std::time::Duration::from_secs(120),
        min_body_bytes_per_second: 8192,
        ..Limits::default()
    };
    assert_eq!(settings.limits, expected);
}

#[test]
fn a_timeout_has_one_name_at_a_time() {
    assert_eq!(
        parse("[registry.timeouts]\nconnect = \"1s\"\n[limits]\nconnect_timeout = \"2s\"\n")
            .unwrap_err(),
        "p.toml:2:1: `registry.timeouts.connect`: the same limit as `limits.connect_timeout`, \
         which is set too; keep one"
    );
    let settings = parse("[registry.timeouts]\nconnect = \"1s\"\n").unwrap();
    assert_eq!(
        settings.limits.connect_timeout,
        std::time::Duration::from_secs(1)
    );
}

#[test]
fn keys_of_the_signed_bundle_are_refused_by_name() {
    assert_eq!(
        parse("[policy]\nsources = [\"https://policy.example.com\"]\n").unwrap_err(),
        "p.toml:2:11: `policy.sources`: belongs to signed policy bundles, which this version \
         does not read yet; use `local = \"/etc/pullguard/policy\"` in `[policy]`"
    );
}

#[test]
fn a_bootstrap_image_needs_a_digest() {
    let error = parse(
        "[[bootstrap]]\nnamespaces = [\"kube-system\"]\nimage = \"registry.example.com/proxy:v1\"\n",
    )
    .unwrap_err();
    assert_eq!(
        error,
        "p.toml:3:1: `bootstrap[0].image`: `registry.example.com/proxy:v1` can move; pin it, as \
         `registry.example.com/proxy@sha256:…`"
    );
}

#[test]
fn a_bootstrap_image_with_a_digest_is_kept() {
    let settings = parse(&format!(
        "bootstrap = [{{ namespaces = [\"kube-system\"], image = \"registry.example.com/proxy@{DIGEST}\" }}]"
    ))
    .unwrap();
    let [entry] = settings.bootstrap.as_slice() else {
        panic!("one entry");
    };
    assert_eq!(entry.namespaces, ["kube-system"]);
    assert_eq!(entry.repository.to_string(), "registry.example.com/proxy");
    assert_eq!(entry.digest.to_string(), DIGEST);
}

#[test]
fn metrics_stay_on_loopback() {
    assert_eq!(
        parse("[report]\nmetrics_listen = \"0.0.0.0:9464\"\n").unwrap_err(),
        "p.toml:2:18: `report.metrics_listen`: `0.0.0.0:9464` is not a loopback address with a \
         port; write `127.0.0.1:9464`, `[::1]:9464` or `off`"
    );
    let settings = parse("[report]\nmetrics_listen = \"[::1]:1\"\n").unwrap();
    assert_eq!(settings.report.metrics_listen.unwrap().port(), 1);
}

#[test]
fn a_relative_path_is_refused() {
    assert_eq!(
        parse("state_dir = \"var/lib\"\n").unwrap_err(),
        "p.toml:1:13: `state_dir`: `var/lib` is not an absolute path without `..`"
    );
}

#[test]
fn an_unknown_mode_is_refused() {
    assert_eq!(
        parse("mode = \"audit\"\n").unwrap_err(),
        "p.toml:1:8: `mode`: unknown variant `audit`, expected `enforce` or `observe`"
    );
}

#[test]
fn shown_settings_are_settings_again() {
    let text = format!(
        "pause_image = \"registry.example.com/pause@{DIGEST}\"\nlabels = {{ pool = \"a\" }}\n\
         [registry]\nca = [\"/etc/ca.pem\"]\ntoken_hosts = {{ \"r.example.com\" = [\"t.example.com\"] }}\n\
         [registry.timeouts]\npull = \"90s\"\n[policy]\nlocal = \"/etc/pullguard/policy\"\n"
    );
    let settings = parse(&text).unwrap();
    let shown: String = settings
        .rows(Some(&text))
        .iter()
        .filter_map(|row| Some(format!("{} = {}\n", row.key, row.value.as_ref()?)))
        .collect();
    assert_eq!(parse(&shown), Ok(settings));
}

#[test]
fn shown_settings_name_the_line_that_set_them() {
    let text = "\nmode = \"observe\"\n";
    let rows = parse(text).unwrap().rows(Some(text));
    let source = |key: &str| rows.iter().find(|row| row.key == key).unwrap().source;
    assert_eq!(source("mode"), RowSource::Line(2));
    assert_eq!(source("listen"), RowSource::Default);
}

struct Disk {
    directory: tempfile::TempDir,
}

impl Disk {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("pullguard.toml")
    }

    fn last_good(&self) -> PathBuf {
        self.directory.path().join("state/last-good.toml")
    }

    fn write(&self, text: &str) {
        std::fs::write(self.file(), text).unwrap();
        let mode = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(self.file(), mode).unwrap();
    }

    fn load(&self) -> Loaded {
        load(&self.file(), &self.last_good())
    }
}

#[test]
fn settings_that_can_be_read_are_kept_as_the_last_good_ones() {
    let disk = Disk::new();
    disk.write("mode = \"observe\"\n");
    let loaded = disk.load();
    assert_eq!(loaded.origin, Origin::File(disk.file()));
    assert_eq!(loaded.problem, None);
    assert_eq!(
        std::fs::read_to_string(disk.last_good()).unwrap(),
        "mode = \"observe\"\n"
    );
    let mode = std::fs::metadata(disk.last_good()).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
}

#[test]
fn unreadable_settings_fall_back_to_the_last_good_ones() {
    let disk = Disk::new();
    disk.write("channel = \"eu\"\n");
    disk.load();
    disk.write("channel = 7\n");
    let loaded = disk.load();
    assert_eq!(loaded.origin, Origin::LastGood(disk.last_good()));
    assert_eq!(loaded.settings.channel, "eu");
    let problem = loaded.problem.unwrap();
    assert!(
        problem.contains("pullguard.toml:1:11: `channel`:"),
        "{problem}"
    );
}

#[test]
fn unreadable_settings_without_a_copy_mean_the_defaults_with_an_empty_list() {
    let disk = Disk::new();
    disk.write("channel = 7\n");
    let loaded = disk.load();
    assert_eq!(loaded.origin, Origin::Defaults);
    assert_eq!(loaded.settings.bootstrap, Vec::new());
    assert_eq!(loaded.settings.policy, PolicySource::Nowhere);
    assert!(loaded.problem.is_some());
}

#[test]
fn a_missing_file_means_the_defaults_and_is_said() {
    let disk = Disk::new();
    let loaded = disk.load();
    assert_eq!(loaded.origin, Origin::Defaults);
    assert_eq!(
        loaded.problem,
        Some(format!(
            "{}: cannot be read: there is no such file",
            disk.file().display()
        ))
    );
}

#[test]
fn settings_that_others_can_write_are_not_used() {
    let disk = Disk::new();
    disk.write("mode = \"observe\"\n");
    let open = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(disk.file(), open).unwrap();
    let loaded = disk.load();
    assert_eq!(loaded.origin, Origin::Defaults);
    assert_eq!(loaded.settings.mode, Mode::Enforce);
    let file = disk.file().display().to_string();
    assert_eq!(
        loaded.problem,
        Some(format!(
            "{file}: others than root can change it, so it is not used; run `chown root:root \
             {file} && chmod 0644 {file}`"
        ))
    );
}
