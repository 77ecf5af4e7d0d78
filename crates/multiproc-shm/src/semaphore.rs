//! Semaphores whose permits come back.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::MutexGuard;
use std::time::Duration;

use multiproc_sync::{Deadline, Permits, Taken, Until};
use serde::{Deserialize, Serialize};

use crate::home::{Primitive, Shared};
use crate::lock::NotHeld;

/// The most permits that a semaphore can have.
const MOST: u32 = i32::MAX.cast_unsigned();

// SAFETY: atomics only, and new as zeroes.
unsafe impl Primitive for Permits {
    const KIND: u32 = 18;

    fn sweep(&self, process: u32) {
        Permits::sweep(self, process);
    }
}

macro_rules! semaphore {
    ($Name:ident, $(#[$doc:meta])*) => {
        $(#[$doc])*
        #[derive(Clone, Serialize, Deserialize)]
        pub struct $Name {
            permits: Shared<Permits>,
            bound: u32,
        }

        impl $Name {
            /// Waits until a permit is free, and takes it. Who waits is served in the order of arrival.
            ///
            /// # Panics
            /// If the thread holds a thousand locks already.
            #[inline]
            pub fn acquire(&self) -> Permit<'_> {
                self.take(Deadline::NEVER)
                    .expect("a wait without end timed out")
            }

            /// Takes a permit if one is free.
            ///
            /// # Panics
            /// As [`acquire`](Self::acquire).
            pub fn try_acquire(&self) -> Option<Permit<'_>> {
                // SAFETY: the memory stays mapped until no thread of this process is in it (`home.rs`).
                let _taken: Taken = unsafe { self.permits.try_take(1, false, Until::ThreadEnds) }?;
                Some(Permit::new(&self.permits))
            }

            /// As [`acquire`](Self::acquire), waiting for no longer than `timeout`.
            ///
            /// # Panics
            /// As [`acquire`](Self::acquire).
            pub fn acquire_timeout(&self, timeout: Duration) -> Option<Permit<'_>> {
                self.take(Deadline::after(timeout))
            }

            /// How many permits are free at this moment.
            #[must_use]
            #[doc(alias = "get_value")]
            pub fn available(&self) -> u32 {
                self.permits.free()
            }

            #[inline]
            fn take(&self, deadline: Deadline) -> Option<Permit<'_>> {
                // SAFETY: the memory stays mapped until no thread of this process is in it (`home.rs`).
                let _taken: Taken = unsafe { self.permits.take(1, false, Until::ThreadEnds, deadline) }?;
                Some(Permit::new(&self.permits))
            }

            fn create(permits: u32, bound: u32) -> io::Result<$Name> {
                if permits > MOST {
                    let why = format!("a semaphore has at most {MOST} permits, not {permits}");
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
                }
                let semaphore = $Name {
                    permits: Shared::create()?,
                    bound,
                };
                semaphore.permits.give(permits, MOST);
                Ok(semaphore)
            }

            fn put(&self) -> bool {
                // SAFETY: who calls `release` is done with the permit.
                let mine = unsafe { self.permits.give_back(1, None) };
                mine || self.permits.give(1, self.bound)
            }
        }

        impl fmt::Debug for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($Name)).finish_non_exhaustive()
            }
        }
    };
}

semaphore! {
    Semaphore,
    /// A number of permits shared by processes, to which any process may add.
    ///
    /// A value of this type is a handle: clones, in this process and in any it is sent to, stand for the
    /// same permits.
    ///
    /// ```
    /// use multiproc_shm::Semaphore;
    ///
    /// let slots = Semaphore::new(2)?;
    /// let (one, two) = (slots.acquire(), slots.acquire());
    /// assert!(slots.try_acquire().is_none());
    /// drop(one);
    /// assert_eq!(slots.available(), 1);
    ///
    /// // Counting items: each is added by who makes it, and gone with who takes it.
    /// let items = Semaphore::new(0)?;
    /// items.release();
    /// items.acquire().forget();
    /// assert_eq!(items.available(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # When a holder dies
    ///
    /// A permit is the taking thread's. When that ends, or is killed with its process, its permits are free
    /// again, and who waits for one is woken. Those it has [forgotten](Permit::forget) are gone.
    ///
    /// # Differences from Python
    ///
    /// The permits of a process that is killed are lost in Python, and come back here. So who takes one in
    /// order that another process shall release it says so, by [`Permit::forget`]. One that is taken for
    /// several calls is left by [`Permit::keep`]. No more than 126 threads hold permits of one semaphore
    /// at a time; the next waits.
    #[doc(alias = "multiprocessing.Semaphore")]
}

semaphore! {
    BoundedSemaphore,
    /// As many permits as at the beginning, shared by processes, and never more.
    ///
    /// A value of this type is a handle: clones, in this process and in any it is sent to, stand for the
    /// same permits. It does as a [`Semaphore`] does, but for one thing:
    ///
    /// ```
    /// use multiproc_shm::BoundedSemaphore;
    ///
    /// let slots = BoundedSemaphore::new(1)?;
    /// assert!(slots.release().is_err()); // nobody holds it
    /// slots.acquire().forget();
    /// slots.release()?; // here, or in another process
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Differences from Python
    ///
    /// As [`Semaphore`]'s.
    #[doc(alias = "multiprocessing.BoundedSemaphore")]
}

impl Semaphore {
    /// A semaphore of `permits` permits, all free.
    ///
    /// # Errors
    /// `InvalidInput` for more than 2³¹ − 1; where there is no memory for it, or too many files are open.
    pub fn new(permits: u32) -> io::Result<Semaphore> {
        Semaphore::create(permits, MOST)
    }

    /// Gives a permit back that the calling thread holds; a guard of it that is left does nothing then.
    /// Adds a new one where it holds none.
    ///
    /// # Panics
    /// If there were more than 2³¹ − 1.
    pub fn release(&self) {
        assert!(self.put(), "a semaphore has at most {MOST} permits");
    }
}

impl BoundedSemaphore {
    /// A semaphore of `permits` permits, all free.
    ///
    /// # Errors
    /// `InvalidInput` for more than 2³¹ − 1; where there is no memory for it, or too many files are open.
    pub fn new(permits: u32) -> io::Result<BoundedSemaphore> {
        BoundedSemaphore::create(permits, permits)
    }

    /// Gives a permit back that the calling thread holds; a guard of it that is left does nothing then.
    /// Gives one back that was [forgotten](Permit::forget), by whomever, where it holds none.
    ///
    /// # Errors
    /// [`NotHeld`] where the thread holds none and none is forgotten.
    pub fn release(&self) -> Result<(), NotHeld> {
        self.put().then_some(()).ok_or(NotHeld)
    }
}

/// A permit of a [`Semaphore`] or [`BoundedSemaphore`]: dropping it gives it back.
#[must_use = "the permit is given back when this is dropped"]
pub struct Permit<'a> {
    permits: &'a Permits,
    /// Not `Send`: the permit is the thread's.
    thread: PhantomData<MutexGuard<'a, ()>>,
}

impl<'a> Permit<'a> {
    fn new(permits: &'a Permits) -> Permit<'a> {
        Permit {
            permits,
            thread: PhantomData,
        }
    }

    /// Takes the permit away: it is nobody's, and comes back only by a `release`.
    pub fn forget(self) {
        self.permits.forget(1);
        self.keep();
    }

    /// Leaves the permit taken: until a `release` by this thread, or until the thread ends.
    pub fn keep(self) {
        #[expect(clippy::mem_forget, reason = "nothing but the return is in it")]
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: who holds the guard is done.
        unsafe { self.permits.give_back(1, None) };
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}
