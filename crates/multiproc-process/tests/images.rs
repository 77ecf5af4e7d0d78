//! The hook and the functions it calls are found in images of every make: each profile, each linker, with C++ in them,
//! and after their file is gone.

#[allow(dead_code, reason = "each test program uses some of it")]
mod fixtures;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use fixtures::{PACKAGE, assert_lives, begin, build, folder, program};
use multiproc_testkit::Program;

/// What an image linked by LLVM's linker says in its comments.
const MADE_BY_LLD: &[u8] = b"Linker: LLD";

/// The linkers of this machine, by name, with the arguments by which the compiler takes them; the usual one where
/// there is none of those.
fn linkers() -> Vec<(&'static str, Vec<String>)> {
    let mut found = Vec::new();
    match in_path("ld.bfd") {
        Some(_) => found.push(("bfd", vec!["-fuse-ld=bfd".to_owned()])),
        None => say_missing("GNU ld, of which there is no `ld.bfd`"),
    }
    match in_path("ld.lld").or_else(lld_of_rust) {
        Some(lld) => {
            let folder = lld.parent().expect("a file is in a folder").display();
            found.push((
                "lld",
                vec![format!("-B{folder}"), "-fuse-ld=lld".to_owned()],
            ));
        }
        None => say_missing("lld, of which there is neither `ld.lld` nor `rust-lld`"),
    }
    if found.is_empty() {
        found.push(("usual", Vec::new()));
    }
    found
}

/// Past the harness, which shows what a test prints only if it fails.
fn say_missing(what: &str) {
    let _nobody_reads = writeln!(io::stderr(), "NOT TESTED: {what}");
}

fn in_path(name: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// The lld that comes with the compiler, under the name by which a C compiler calls it.
fn lld_of_rust() -> Option<PathBuf> {
    let asked = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .ok()?;
    let sysroot = String::from_utf8(asked.stdout).ok()?;
    let hosts = fs::read_dir(Path::new(sysroot.trim()).join("lib/rustlib")).ok()?;
    hosts
        .flatten()
        .map(|host| host.path().join("bin/gcc-ld/ld.lld"))
        .find(|path| path.is_file())
}

fn lives_in_profile(profile: &str, stripped: bool) {
    let (oracle, programs) = begin(|| {
        let with = |(linker, arguments): (&'static str, Vec<String>)| {
            let kept = format!("life-{profile}-{linker}");
            (linker, build("life", profile, &[], &arguments, &kept))
        };
        linkers().into_iter().map(with).collect::<Vec<_>>()
    });
    for (linker, path) in programs {
        let image = fs::read(&path).unwrap();
        let mut places = image.windows(MADE_BY_LLD.len());
        let by_lld = places.any(|bytes| bytes == MADE_BY_LLD);
        match linker {
            "lld" => assert!(by_lld || stripped, "{path:?}"),
            "bfd" => assert!(!by_lld, "{path:?}"),
            _ => {}
        }
        assert_lives(&program(&path).run().success().stdout);
    }
    oracle.finish();
}

#[test]
fn children_live_in_the_profile_dev() {
    lives_in_profile("dev", false);
}

#[test]
fn children_live_in_the_profile_release() {
    lives_in_profile("release", false);
}

#[test]
fn children_live_with_fat_lto_stripped_and_where_a_panic_aborts() {
    lives_in_profile("smallest", true);
}

#[test]
fn a_child_sees_the_statics_of_cpp_constructed() {
    let Some(compiler) = in_path("c++").or_else(|| in_path("g++")) else {
        say_missing("C++, of which there is no compiler `c++` or `g++`");
        return;
    };
    let (oracle, programs) = begin(|| {
        fs::create_dir_all(folder()).unwrap();
        let object = folder().join("statics.o");
        let source = Path::new(PACKAGE).join("src/statics.cpp");
        let compile = Program::new(compiler).arg("-c").arg(source);
        let _its_words = compile.arg("-o").arg(&object).run().success();
        let linked = [object.display().to_string(), "-lstdc++".to_owned()];
        ["dev", "smallest"].map(|profile| {
            let kept = format!("statics-{profile}");
            build("statics", profile, &[], &linked, &kept)
        })
    });
    for path in programs {
        let output = program(&path).run().success();
        assert_eq!(output.stdout, "main: 55\nchild: 55\n");
    }
    oracle.finish();
}

#[test]
fn children_start_when_the_file_of_the_program_is_gone_or_another() {
    let (oracle, (life, other)) = begin(|| {
        let life = build("life", "dev", &[], &[], "life");
        let other = build("life", "release", &[], &[], "another-life");
        (life, other)
    });
    let replacing = program(&life).arg("replace").arg(other);
    assert_lives(&replacing.run().success().stdout);
    let removing = program(&life).arg("remove");
    assert_lives(&removing.run().success().stdout);
    assert!(!life.exists());
    oracle.finish();
}
