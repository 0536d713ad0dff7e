//! The controls that level restricted adds, as the Kubernetes documentation lists them.

use serde_json::json;

use super::twins::{Control, Twin, plain, security, spec, volume};

pub(crate) fn controls() -> Vec<Control> {
    vec![escalation(), non_root(), user(), volumes()]
}

fn escalation() -> Control {
    Control {
        name: "Privilege Escalation",
        reasons: &["allowPrivilegeEscalation != false"],
        codes: &["POD-ESCALATION"],
        fails: vec![
            security("allowed", json!({"allowPrivilegeEscalation": true})),
            security("not said", json!({"allowPrivilegeEscalation": null})),
        ],
        passes: vec![security(
            "denied",
            json!({"allowPrivilegeEscalation": false}),
        )],
    }
}

fn non_root() -> Control {
    let of_pod = |name, value| spec(name, json!({"securityContext": {"runAsNonRoot": value}}));
    let not_said = |name| of_pod(name, json!(null));
    let mut own = plain("c");
    own["securityContext"]["runAsNonRoot"] = json!(true);
    let mut not_own = plain("c");
    not_own["securityContext"]["runAsNonRoot"] = json!(false);
    let uid = |uid: i64| json!({"runAsNonRoot": null, "runAsUser": uid});
    let own_users = |name, security| {
        spec(
            name,
            json!({"hostUsers": false, "securityContext": security}),
        )
    };
    Control {
        name: "Running as Non-root",
        reasons: &["runAsNonRoot != true", "runAsUser=0"],
        codes: &["POD-ROOT"],
        fails: vec![
            not_said("not said, image of a number"),
            not_said("not said, image of root").of_user("0"),
            not_said("not said, image without USER").of_user(""),
            not_said("not said, image of a name").of_user("app"),
            of_pod("false, image of a number", json!(false)),
            of_pod("false, image of root", json!(false)).of_user("0"),
            security("false of the container", json!({"runAsNonRoot": false})),
            spec(
                "true of the pod, false of its container, image of root",
                json!({"containers": [not_own]}),
            )
            .of_user("0"),
            spec(
                "not said, runAsUser 1000",
                json!({"securityContext": uid(1000)}),
            ),
            spec("not said, runAsUser 0", json!({"securityContext": uid(0)})),
            spec(
                "false of the pod, true of its container",
                json!({"securityContext": {"runAsNonRoot": false}, "containers": [own]}),
            ),
        ],
        passes: vec![
            of_pod("true, image of a number", json!(true)),
            security("true of the container", json!({"runAsNonRoot": true})),
            of_pod("true, image of root", json!(true)).of_user("0"),
            of_pod("true, image of a name", json!(true)).of_user("app"),
            of_pod("true, image of a number and a group", json!(true)).of_user("1000:1000"),
            spec(
                "true, runAsUser 1000, image of root",
                json!({"securityContext": {"runAsUser": 1000}}),
            )
            .of_user("0"),
            own_users(
                "not said, users of its own, image of root",
                json!({"runAsNonRoot": null}),
            )
            .of_user("0"),
            own_users(
                "not said, users of its own, image of a name",
                json!({"runAsNonRoot": null}),
            )
            .of_user("app"),
        ],
    }
}

fn user() -> Control {
    let uid = |uid: i64| json!({"securityContext": {"runAsUser": uid}});
    let mut own = plain("c");
    own["securityContext"]["runAsUser"] = json!(1000);
    let own_users = |name, uid: i64| -> Twin {
        let security = json!({"runAsNonRoot": null, "runAsUser": uid});
        spec(
            name,
            json!({"hostUsers": false, "securityContext": security}),
        )
    };
    Control {
        name: "Running as Non-root user",
        reasons: &["runAsUser=0", "runAsNonRoot != true"],
        codes: &["POD-ROOT"],
        fails: vec![
            security("runAsUser 0", json!({"runAsUser": 0})),
            security(
                "runAsUser 0, runAsNonRoot false",
                json!({"runAsUser": 0, "runAsNonRoot": false}),
            ),
            spec("runAsUser 0 of the pod", uid(0)),
            spec(
                "runAsUser 0 of the pod, another of its container",
                json!({"securityContext": {"runAsUser": 0}, "containers": [own]}),
            ),
        ],
        passes: vec![
            security("runAsUser 1000", json!({"runAsUser": 1000})),
            spec("runAsUser 1000 of the pod", uid(1000)),
            own_users("runAsUser 0 with users of its own", 0),
        ],
    }
}

fn volumes() -> Control {
    let remote = |key: &'static str| match key {
        "nfs" => volume("nfs", json!({"nfs": {"server": "192.0.2.1", "path": "/"}})),
        "iscsi" => volume(
            "iscsi",
            json!({"iscsi": {"targetPortal": "192.0.2.1", "iqn": "iqn.2001-04.com.example:a", "lun": 0}}),
        ),
        "cephfs" => volume("cephfs", json!({"cephfs": {"monitors": ["192.0.2.1"]}})),
        "rbd" => volume(
            "rbd",
            json!({"rbd": {"monitors": ["192.0.2.1"], "image": "a"}}),
        ),
        "fc" => volume(
            "fc",
            json!({"fc": {"targetWWNs": ["500a0982991b8dc5"], "lun": 2}}),
        ),
        "azureFile" => volume(
            "azureFile",
            json!({"azureFile": {"secretName": "a", "shareName": "b"}}),
        ),
        _ => volume(
            "awsElasticBlockStore",
            json!({"awsElasticBlockStore": {"volumeID": "a"}}),
        ),
    };
    let mut fails: Vec<Twin> = [
        "nfs",
        "iscsi",
        "cephfs",
        "rbd",
        "fc",
        "azureFile",
        "awsElasticBlockStore",
    ]
    .into_iter()
    .map(remote)
    .collect();
    fails.push(volume(
        "gitRepo",
        json!({"gitRepo": {"repository": "https://git.example.com/a"}}),
    ));
    fails.push(spec(
        "nfs that nothing mounts",
        json!({"volumes": [{"name": "v", "nfs": {"server": "192.0.2.1", "path": "/"}}]}),
    ));
    Control {
        name: "Volume Types",
        reasons: &["restricted volume types"],
        codes: &["POD-VOLUME"],
        fails,
        passes: vec![
            volume("configMap", json!({"configMap": {"name": "a"}})),
            volume("csi", json!({"csi": {"driver": "csi.example.com"}})),
            volume("downwardAPI", json!({"downwardAPI": {"items": []}})),
            volume("emptyDir", json!({"emptyDir": {"medium": "Memory"}})),
            volume(
                "ephemeral",
                json!({"ephemeral": {"volumeClaimTemplate": {"spec": {}}}}),
            ),
            volume(
                "image",
                json!({"image": {"reference": "registry.example.com/shop/data:1"}}),
            ),
            volume(
                "persistentVolumeClaim",
                json!({"persistentVolumeClaim": {"claimName": "a"}}),
            ),
            volume("projected", json!({"projected": {"sources": []}})),
            volume("secret", json!({"secret": {"secretName": "a"}})),
        ],
    }
}
