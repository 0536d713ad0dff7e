//! Policies, from the node's strict JSON and from YAML: no panic, and what YAML makes is read by
//! the node as the same policy.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pullguard::authoring::compile_dir;
use pullguard::limits::Limits;
use pullguard::policy::compile::from_json;
use pullguard::time::Timestamp;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits::default();
    let _ = from_json(bytes, &limits);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
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
        }
        Err(error) => {
            assert!(!error.diagnostics.is_empty());
            for diagnostic in &error.diagnostics {
                let line = diagnostic.to_string();
                assert!(!line.contains('\n'), "one line: {line:?}");
            }
        }
    }
});
