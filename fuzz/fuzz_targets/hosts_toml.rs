//! `targets/hosts_toml.rs`, driven by libFuzzer.
#![no_main]

#[path = "../targets/hosts_toml.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    target::run(input);
});
