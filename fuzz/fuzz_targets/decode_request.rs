//! `targets/decode_request.rs`, driven by libFuzzer.
#![no_main]

#[path = "../targets/decode_request.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    target::run(input);
});
