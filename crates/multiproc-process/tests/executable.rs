//! A library that a program loads while it runs starts children by a launcher that it names.

#[allow(dead_code, reason = "each test program uses some of it")]
mod fixtures;

use fixtures::{begin, build, build_library, program};

#[test]
fn a_loaded_library_names_the_program_that_is_started() {
    let (oracle, (host, library)) = begin(|| {
        let host = build("host", "dev", &["--no-default-features"], &[], "host");
        (host, build_library())
    });
    let host_path = host.display().to_string();
    // Started again by itself, the program does not load the library, and ends.
    let forgotten = program(&host).arg(&library).run().success().stdout;
    for line in forgotten.lines() {
        assert!(line.contains("error: "), "{forgotten}");
        assert!(line.contains("ended with exit code 0"), "{forgotten}");
    }
    let named = program(&host).arg(&library).env("LAUNCHER", &host_path);
    let told = named.run().success().stdout;
    assert_eq!(told, "spawn: Ok(144)\nforkserver: Ok(144)\n");

    // One that is not there, and one that does something else.
    let lost = program(&host)
        .arg(&library)
        .env("LAUNCHER", "/no/such/launcher");
    let told = lost.run().success().stdout;
    assert_eq!(told.matches("No such file").count(), 2, "{told}");
    let other = program(&host).arg(&library).env("LAUNCHER", "/bin/true");
    let told = other.run().success().stdout;
    assert_eq!(told.matches("ended with exit code 0").count(), 2, "{told}");
    oracle.finish();
}
