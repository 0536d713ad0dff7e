use super::*;

fn parse(text: &str) -> Result<ImageConfig, ConfigError> {
    let id = ImageId::of_config(Digest::of(text.as_bytes()));
    ImageConfig::parse(&id, text.as_bytes(), &Limits::default())
}

fn config(inner: &str) -> String {
    let layer = Digest::of(b"layer");
    format!(
        r#"{{"architecture":"amd64","os":"linux","config":{inner},"rootfs":{{"type":"layers","diff_ids":["{layer}"]}},"container_config":{{"user":"x"}},"history":[{{"created_by":"a"}}]}}"#
    )
}

#[test]
fn what_the_guard_needs_is_read() {
    let text = config(r#"{"User":"1000","Labels":{"A":"1","a":"2"},"Volumes":null}"#);
    let read = parse(&text).unwrap();
    assert_eq!(read.user(), "1000");
    assert_eq!(read.labels().len(), 2);
    assert_eq!(read.platform().to_string(), "linux/amd64");
    assert_eq!(read.diff_ids(), [Digest::of(b"layer")]);
    assert_eq!(read.id().digest(), &Digest::of(text.as_bytes()));
}

#[test]
fn an_image_without_user_has_an_empty_one() {
    for inner in ["null", "{}", r#"{"User":null}"#, r#"{"User":""}"#] {
        assert_eq!(
            parse(&config(inner)).map(|c| c.user().to_owned()),
            Ok(String::new())
        );
    }
}

#[test]
fn a5_bytes_of_another_id_are_refused() {
    let id = ImageId::of_config(Digest::of(b"other"));
    let read = ImageConfig::parse(&id, config("{}").as_bytes(), &Limits::default());
    assert_eq!(read, Err(ConfigError::NotTheId));
}

#[test]
fn p2_a_second_user_is_refused() {
    let error = |known: &str| {
        Err(ConfigError::Json(JsonError::KeyCase {
            known: known.to_owned(),
        }))
    };
    assert_eq!(
        parse(&config(r#"{"User":"1000","user":"0"}"#)),
        error("User")
    );
    assert_eq!(parse(&config("{\"U\u{17f}er\":\"0\"}")), error("User"));
    let twice = config(r#"{"User":"1000"}"#).replacen('{', r#"{"Config":{"User":"0"},"#, 1);
    assert_eq!(parse(&twice), error("config"));
}

#[test]
fn p3_labels_that_containerd_takes_for_its_own_are_refused() {
    for key in [
        "containerd.io/restart.logpath",
        "io.cri-containerd.kind",
        "Containerd.IO/x",
        " containerd.io/x",
        "container d.io/x",
    ] {
        let text = config(&format!(r#"{{"Labels":{{"{key}":"x"}}}}"#));
        assert_eq!(parse(&text), Err(ConfigError::RuntimeLabel), "{key}");
    }
    assert!(parse(&config(r#"{"Labels":{"org.containerd.io/x":"x"}}"#)).is_ok());
}

#[test]
fn p4_volumes_that_leave_their_place_are_refused() {
    let volumes = |path: &str| config(&format!(r#"{{"Volumes":{{"{path}":{{}}}}}}"#));
    for path in [
        "/a/../..",
        "/..",
        "a",
        "",
        "/",
        "//",
        "/./",
        "/proc",
        "//proc/1",
        "/a\\u0000",
    ] {
        assert_eq!(parse(&volumes(path)), Err(ConfigError::Volumes), "{path}");
    }
    for path in ["/data", "/procs", "/a/..b", "/a/proc"] {
        assert!(parse(&volumes(path)).is_ok(), "{path}");
    }
}

#[test]
fn p4_more_than_64_volumes_are_refused() {
    let volumes = |count: usize| {
        let all: Vec<String> = (0..count).map(|n| format!(r#""/v{n}":{{}}"#)).collect();
        config(&format!(r#"{{"Volumes":{{{}}}}}"#, all.join(",")))
    };
    assert!(parse(&volumes(64)).is_ok());
    assert_eq!(parse(&volumes(65)), Err(ConfigError::Volumes));
}

#[test]
fn a_config_without_layers_is_refused() {
    let text = config("{}");
    assert_eq!(
        parse(&text.replace("\"layers\"", "\"other\"")),
        Err(ConfigError::RootFs)
    );
    let sha512 = text.replace("sha256:", "sha512:");
    assert_eq!(
        parse(&sha512),
        Err(ConfigError::Digest(DigestError::Algorithm))
    );
}
