//! Rules about manifests, and about the documents that list crates.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::tree::{File, Tree};

/// Between these two lines of ARCHITECTURE.md stands the table of who may know whom.
const EDGES: [&str; 2] = ["<!-- edges -->", "<!-- /edges -->"];

/// A crate under `crates/`.
struct Crate<'a> {
    name: &'a str,
    manifest: &'a File,
    published: bool,
}

/// The manifests of the packages in the workspace; those of fuzzers and among a test's files are outside it.
fn packages(tree: &Tree) -> impl Iterator<Item = &File> {
    let files = tree.files.iter();
    files.filter(|file| {
        file.path.ends_with("/Cargo.toml") && !file.path.starts_with("fuzz/") && !file.is_test()
    })
}

fn crates(tree: &Tree) -> impl Iterator<Item = Crate<'_>> {
    packages(tree).filter_map(|manifest| {
        let name = manifest
            .path
            .strip_prefix("crates/")?
            .strip_suffix("/Cargo.toml")?;
        let published = !manifest
            .text
            .lines()
            .any(|line| line.trim() == "publish = false");
        Some(Crate {
            name,
            manifest,
            published,
        })
    })
}

/// Crates depend on each other as ARCHITECTURE.md says, no more and no less. Unpublished ones need no row.
pub(super) fn edges(tree: &Tree) -> Vec<Finding> {
    let Some(document) = tree.file("ARCHITECTURE.md") else {
        return vec!["ARCHITECTURE.md: is missing".to_owned()];
    };
    let Some(mut table) = edge_table(&document.text) else {
        return vec![format!(
            "ARCHITECTURE.md: has no table between {} and {}",
            EDGES[0], EDGES[1]
        )];
    };
    let mut findings = Vec::new();
    for Crate {
        name,
        manifest,
        published,
    } in crates(tree)
    {
        let allowed = table.remove(name);
        if allowed.is_none() && published {
            findings.push(format!(
                "ARCHITECTURE.md: the table of edges has no row for {name}"
            ));
            continue;
        }
        let allowed = allowed.unwrap_or_default();
        let actual = siblings(&manifest.text);
        for extra in actual.difference(&allowed) {
            findings.push(format!(
                "{}: depends on {extra}, which ARCHITECTURE.md does not allow",
                manifest.path
            ));
        }
        for unused in allowed.difference(&actual) {
            findings.push(format!(
                "ARCHITECTURE.md: lets {name} depend on {unused}, and it does not"
            ));
        }
    }
    findings.extend(
        table
            .keys()
            .map(|name| format!("ARCHITECTURE.md: there is no crate {name}")),
    );
    findings
}

/// Rows are ``| `crate` | `crate`, `crate` |``, with `-` for none; other rows are headings.
fn edge_table(document: &str) -> Option<BTreeMap<&str, BTreeSet<&str>>> {
    let (_, table) = document.split_once(EDGES[0])?;
    let (table, _) = table.split_once(EDGES[1])?;
    let rows = table.lines().filter_map(|row| {
        let mut cells = row.trim().strip_prefix('|')?.split('|');
        let name = cells.next()?.trim().strip_prefix('`')?.strip_suffix('`')?;
        let allowed = cells
            .next()?
            .split(',')
            .map(|cell| cell.trim().trim_matches('`'));
        Some((
            name,
            allowed.filter(|name| !matches!(*name, "-" | "")).collect(),
        ))
    });
    Some(rows.collect())
}

/// The crates of this project among the normal dependencies of a manifest.
fn siblings(manifest: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let mut in_dependencies = false;
    for line in manifest.lines().map(str::trim) {
        let name = if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            in_dependencies = section == "dependencies"
                || section.starts_with("target.") && section.ends_with(".dependencies");
            section.strip_prefix("dependencies.")
        } else {
            line.split(['.', '=', ' '])
                .next()
                .filter(|_| in_dependencies)
        };
        found.extend(name.filter(|name| *name == "multiproc" || name.starts_with("multiproc-")));
    }
    found
}

/// Every published crate is in README.md, where a reader learns when to depend on which.
pub(super) fn readme_list(tree: &Tree) -> Vec<Finding> {
    let Some(readme) = tree.file("README.md") else {
        return vec!["README.md: is missing".to_owned()];
    };
    let unnamed = crates(tree)
        .filter(|one| one.published && !readme.text.contains(&format!("`{}`", one.name)));
    unnamed
        .map(|one| format!("README.md: does not name the crate `{}`", one.name))
        .collect()
}

/// Every package takes the lints of the workspace, unless it is a workspace of its own.
pub(super) fn lints(tree: &Tree) -> Vec<Finding> {
    let takes = |file: &&File| {
        file.text.contains("[lints]\nworkspace = true\n") || file.text.contains("\n[workspace]\n")
    };
    let without = packages(tree).filter(|file| !takes(file));
    without
        .map(|file| format!("{}: lacks `[lints]` with `workspace = true`", file.path))
        .collect()
}

/// What is not released yet stands on top of CHANGELOG.md, below one heading.
pub(super) fn changelog(tree: &Tree) -> Vec<Finding> {
    let Some(changelog) = tree.file("CHANGELOG.md") else {
        return vec!["CHANGELOG.md: is missing".to_owned()];
    };
    if changelog.text.lines().find(|line| line.starts_with("## ")) == Some("## TBD") {
        return Vec::new();
    }
    vec!["CHANGELOG.md: its first heading is not `## TBD`".to_owned()]
}
