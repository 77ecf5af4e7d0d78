//! What a shared array is made of, where the usual is not what is wanted.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::path::Path;

use bytemuck::{Pod, Zeroable};

use crate::array::{KIND, SharedArray};
use crate::segment::{Contents, Memory, Segment};

/// Makes a [`SharedArray`] of other memory than usual: in a file, on huge pages, or there beforehand.
///
/// ```
/// use multiproc_shm::SharedArray;
///
/// let array = SharedArray::<f64>::builder().in_file().populate(true).zeroed(1000)?;
/// array.lock().unwrap()[999] = 1.0;
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "an array is made by `zeroed` or `from_slice`"]
pub struct ArrayBuilder<T> {
    memory: Memory,
    element: PhantomData<fn() -> T>,
}

impl<T> SharedArray<T> {
    /// A choice of what the array is made of. Without one it is memory that belongs to no file system.
    pub fn builder() -> ArrayBuilder<T> {
        ArrayBuilder {
            memory: Memory::default(),
            element: PhantomData,
        }
    }
}

impl<T> ArrayBuilder<T> {
    /// In a file of the temporary folder, as [`in_folder`](Self::in_folder). That folder may be memory itself.
    pub fn in_file(self) -> ArrayBuilder<T> {
        self.in_folder(Memory::usual_folder())
    }

    /// In a file of this folder, for more data than there is memory: the kernel writes to disk what it needs
    /// the memory of. The room on the disk is reserved when the array is made.
    ///
    /// The file has no name, and is gone with the last process that has the array. On a file system that
    /// has no files without one (`O_TMPFILE`) it has a name for the moment in which it is made; a process
    /// that is killed in that moment leaves an empty file behind, whose name begins with `.tmp`.
    ///
    /// Nobody is handed such an array by a stranger, but a process that has it and goes wild can shorten the
    /// file, which is fatal to others that use it; other arrays are sealed against that. A [frozen] one is in
    /// memory again.
    ///
    /// [frozen]: SharedArray::freeze
    pub fn in_folder(mut self, folder: impl AsRef<Path>) -> ArrayBuilder<T> {
        self.memory.folder = Some(folder.as_ref().to_path_buf());
        self
    }

    /// Asks the kernel for huge pages, with which large arrays that are used all over are faster. It has
    /// none for shared memory unless its administrator allows it
    /// (`/sys/kernel/mm/transparent_hugepage/shmem_enabled`).
    pub fn huge_pages(mut self, wanted: bool) -> ArrayBuilder<T> {
        self.memory.huge_pages = wanted;
        self
    }

    /// Enters the array's pages into this process's page table when it is made: that takes longer, and none
    /// of the first accesses does. The pages themselves are always there.
    pub fn populate(mut self, wanted: bool) -> ArrayBuilder<T> {
        self.memory.populate = wanted;
        self
    }
}

impl<T: Zeroable> ArrayBuilder<T> {
    /// `length` elements of which all bytes are zero.
    ///
    /// # Errors
    /// As [`SharedArray::zeroed`]; where there is no such folder, or its disk has no room; where pages cannot
    /// be entered beforehand (before Linux 5.14).
    ///
    /// # Panics
    /// If an element has no size.
    pub fn zeroed(&self, length: usize) -> io::Result<SharedArray<T>> {
        Segment::create_with(contents::<T>(length), &self.memory).map(SharedArray::of)
    }
}

impl<T: Pod> ArrayBuilder<T> {
    /// A copy of `elements`.
    ///
    /// # Errors
    /// As [`zeroed`](Self::zeroed).
    ///
    /// # Panics
    /// If an element has no size.
    pub fn from_slice(&self, elements: &[T]) -> io::Result<SharedArray<T>> {
        let segment = Segment::create_unfilled(contents::<T>(elements.len()), &self.memory)?;
        let target = segment.base().cast::<T>();
        // SAFETY: the segment has room for as many elements, is new and nobody else's yet, and cannot
        // overlap with a slice of Rust's.
        unsafe { target.copy_from_nonoverlapping(elements.as_ptr(), elements.len()) };
        Ok(SharedArray::of(segment))
    }
}

fn contents<T>(length: usize) -> Contents {
    const { assert!(size_of::<T>() > 0, "elements of a shared array have a size") };
    Contents::of::<T>(KIND, length)
}

impl<T> fmt::Debug for ArrayBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArrayBuilder")
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}
