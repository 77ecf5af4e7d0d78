//! Rules about source files.

use std::collections::BTreeMap;

use super::Finding;
use super::tree::{File, Tree, words};

/// Crates in which no unsafe code exists, and the file that says so to the compiler.
const WITHOUT_UNSAFE: [&str; 4] = [
    "crates/multiproc/src/lib.rs",
    "crates/multiproc-pool/src/lib.rs",
    "crates/multiproc-wire/src/lib.rs",
    "xtask/src/main.rs",
];

/// Every module says what it is: its file opens with a `//!` header. A `tests.rs` may do without.
pub(super) fn headers(tree: &Tree) -> Vec<Finding> {
    let modules = tree
        .sources()
        .filter(|file| file.is_crate_source() && !file.is_test());
    let without = modules.filter(|file| !file.text.starts_with("//!"));
    without
        .map(|file| file.at(0, "opens without a `//!` header"))
        .collect()
}

/// Platforms are told apart in `multiproc-sys`, and in tests; nowhere else does code name one, or libc.
pub(super) fn platform(tree: &Tree) -> Vec<Finding> {
    let floor = |file: &&File| {
        ["sys", "testkit", "bench"]
            .map(|name| format!("crates/multiproc-{name}/"))
            .iter()
            .any(|path| file.path.starts_with(path.as_str()))
    };
    let mut findings = Vec::new();
    for file in tree
        .sources()
        .filter(|file| !floor(file) && !file.is_test())
    {
        for offset in words(&file.code, "libc") {
            findings.push(file.at(offset, "names libc; only multiproc-sys does"));
        }
        for offset in platform_conditions(&file.code) {
            findings.push(file.at(offset, "tells platforms apart; only multiproc-sys does"));
        }
    }
    findings
}

/// Where `code` holds `target_os` and its kin, or `unix` or `windows` as a condition: inside `cfg(…)` or before `=>`.
fn platform_conditions(code: &str) -> Vec<usize> {
    let keys = [
        "target_os",
        "target_env",
        "target_arch",
        "target_family",
        "target_vendor",
    ];
    let mut found: Vec<_> = keys.iter().flat_map(|key| words(code, key)).collect();
    for name in ["unix", "windows"] {
        found.extend(words(code, name).filter(|&offset| {
            code[offset + name.len()..].trim_start().starts_with("=>")
                || is_inside_cfg(&code[..offset])
        }));
    }
    found
}

/// Whether the end of `before` is inside the parentheses of a `cfg`, `cfg!` or `cfg_attr`.
fn is_inside_cfg(before: &str) -> bool {
    let mut depth = 0;
    for (offset, c) in before.char_indices().rev() {
        match c {
            ')' => depth += 1,
            '(' if depth > 0 => depth -= 1,
            '(' => {
                let head = before[..offset].trim_end_matches('!');
                if head.ends_with("cfg") || head.ends_with("cfg_attr") {
                    return true;
                }
            }
            ';' | '{' | '}' => return false,
            _ => {}
        }
    }
    false
}

/// The crates that hold no unsafe code forbid it.
pub(super) fn forbid_unsafe(tree: &Tree) -> Vec<Finding> {
    let attribute = "#![forbid(unsafe_code)]";
    let forbids = |path: &&str| {
        tree.file(path)
            .is_some_and(|file| file.code.contains(attribute))
    };
    let open = WITHOUT_UNSAFE.iter().filter(|path| !forbids(path));
    open.map(|path| format!("{path}:1: lacks `{attribute}`"))
        .collect()
}

/// Nothing is left to be done later, and no safety argument is waved away.
pub(super) fn placeholders(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.sources().filter(|file| !holds_needles(file)) {
        for word in ["TODO", "FIXME", "XXX"] {
            findings.extend(
                words(&file.text, word).map(|offset| file.at(offset, &format!("says {word}"))),
            );
        }
        for (needle, what) in [
            ("todo!(", "is not written yet"),
            ("#[ignore", "switches a test off"),
        ] {
            findings.extend(
                file.code
                    .match_indices(needle)
                    .map(|(offset, _)| file.at(offset, what)),
            );
        }
        for (offset, _) in file.text.match_indices("SAFETY:") {
            let argument = file.text[offset..]
                .lines()
                .next()
                .unwrap_or_default()
                .to_lowercase();
            if argument.contains("see above") || argument.contains("trivial") {
                findings.push(file.at(offset, "is no safety argument"));
            }
        }
    }
    findings
}

/// A test waits for what it needs, never for time to pass. A task that takes time is testkit's `linger`.
pub(super) fn sleeps(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree
        .sources()
        .filter(|file| file.is_test() && !holds_needles(file))
    {
        let found = file.code.match_indices("thread::sleep");
        findings
            .extend(found.map(|(offset, _)| {
                file.at(offset, "sleeps in a test; see testkit's `eventually`")
            }));
    }
    findings
}

/// No file names a place that exists on one machine only.
pub(super) fn machine_paths(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files.iter().filter(|file| !holds_needles(file)) {
        for folder in ["/work/", "/root/", "/home/"] {
            let found = file.text.match_indices(folder).filter(|&(offset, _)| {
                // Inside a longer path or an address it is no absolute path.
                !file.text[..offset]
                    .ends_with(|c: char| c.is_alphanumeric() || "._-)}*/~".contains(c))
            });
            findings
                .extend(found.map(|(offset, _)| file.at(offset, "names a path of one machine")));
        }
    }
    findings
}

/// Every fault point is named in a test, and every fault that a test plans is a point.
pub(super) fn fault_points(tree: &Tree) -> Vec<Finding> {
    let (tests, sources): (Vec<_>, Vec<_>) = tree
        .sources()
        .filter(|file| file.path.starts_with("crates/"))
        .partition(|file| file.is_test());
    let points: BTreeMap<_, _> = sources
        .into_iter()
        .flat_map(|file| faults(file, "point!"))
        .collect();
    let planned: BTreeMap<_, _> = tests.iter().flat_map(|file| faults(file, "")).collect();
    let is_tested = |name: &str| {
        tests
            .iter()
            .any(|file| file.text.contains(&format!("\"{name}\"")))
    };
    let untested = points.iter().filter(|(name, _)| !is_tested(name));
    let unknown = planned
        .iter()
        .filter(|(name, _)| !points.contains_key(*name));
    let untested =
        untested.map(|(name, place)| format!("{place}no test names the fault point \"{name}\""));
    let unknown = unknown.map(|(name, place)| format!("{place}there is no fault point \"{name}\""));
    untested.chain(unknown).collect()
}

/// Name and place of each call `fault::…("name"` whose function begins with `start`.
fn faults<'a>(file: &'a File, start: &str) -> Vec<(&'a str, Finding)> {
    let call = format!("fault::{start}");
    let found = file.code.match_indices(&call).filter_map(|(offset, _)| {
        let (_, arguments) = file.text[offset..].split_once('(')?;
        // Nothing but the function's name may stand between.
        let head = file.code[offset..].split_once('(')?.0;
        let is_call = !head.contains(|c: char| !c.is_alphanumeric() && !"_:!".contains(c));
        let (name, _) = arguments
            .trim_start()
            .strip_prefix('"')
            .filter(|_| is_call)?
            .split_once('"')?;
        Some((name, file.at(offset, "")))
    });
    found.collect()
}

/// Tidy's own files hold the very words it looks for.
fn holds_needles(file: &File) -> bool {
    file.path.starts_with("xtask/src/tidy/")
}
