//! Policies, from the node's strict JSON and from YAML: no panic, and what YAML makes is read by
//! the node as the same policy.
use pullguard::authoring::compile_dir;
use pullguard::limits::Limits;
use pullguard::policy::compile::from_json;
use pullguard::time::Timestamp;

/// One input; what came of it, for the driver to tell inputs apart.
pub(crate) fn run(bytes: &[u8]) -> String {
    let limits = Limits::default();
    let json = from_json(bytes, &limits).is_ok();
    let Ok(text) = std::str::from_utf8(bytes) else {
        return "no text".to_owned();
    };
    let now = Timestamp::from_unix_seconds(1_780_272_000);
    match compile_dir(
        vec![("policy.yaml".to_owned(), text.to_owned())],
        &limits,
        now,
    ) {
        Ok(authored) => {
            let read = from_json(&authored.json, &limits).expect("what YAML makes is strict JSON");
            assert_eq!(read.version(), authored.policy.version());
            format!("a policy, {json}")
        }
        Err(error) => {
            assert!(!error.diagnostics.is_empty());
            for diagnostic in &error.diagnostics {
                let line = diagnostic.to_string();
                assert!(!line.contains('\n'), "one line: {line:?}");
            }
            error.diagnostics[0].to_string()
        }
    }
}
