#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    multiproc_process::fuzzing::environment(bytes);
});
