#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _taken = multiproc_channel::fuzzing::queue(bytes);
});
