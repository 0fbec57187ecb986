#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nexus_osc_codec::fuzzing::stream(data));
