//! Which elements there are atomics for.

use std::fmt;
use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicU8, AtomicU16, AtomicU32,
    AtomicU64, AtomicUsize,
};

use bytemuck::Pod;

/// Elements that can be changed atomically: the integers of up to 64 bits.
///
/// `bool` is none of them: a process gone wild can leave a byte that is neither true nor false, and only what
/// has a value for every pattern of bytes can be read from memory that others write.
///
/// ```compile_fail,E0277
/// fn atomics<T: multiproc_shm::Atomic>() {}
/// atomics::<bool>();
/// ```
pub trait Atomic: Pod + Sealed {
    /// The atomic of the same size.
    type Atomic: fmt::Debug + Send + Sync + 'static;

    /// Evaluated where one is made of the other.
    #[doc(hidden)]
    const ALIKE: () = assert!(
        size_of::<Self>() == size_of::<Self::Atomic>()
            && align_of::<Self>() == align_of::<Self::Atomic>()
    );
}

/// Implemented here only: [`Atomic`] is relied on.
#[expect(unnameable_types, reason = "nobody else is to implement it")]
pub trait Sealed {}

macro_rules! atomics {
    ($($element:ty => $atomic:ty),* $(,)?) => {$(
        impl Sealed for $element {}
        impl Atomic for $element {
            type Atomic = $atomic;
        }
    )*};
}

atomics! {
    u8 => AtomicU8, u16 => AtomicU16, u32 => AtomicU32, u64 => AtomicU64, usize => AtomicUsize,
    i8 => AtomicI8, i16 => AtomicI16, i32 => AtomicI32, i64 => AtomicI64, isize => AtomicIsize,
}
