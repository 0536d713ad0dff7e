//! `targets/plan_never_permits_unproven.rs`, driven by libFuzzer.
#![no_main]

#[path = "../targets/plan_never_permits_unproven.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    target::run(input);
});
