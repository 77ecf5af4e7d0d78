//! `tidy`: rules of the tree that no compiler checks. It also runs as a test, so `cargo test` is enough to see it fail.
//!
//! A rule is a function from the [`Tree`] to what it finds wrong. The tree is what git tracks, and what it does not ignore.

mod code;
mod manifests;
mod sources;
mod tree;

#[cfg(test)]
mod tests;

use crate::steps::{Outcome, Steps, root};
use tree::Tree;

/// One thing that is wrong, and where: `path:line: what`.
type Finding = String;

const RULES: [fn(&Tree) -> Vec<Finding>; 11] = [
    sources::headers,
    sources::platform,
    sources::forbid_unsafe,
    sources::placeholders,
    sources::sleeps,
    sources::machine_paths,
    sources::fault_points,
    manifests::edges,
    manifests::readme_list,
    manifests::lints,
    manifests::changelog,
];

pub(crate) fn run(steps: &mut Steps) {
    steps.run("tidy", || check(&Tree::of_folder(root())));
}

/// The paths of all Rust files, from the workspace's folder.
pub(crate) fn sources() -> Vec<String> {
    let tree = Tree::of_folder(root());
    tree.sources().map(|file| file.path.clone()).collect()
}

fn check(tree: &Tree) -> Outcome {
    let findings: Vec<_> = RULES.iter().flat_map(|rule| rule(tree)).collect();
    if findings.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "{} findings\n{}",
            findings.len(),
            findings.join("\n")
        ))
    }
}
