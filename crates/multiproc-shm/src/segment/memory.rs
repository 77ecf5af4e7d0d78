//! What kind of memory a segment is made of.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use multiproc_sys::handle::OwnedHandle;
use multiproc_sys::map::{self, Mapping};

use super::spare;

/// What a new segment is made of, and what is done for its speed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    /// A file without a name in this folder; else memory without a file system.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) huge_pages: bool,
    pub(crate) populate: bool,
}

pub(super) struct Made {
    pub(super) handle: Arc<OwnedHandle>,
    pub(super) mapping: Mapping,
    /// Whether it can be told when nobody else has it: the handle is one that [`map::reopen`] made.
    pub(super) reclaimable: bool,
}

impl Memory {
    /// Where files go if nobody says otherwise.
    pub(crate) fn usual_folder() -> PathBuf {
        env::temp_dir()
    }

    /// Memory of `size` bytes, of which the first `zeroed` are zero, and the rest whatever it is.
    pub(super) fn create(&self, size: usize, zeroed: usize) -> io::Result<Made> {
        let made = match self.again(size) {
            Some(made) => {
                made.mapping.zero(zeroed);
                made
            }
            None => spare::making_room(|| self.anew(size))?,
        };
        if self.huge_pages {
            made.mapping.advise_huge_pages();
        }
        if self.populate {
            made.mapping.populate()?;
        }
        Ok(made)
    }

    /// Whether it is memory as any other, which the next may be made of.
    fn is_usual(&self, size: usize) -> bool {
        self.folder.is_none() && !self.huge_pages && size >= spare::SMALLEST
    }

    fn again(&self, size: usize) -> Option<Made> {
        let handle = self.is_usual(size).then(|| spare::take(size))??;
        let mapping = Mapping::new(&handle, size).ok()?;
        Some(Made {
            handle: handle.into(),
            mapping,
            reclaimable: true,
        })
    }

    fn anew(&self, size: usize) -> io::Result<Made> {
        let mut handle = match &self.folder {
            None => map::create(size)?,
            Some(folder) => file(folder, size).map_err(|error| {
                let why = format!("no shared memory in {}: {error}", folder.display());
                io::Error::new(error.kind(), why)
            })?,
        };
        let mut reclaimable = false;
        if self.is_usual(size)
            && let Ok(reopened) = map::reopen(&handle)
        {
            handle = reopened;
            reclaimable = true;
        }
        let mapping = Mapping::new(&handle, size)?;
        Ok(Made {
            handle: handle.into(),
            mapping,
            reclaimable,
        })
    }
}

fn file(folder: &Path, size: usize) -> io::Result<OwnedHandle> {
    let file = tempfile::tempfile_in(folder)?.into();
    map::reserve_file(&file, size)?;
    Ok(file)
}
