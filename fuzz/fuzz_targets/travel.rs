#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _taken: bool = multiproc_channel::fuzzing::travel(bytes);
});
