//! Memory with a name, for processes that nobody could hand it to.

use std::fmt;
use std::io;
use std::slice;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytemuck::{AnyBitPattern, NoUninit};
use multiproc_sys::map::{Mapping, Named};

use crate::element::Atomic;
use crate::registry::{Registry, random_id};

/// A block of bytes under a name, for programs that were not started by each other and share nothing but an
/// agreement about the name and what the bytes mean: Python's `SharedMemory`, whose blocks it opens, and
/// which opens its.
///
/// Among processes of one's own, use [`SharedArray`](crate::SharedArray) and its like, which have no name that
/// could be left behind, taken or guessed, and know the type and number of their elements.
///
/// ```
/// use multiproc_shm::SharedMemory;
///
/// let memory = SharedMemory::create_any(64)?;
/// let name = memory.name(); // told to the other program, which does
/// let same = SharedMemory::open(name)?;
/// same.write(8, &[1.5_f64, 2.5])?;
/// let mut seen = [0.0_f64; 2];
/// memory.read(8, &mut seen)?;
/// assert_eq!(seen, [1.5, 2.5]);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Names
///
/// A name is 1 to 255 bytes without `/` and NUL, and not `.` or `..`. A block is made for its user alone (mode
/// 0600), and only where there is none of the name; a symbolic link is not followed. It appears whole: who opens
/// it finds it at its full length, reserved, whenever its maker is killed.
///
/// The maker's handle takes the name away when it is dropped, unless [`keep`](Self::keep) was called. A process
/// that is killed drops nothing: its block stays under its name, in memory, until somebody calls
/// [`remove`](Self::remove) or the machine is started anew. The next `create` says `AlreadyExists` then.
///
/// # Others
///
/// Whoever may open the block may write to it at any time, and may shorten it. [`read`](Self::read) and
/// [`write`](Self::write) copy, and answer with an error what is not there any more. An access to
/// [atomics](Self::as_atomics) that are not there any more ends the process by SIGBUS.
///
/// # A list of several types
///
/// What `ShareableList` is for, a fixed number of values of several types that can be changed in place, is a
/// structure:
///
/// ```
/// use bytemuck::{Pod, Zeroable};
/// use multiproc_shm::{Mutex, SharedMemory};
///
/// #[derive(Clone, Copy, Pod, Zeroable)]
/// #[repr(C)]
/// struct Job {
///     id: i64,
///     progress: f64,
///     name: [u8; 16],
/// }
/// let job = Job { id: 7, progress: 0.25, name: *b"a name, 16 bytes" };
///
/// // Among processes of one's own, with a lock:
/// let shared = Mutex::new(job)?;
/// shared.lock().unwrap().progress = 0.5;
///
/// // With strangers:
/// let memory = SharedMemory::create_any(size_of::<Job>())?;
/// memory.write(0, &[job])?;
/// let [same] = memory.get::<[Job; 1]>(0)?;
/// assert_eq!(same.name, job.name);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// Its fields have types, its texts the length they were given, and nothing is cut off.
///
/// # Differences from Python
///
/// - There is no tracker process. Python's takes away, with a warning, what its programs forgot; it also takes
///   away what they merely opened, this library's blocks among it, unless they say `track=False`.
/// - The maker's handle takes the name away when it is dropped; Python's `close` does not.
/// - All of the size is reserved: a full `/dev/shm` is an error of `create`, not a fatal signal later.
/// - There is no `close`, whose `BufferError` says that somebody still looks: what looks borrows the handle.
/// - There is no `buf`: others write at any time, so the bytes are copied in and out, or are atomics.
/// - `ShareableList` cuts trailing NUL characters off its texts; a structure does not.
/// - `SharedMemoryManager` is not needed: a handle knows when it is not.
#[doc(alias = "multiprocessing.shared_memory.SharedMemory")]
#[doc(alias = "ShareableList")]
pub struct SharedMemory {
    block: Arc<Open>,
    name: String,
    /// Whether dropping this takes the name away.
    owns_name: AtomicBool,
}

/// A block that is open in this process.
struct Open {
    named: Named,
    length: usize,
    id: [u64; 2],
    /// At the first use as atomics, whose size is that of all others.
    mapping: OnceLock<(Mapping, usize)>,
}

/// By device and number of the file: a block is open once, whatever handles there are, so that all agree on
/// what atomics it is made of.
static OPEN: Registry<Open> = Registry::new();

impl SharedMemory {
    /// A zeroed block of `size` bytes under a name that no other has.
    ///
    /// # Errors
    /// `AlreadyExists`; `InvalidInput` for a size of 0 or a name that cannot be; `StorageFull` where `/dev/shm`
    /// has no room, and where there is no memory, as [`SharedArray::zeroed`](crate::SharedArray::zeroed).
    pub fn create(name: &str, size: usize) -> io::Result<SharedMemory> {
        if size == 0 {
            let why = "shared memory with a name has a byte at least";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let named = Named::create(name, size).map_err(|error| about(name, error))?;
        SharedMemory::new(named, name, true)
    }

    /// As [`create`](Self::create), under a name that is made up, as Python makes it up: `psm_` and eight hexadecimal
    /// digits.
    ///
    /// # Errors
    /// As [`create`](Self::create), but for the name.
    pub fn create_any(size: usize) -> io::Result<SharedMemory> {
        loop {
            let [random, _] = random_id();
            let name = format!("psm_{:08x}", random & u64::from(u32::MAX));
            match SharedMemory::create(&name, size) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made,
            }
        }
    }

    /// The block of this name.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`; `InvalidInput` for a name that cannot be; `InvalidData` where what has
    /// the name is no block of memory, or an empty one.
    pub fn open(name: &str) -> io::Result<SharedMemory> {
        let named = Named::open(name).map_err(|error| about(name, error))?;
        SharedMemory::new(named, name, false)
    }

    /// Takes the name from whatever block has it, for instance one that a killed process left behind. The block
    /// is there until the last process that has it open is done.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`; `InvalidInput` for a name that cannot be.
    pub fn remove(name: &str) -> io::Result<()> {
        Named::remove(name).map_err(|error| about(name, error))
    }

    fn new(named: Named, name: &str, owns_name: bool) -> io::Result<SharedMemory> {
        let (length, id) = (named.length()?, named.identity()?);
        if length == 0 {
            let why = format!("shared memory {name:?} is empty");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let open = Open {
            named,
            length,
            id,
            mapping: OnceLock::new(),
        };
        Ok(SharedMemory {
            block: OPEN.enter(id, open.into()),
            name: name.to_owned(),
            owns_name: owns_name.into(),
        })
    }

    /// The name it was made or opened by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many bytes it had when this process opened it; never 0.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.block.length
    }

    /// Takes the name away: nobody can open the block any more, and those who have it go on. Once.
    ///
    /// # Errors
    /// `NotFound` where the name is not that of this block any more.
    pub fn unlink(&self) -> io::Result<()> {
        self.keep();
        if !self.block.named.is_called(&self.name)? {
            return Err(about(&self.name, io::ErrorKind::NotFound.into()));
        }
        SharedMemory::remove(&self.name)
    }

    /// Leaves the name when this handle is dropped.
    pub fn keep(&self) {
        // Relaxed: read when nobody else has the handle.
        self.owns_name.store(false, Ordering::Relaxed);
    }

    /// Fills `elements` from the bytes at `at` and behind, as they are now.
    ///
    /// # Errors
    /// `InvalidInput` where there are not that many bytes; `UnexpectedEof` where there were, and somebody has
    /// shortened the block.
    pub fn read<T: NoUninit + AnyBitPattern>(
        &self,
        at: usize,
        elements: &mut [T],
    ) -> io::Result<()> {
        let bytes = bytemuck::cast_slice_mut(elements);
        self.check(at, bytes.len())?;
        let read = self.block.named.read_at(at, bytes);
        read.map_err(|error| about(&self.name, error))
    }

    /// The value of the bytes at `at` and behind, as they are now.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn get<T: NoUninit + AnyBitPattern>(&self, at: usize) -> io::Result<T> {
        let mut value = [T::zeroed()];
        self.read(at, &mut value)?;
        Ok(value[0])
    }

    /// Writes `elements` to the bytes at `at` and behind.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn write<T: NoUninit>(&self, at: usize, elements: &[T]) -> io::Result<()> {
        let bytes = bytemuck::cast_slice(elements);
        self.check(at, bytes.len())?;
        let written = self.block.named.write_at(at, bytes);
        written.map_err(|error| about(&self.name, error))
    }

    fn check(&self, at: usize, length: usize) -> io::Result<()> {
        let size = self.len();
        if at <= size && length <= size - at {
            return Ok(());
        }
        let why = format!(
            "{length} bytes from {at} on are not in shared memory {:?} of {size}",
            self.name
        );
        Err(io::Error::new(io::ErrorKind::InvalidInput, why))
    }

    /// The block as atomics, for what cannot wait for a copy. What does not fill one more is left out.
    ///
    /// All atomics of a block are of one size in a process: that of the first that were asked for.
    ///
    /// # Errors
    /// `InvalidInput` where there are atomics of another size already, by whatever handle; and where the block
    /// cannot be mapped.
    pub fn as_atomics<T: Atomic>(&self) -> io::Result<&[T::Atomic]> {
        const { T::ALIKE };
        let Open {
            named,
            length,
            mapping,
            ..
        } = &*self.block;
        let (mapping, size) = match mapping.get() {
            Some(mapped) => mapped,
            None => {
                let new = (named.map(*length)?, size_of::<T>());
                // Another thread may have been faster.
                mapping.get_or_init(|| new)
            }
        };
        if *size != size_of::<T>() {
            let why = format!(
                "shared memory {:?} is in use as atomics of {size} bytes",
                self.name
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        // SAFETY: inside the mapping, which is there while `self` is borrowed; aligned, since the mapping is to
        // a page; of any bytes as values; and every other access of this process to it is by atomics of the
        // same size. What other programs do, and the kernel when it copies, comes from outside the memory
        // model, as from a device.
        Ok(unsafe { slice::from_raw_parts(mapping.as_ptr().cast(), length / size) })
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        if *self.owns_name.get_mut() {
            // Somebody may have taken it away before.
            let _gone = self.unlink();
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        OPEN.leave(self.id);
    }
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemory")
            .field("name", &self.name)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// The error, with the name in it.
fn about(name: &str, error: io::Error) -> io::Error {
    let why = match error.kind() {
        io::ErrorKind::AlreadyExists => format!("there is shared memory {name:?} already"),
        io::ErrorKind::NotFound => format!("there is no shared memory {name:?}"),
        io::ErrorKind::UnexpectedEof => format!("shared memory {name:?} was shortened"),
        _ => format!("shared memory {name:?}: {error}"),
    };
    io::Error::new(error.kind(), why)
}
