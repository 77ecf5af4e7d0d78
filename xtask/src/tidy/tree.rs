//! The text files of the workspace, as the rules see them.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::Finding;
use super::code::code;

/// All text files, by path.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) files: Vec<File>,
}

/// One text file.
#[derive(Debug)]
pub(super) struct File {
    /// From the workspace's folder, with forward slashes.
    pub(super) path: String,
    pub(super) text: String,
    /// The text without comments and literals, each blanked in place; of Rust sources only.
    pub(super) code: String,
}

impl Tree {
    pub(super) fn of_folder(root: &Path) -> Self {
        Self::of_paths(
            root,
            tracked(root)
                .filter(|paths| !paths.is_empty())
                .unwrap_or_else(|| walk(root)),
        )
    }

    #[cfg(test)]
    pub(super) fn of_walk(root: &Path) -> Self {
        Self::of_paths(root, walk(root))
    }

    fn of_paths(root: &Path, mut paths: Vec<String>) -> Self {
        paths.sort();
        // What is not there is deleted but not committed; what is not text has no rule.
        let files = paths.into_iter().filter_map(|path| {
            let text = fs::read_to_string(root.join(&path)).ok()?;
            Some(File::new(path, text))
        });
        Self {
            files: files.collect(),
        }
    }

    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let file = |&(path, text): &(&str, &str)| File::new(path.to_owned(), text.to_owned());
        Self {
            files: files.iter().map(file).collect(),
        }
    }

    pub(super) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    pub(super) fn sources(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }
}

impl File {
    fn new(path: String, text: String) -> Self {
        let code = if path.ends_with(".rs") {
            code(&text)
        } else {
            String::new()
        };
        Self { path, text, code }
    }

    /// Whether it is a test: under a `tests` folder, or the `tests.rs` of a module.
    pub(super) fn is_test(&self) -> bool {
        self.path
            .split('/')
            .any(|part| part == "tests" || part == "tests.rs")
    }

    /// Whether it is part of what a crate is built from, tests inside its modules included.
    pub(super) fn is_crate_source(&self) -> bool {
        let parts: Vec<_> = self.path.splitn(4, '/').collect();
        matches!(parts[..], ["crates", _, "src", _] | ["xtask", "src", ..])
            && self.path.ends_with(".rs")
    }

    /// A finding at byte `offset` of the text.
    pub(super) fn at(&self, offset: usize, what: &str) -> Finding {
        let line = self.text[..offset].matches('\n').count() + 1;
        format!("{}:{line}: {what}", self.path)
    }
}

/// The files git tracks or would track, or `None` where git does not answer.
fn tracked(root: &Path) -> Option<Vec<String>> {
    let args = [
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ];
    let output = Command::new("git")
        .args(args)
        .current_dir(root)
        .output()
        .ok()?;
    let list = String::from_utf8(output.stdout)
        .ok()
        .filter(|_| output.status.success())?;
    Some(list.split_terminator('\0').map(str::to_owned).collect())
}

/// All files below `root`, in a copy without git: `.git` and build folders left out.
fn walk(root: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                files.push(path);
            } else if entry.file_name() != ".git" && entry.file_name() != "target" {
                folders.push(path);
            }
        }
    }
    let below = files
        .iter()
        .filter_map(|path| path.strip_prefix(root).ok()?.to_str());
    below.map(|path| path.replace('\\', "/")).collect()
}

/// Every place in `text` where `word` stands as a word of its own.
pub(super) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    let places = text.match_indices(word).map(|(offset, _)| offset);
    places.filter(move |&offset| {
        !text[..offset].ends_with(part_of_word)
            && !text[offset + word.len()..].starts_with(part_of_word)
    })
}
