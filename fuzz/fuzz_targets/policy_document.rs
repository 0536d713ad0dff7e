//! `targets/policy_document.rs`, driven by libFuzzer.
#![no_main]

#[path = "../targets/policy_document.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    target::run(input);
});
