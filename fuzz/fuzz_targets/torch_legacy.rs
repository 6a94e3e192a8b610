#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ddim::fuzzing::torch_legacy(bytes));
