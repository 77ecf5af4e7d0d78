//! What kind of memory a segment is made of.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use multiproc_sys::handle::OwnedHandle;
use multiproc_sys::map::{self, Mapping};

/// What a new segment is made of, and what is done for its speed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    /// A file without a name in this folder; else memory without a file system.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) huge_pages: bool,
    pub(crate) populate: bool,
}

impl Memory {
    /// Where files go if nobody says otherwise.
    pub(crate) fn usual_folder() -> PathBuf {
        env::temp_dir()
    }

    pub(super) fn create(&self, size: usize) -> io::Result<(OwnedHandle, Mapping)> {
        let handle = match &self.folder {
            None => map::create(size)?,
            Some(folder) => file(folder, size).map_err(|error| {
                let why = format!("no shared memory in {}: {error}", folder.display());
                io::Error::new(error.kind(), why)
            })?,
        };
        let mapping = Mapping::new(&handle, size)?;
        if self.huge_pages {
            mapping.advise_huge_pages();
        }
        if self.populate {
            mapping.populate()?;
        }
        Ok((handle, mapping))
    }
}

fn file(folder: &Path, size: usize) -> io::Result<OwnedHandle> {
    let file = tempfile::tempfile_in(folder)?.into();
    map::reserve_file(&file, size)?;
    Ok(file)
}
