#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sd_formats::fuzzing::formats(input));
