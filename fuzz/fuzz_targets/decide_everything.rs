//! `targets/decide_everything.rs`, driven by libFuzzer.
#![no_main]

#[path = "../targets/decide_everything.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    target::run(input);
});
