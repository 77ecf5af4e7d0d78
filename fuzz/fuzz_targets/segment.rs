#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _taken: bool = multiproc_shm::fuzzing::segment(bytes);
});
