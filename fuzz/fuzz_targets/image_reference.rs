//! `targets/image_reference.rs`, driven by libFuzzer.
#![no_main]

#[path = "../targets/image_reference.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    target::run(input);
});
