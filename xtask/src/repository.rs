//! The repository: its root, and the text files that belong to it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Outcome};
use crate::process::Program;

/// Where everything is.
pub(crate) struct Repository {
    root: PathBuf,
}

/// One text file of the project.
pub(crate) struct Source {
    /// Relative to the root, with forward slashes.
    pub(crate) path: String,
    /// Its whole text.
    pub(crate) text: String,
}

impl Repository {
    /// The workspace this program was built from.
    pub(crate) fn find() -> Outcome<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = here
            .parent()
            .ok_or_else(|| Failure::new("xtask stands outside a workspace"))?;
        Ok(Self {
            root: root.to_path_buf(),
        })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The text of one file.
    pub(crate) fn read(&self, relative: &str) -> Outcome<String> {
        fs::read_to_string(self.path(relative))
            .map_err(|error| Failure::new(format!("`{relative}`: {error}")))
    }

    /// Every text file that is committed, or would be by `git add --all`.
    pub(crate) fn sources(&self) -> Outcome<Vec<Source>> {
        let listed = Program::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .within(&self.root)
            .output()?;
        let mut sources = Vec::new();
        for path in listed.split('\0').filter(|path| !path.is_empty()) {
            // A file that is listed and gone was removed but not yet committed; one that is not UTF-8 is no text.
            if let Ok(text) = fs::read_to_string(self.path(path)) {
                sources.push(Source {
                    path: path.to_owned(),
                    text,
                });
            }
        }
        Ok(sources)
    }
}

impl Source {
    /// Whether it is Rust.
    pub(crate) fn is_rust(&self) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|extension| extension == "rs")
    }

    /// Whether the whole file is tests, by where it lies.
    pub(crate) fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("/tests.rs")
    }

    /// Everything before the unit tests at the end of a Rust file.
    pub(crate) fn product(&self) -> &str {
        let tests = self.text.find("\n#[cfg(test)]\nmod tests");
        tests.and_then(|at| self.text.get(..at)).unwrap_or(&self.text)
    }
}
