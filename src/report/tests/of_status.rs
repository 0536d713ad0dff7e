//! The status document: its documentation and its JSON.

use super::*;

#[test]
fn every_field_of_the_status_is_documented() {
    fn keys(value: &serde_json::Value, path: &str, to: &mut Vec<String>) {
        let serde_json::Value::Object(fields) = value else {
            return;
        };
        for (key, value) in fields {
            let own = format!("{path}{key}");
            keys(value, &format!("{own}."), to);
            to.push(own);
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/status.md");
    let page = std::fs::read_to_string(path).unwrap();
    let mut status = example_status();
    status.refused = Some(RefusedPolicy {
        at: String::new(),
        from: String::new(),
        error: String::new(),
    });
    status.adoption = Some(AdoptionStatus {
        recorded_at: String::new(),
        images: 0,
        containers: 0,
    });
    if let Some(running) = &mut status.running {
        // Their keys are denial codes.
        running.denied_by_code.clear();
        running.undecided_by_code.clear();
    }
    let mut wanted = Vec::new();
    keys(&serde_json::to_value(status).unwrap(), "", &mut wanted);
    for key in wanted {
        assert!(page.contains(&format!("\n| `{key}` |")), "{key}");
    }
}

#[test]
fn the_status_survives_its_own_json() {
    let json = serde_json::to_string(&example_status()).unwrap();
    assert_eq!(
        serde_json::from_str::<Status>(&json).unwrap(),
        example_status()
    );
}
