//! Each rule on input that is good and on input that is not; and the tree as it is.

use super::code::code;
use super::tree::Tree;
use super::{check, manifests, sources};
use crate::steps::root;

const LIB: &str = "crates/multiproc-shm/src/lib.rs";

#[track_caller]
fn finds(rule: fn(&Tree) -> Vec<String>, files: &[(&str, &str)], expected: &[&str]) {
    assert_eq!(rule(&Tree::of(files)), expected);
}

#[test]
fn workspace_is_tidy() {
    if let Err(findings) = check(&Tree::of_folder(root())) {
        panic!("{findings}");
    }
}

#[test]
fn folder_is_seen_with_and_without_git() {
    let here = root().join("xtask");
    let is_here = |tree: &Tree| {
        tree.file("src/tidy/tests.rs")
            .is_some_and(|file| !file.code.is_empty())
    };
    assert!(is_here(&Tree::of_folder(&here)));
    assert!(is_here(&Tree::of_walk(&here)));
}

#[test]
fn code_is_what_is_left_without_comments_and_literals() {
    let same = |text| assert_eq!(code(text), text);
    same("fn f<'a>(a: &'a str) -> u8 { a.len() }");
    same("for r in b {}");
    assert_eq!(code("a // b\nc"), "a     \nc");
    assert_eq!(
        code("a /* b /* c */ d\n */ e"),
        format!("a {}\n    e", " ".repeat(14))
    );
    assert_eq!(
        code(r#"f("a\"b", 'c', '\'', b"d")"#),
        "f(      ,    ,     , b   )"
    );
    assert_eq!(
        code("f(r#\"a\"b\"#, br\"c\\\", \"d\")"),
        "f(        ,       ,    )"
    );
    assert_eq!(code("\"ä\" x"), "     x");
    assert_eq!(code("\"never closed"), " ".repeat(13));
}

#[test]
fn module_without_header() {
    finds(
        sources::headers,
        &[
            (LIB, "//! Fine.\n"),
            ("crates/a/src/b/tests.rs", "use a;\n"),
        ],
        &[],
    );
    finds(
        sources::headers,
        &[
            ("crates/a/tests/b.rs", "use a;\n"),
            ("examples/c.rs", "fn main() {}\n"),
        ],
        &[],
    );
    finds(
        sources::headers,
        &[(LIB, "use a;\n")],
        &["crates/multiproc-shm/src/lib.rs:1: opens without a `//!` header"],
    );
    finds(
        sources::headers,
        &[("xtask/src/a/b.rs", "")],
        &["xtask/src/a/b.rs:1: opens without a `//!` header"],
    );
}

#[test]
fn platform_outside_the_floor() {
    let bad = [
        "use libc::c_int;",
        "#[cfg(unix)] fn f() {}",
        "#[cfg(all(test, not(windows)))] fn f() {}",
        "#[cfg_attr(windows, path = \"w.rs\")] mod m;",
        "fn f() { if cfg!(unix) {} }",
        "#[cfg(target_os = \"linux\")] fn f() {}",
        "cfg_select! { unix => {} }",
    ];
    for text in bad {
        assert_eq!(
            sources::platform(&Tree::of(&[(LIB, text)])).len(),
            1,
            "{text}"
        );
        for path in [
            "crates/multiproc-sys/src/a.rs",
            "crates/a/tests/b.rs",
            "crates/a/src/b/tests.rs",
        ] {
            finds(sources::platform, &[(path, text)], &[]);
        }
    }
    let good = "// cfg(unix), libc\nuse std::os::unix::x; #[cfg(test)] fn unix() { f(\"libc\", cfg!(loom), unix) }";
    finds(sources::platform, &[(LIB, good)], &[]);
    let place = "//! Fine.\n\nuse libc::c_int;\n";
    finds(
        sources::platform,
        &[(LIB, place)],
        &[&format!("{LIB}:3: names libc; only multiproc-sys does")],
    );
}

#[test]
fn crate_that_does_not_forbid_unsafe() {
    let paths = ["multiproc", "multiproc-pool", "multiproc-wire"]
        .map(|name| format!("crates/{name}/src/lib.rs"));
    let text = "//! Fine.\n#![forbid(unsafe_code)]\n";
    let good: Vec<_> = paths
        .iter()
        .map(|path| (path.as_str(), text))
        .chain([("xtask/src/main.rs", text)])
        .collect();
    finds(sources::forbid_unsafe, &good, &[]);
    let mut bad = good;
    bad[1].1 = "//! #![forbid(unsafe_code)]\n";
    bad.pop();
    let lacks = |path| format!("{path}:1: lacks `#![forbid(unsafe_code)]`");
    finds(
        sources::forbid_unsafe,
        &bad,
        &[
            &lacks("crates/multiproc-pool/src/lib.rs"),
            &lacks("xtask/src/main.rs"),
        ],
    );
}

#[test]
fn placeholder() {
    for text in [
        "// TODO later",
        "// FIXME",
        "fn f() { todo!() }",
        "#[ignore] #[test]",
        "#[ignore = \"slow\"]",
    ] {
        assert_eq!(
            sources::placeholders(&Tree::of(&[(LIB, text)])).len(),
            1,
            "{text}"
        );
    }
    for text in ["// SAFETY: see above", "// SAFETY: trivial."] {
        finds(
            sources::placeholders,
            &[(LIB, text)],
            &[&format!("{LIB}:1: is no safety argument")],
        );
    }
    finds(
        sources::placeholders,
        &[(
            LIB,
            "// mastodon, AXXXA, trivial\n// SAFETY: `f` reads no memory.\n",
        )],
        &[],
    );
}

#[test]
fn sleep_in_a_test() {
    let text = "fn f() { std::thread::sleep(d) }";
    finds(
        sources::sleeps,
        &[(LIB, text), ("crates/multiproc-testkit/src/wait.rs", text)],
        &[],
    );
    finds(
        sources::sleeps,
        &[("crates/a/tests/b.rs", "// no thread::sleep here\n")],
        &[],
    );
    assert_eq!(
        sources::sleeps(&Tree::of(&[("crates/a/tests/b.rs", text)])).len(),
        1
    );
    assert_eq!(
        sources::sleeps(&Tree::of(&[("crates/a/src/b/tests.rs", text)])).len(),
        1
    );
}

#[test]
fn path_of_one_machine() {
    for text in [
        "see /work/main",
        "`/root/.cargo`",
        "path = \"/home/me/x\"",
        "/home/me",
        "file:///home/me",
    ] {
        let expected = usize::from(!text.starts_with("file"));
        assert_eq!(
            sources::machine_paths(&Tree::of(&[("a.md", text)])).len(),
            expected,
            "{text}"
        );
    }
    finds(
        sources::machine_paths,
        &[("a.md", "src/work/a.rs, https://a.org/home/b, {root}/work/c")],
        &[],
    );
}

#[test]
fn fault_point_without_test_and_test_without_point() {
    let source = (
        LIB,
        "// fault::point!(\"d\")\nfn f() { fault::point!(\"a.b\"); }",
    );
    let test = (
        "crates/a/tests/fault_a.rs",
        "fn f() { fault::kill_at(\"a.b\"); }",
    );
    finds(sources::fault_points, &[source, test], &[]);
    finds(
        sources::fault_points,
        &[source, ("crates/a/tests/b.rs", "plan(\"a.b\")")],
        &[],
    );
    finds(
        sources::fault_points,
        &[source],
        &[&format!("{LIB}:2: no test names the fault point \"a.b\"")],
    );
    finds(
        sources::fault_points,
        &[test],
        &["crates/a/tests/fault_a.rs:1: there is no fault point \"a.b\""],
    );
}

#[test]
fn edge_that_is_not_in_the_table() {
    let sync = "[dependencies]\nmultiproc-sys.workspace = true\n[dev-dependencies]\nmultiproc-testkit.workspace = true\n";
    let sync = ("crates/multiproc-sync/Cargo.toml", sync);
    let sys = (
        "crates/multiproc-sys/Cargo.toml",
        "[dependencies]\nlibc = \"1\"\n",
    );
    let kit = ("crates/multiproc-testkit/Cargo.toml", "publish = false\n");
    let table = |rows: &str| {
        format!(
            "# A\n<!-- edges -->\n| crate | may know |\n|---|---|\n{rows}\n<!-- /edges -->\n| `a` |\n"
        )
    };
    let good = table("| `multiproc-sync` | `multiproc-sys` |\n| `multiproc-sys` | - |");
    finds(
        manifests::edges,
        &[sync, sys, kit, ("ARCHITECTURE.md", &good)],
        &[],
    );

    let closed =
        table("| `multiproc-sync` | - |\n| `multiproc-sys` | `multiproc-wire`, `multiproc-shm` |");
    let expected = [
        "crates/multiproc-sync/Cargo.toml: depends on multiproc-sys, which ARCHITECTURE.md does not allow",
        "ARCHITECTURE.md: lets multiproc-sys depend on multiproc-shm, and it does not",
        "ARCHITECTURE.md: lets multiproc-sys depend on multiproc-wire, and it does not",
    ];
    finds(
        manifests::edges,
        &[sync, sys, ("ARCHITECTURE.md", &closed)],
        &expected,
    );

    let short = table("| `multiproc-gone` | - |\n| `multiproc-sys` | - |");
    let expected = [
        "ARCHITECTURE.md: the table of edges has no row for multiproc-sync",
        "ARCHITECTURE.md: there is no crate multiproc-gone",
    ];
    finds(
        manifests::edges,
        &[sync, sys, ("ARCHITECTURE.md", &short)],
        &expected,
    );

    finds(manifests::edges, &[sys], &["ARCHITECTURE.md: is missing"]);
    let none = "ARCHITECTURE.md: has no table between <!-- edges --> and <!-- /edges -->";
    finds(
        manifests::edges,
        &[sys, ("ARCHITECTURE.md", "# A\n")],
        &[none],
    );
}

#[test]
fn every_form_of_a_dependency_is_an_edge() {
    let manifest = "[package]\nname = \"multiproc-a\"\n[dependencies]\nmultiproc-b = { workspace = true }\n\
        [target.'cfg(loom)'.dependencies]\nmultiproc-c=\"1\"\n[dependencies.multiproc-d]\npath = \"d\"\n\
        [build-dependencies]\nmultiproc-e = \"1\"\n[features]\nmultiproc-f = []\n";
    let table = "<!-- edges -->\n| `multiproc-a` | `multiproc-b`, `multiproc-c`, `multiproc-d` |\n<!-- /edges -->";
    finds(
        manifests::edges,
        &[
            ("crates/multiproc-a/Cargo.toml", manifest),
            ("ARCHITECTURE.md", table),
        ],
        &[],
    );
}

#[test]
fn crate_that_the_readme_does_not_name() {
    let crates = [
        ("crates/multiproc-a/Cargo.toml", ""),
        ("crates/multiproc-b/Cargo.toml", "publish = false\n"),
    ];
    let [published, unpublished] = crates;
    finds(
        manifests::readme_list,
        &[published, unpublished, ("README.md", "| `multiproc-a` |")],
        &[],
    );
    let finding = "README.md: does not name the crate `multiproc-a`";
    finds(
        manifests::readme_list,
        &[published, ("README.md", "`multiproc-ab`")],
        &[finding],
    );
    finds(
        manifests::readme_list,
        &[published],
        &["README.md: is missing"],
    );
}

#[test]
fn package_without_the_lints() {
    finds(
        manifests::lints,
        &[
            ("crates/a/Cargo.toml", "[lints]\nworkspace = true\n"),
            ("Cargo.toml", ""),
        ],
        &[],
    );
    let finding = "xtask/Cargo.toml: lacks `[lints]` with `workspace = true`";
    finds(
        manifests::lints,
        &[("xtask/Cargo.toml", "[package]\n")],
        &[finding],
    );
}

#[test]
fn package_among_the_files_of_a_test_is_outside_the_workspace() {
    let package = "[package]\n[dependencies]\nmultiproc-a = \"1\"\n";
    let outside = ("crates/a/tests/fixtures/b/Cargo.toml", package);
    let edges = ("ARCHITECTURE.md", "<!-- edges -->\n<!-- /edges -->");
    finds(manifests::edges, &[outside, edges], &[]);
    finds(manifests::readme_list, &[outside, ("README.md", "")], &[]);
    finds(manifests::lints, &[outside], &[]);
}

#[test]
fn changelog_without_its_heading() {
    finds(
        manifests::changelog,
        &[("CHANGELOG.md", "# Changes\n\n## TBD\n\n## 0.1\n")],
        &[],
    );
    let finding = "CHANGELOG.md: its first heading is not `## TBD`";
    finds(
        manifests::changelog,
        &[("CHANGELOG.md", "# Changes\n\n## 0.1\n\n## TBD\n")],
        &[finding],
    );
    finds(manifests::changelog, &[], &["CHANGELOG.md: is missing"]);
}
