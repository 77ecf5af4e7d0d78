//! Copies to and from memory that others read and write at the same time.
//!
//! A plain read beside another thread's write is undefined behaviour, whatever is done with what was read. So
//! each access here is atomic (Relaxed: nothing else is promised), and each to the same memory is of the same
//! size: that of the element's alignment, up to eight bytes. No two accesses race then, in the sense of the
//! memory model, and the peers' processes count as threads of the same program. A wild peer's plain stores
//! come from outside the model; they are bytes that were there or not.
//!
//! An element of the size of its alignment is never seen half written. Others are copied in parts.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};

use bytemuck::Pod;

/// Runs the body with `$part` and `$atomic` standing for what elements of `$element` are copied in.
macro_rules! in_parts {
    ($element:ty, |$part:ident, $atomic:ident| $body:block) => {
        match align_of::<$element>() {
            1 => in_parts!(@ u8, AtomicU8, $part, $atomic, $body),
            2 => in_parts!(@ u16, AtomicU16, $part, $atomic, $body),
            4 => in_parts!(@ u32, AtomicU32, $part, $atomic, $body),
            _ => in_parts!(@ u64, AtomicU64, $part, $atomic, $body),
        }
    };
    (@ $integer:ty, $with:ty, $part:ident, $atomic:ident, $body:block) => {{
        type $part = $integer;
        type $atomic = $with;
        $body
    }};
}

/// Copies `count` elements out of memory that others may write.
///
/// # Safety
/// Both places are aligned and have room for as many elements; `source` is mapped memory that is accessed
/// atomically in the same parts only; `target` is the caller's alone.
pub(crate) unsafe fn copy_out<T: Pod>(source: *const T, target: *mut T, count: usize) {
    in_parts!(T, |Part, Atomic| {
        let parts = count * (size_of::<T>() / size_of::<Part>());
        let (source, target) = (source.cast_mut().cast::<Part>(), target.cast::<Part>());
        for at in 0..parts {
            // SAFETY: aligned as the element is, inside `source` and so mapped, and accessed atomically.
            let part = unsafe { Atomic::from_ptr(source.wrapping_add(at)) };
            // SAFETY: aligned likewise, inside `target`, which is the caller's alone.
            unsafe { target.wrapping_add(at).write(part.load(Relaxed)) };
        }
    });
}

/// Copies elements into memory that others may read or write.
///
/// # Safety
/// `target` is aligned, has room for as many elements, and is mapped memory that is accessed atomically in the
/// same parts only.
pub(crate) unsafe fn copy_in<T: Pod>(elements: &[T], target: *mut T) {
    in_parts!(T, |Part, Atomic| {
        let parts = size_of_val(elements) / size_of::<Part>();
        let (source, target) = (elements.as_ptr().cast::<Part>(), target.cast::<Part>());
        for at in 0..parts {
            // SAFETY: aligned as the element is, inside `target` and so mapped, and accessed atomically.
            let part = unsafe { Atomic::from_ptr(target.wrapping_add(at)) };
            // SAFETY: aligned likewise, inside `elements`; a `Pod` has no byte that is not initialised.
            part.store(unsafe { source.wrapping_add(at).read() }, Relaxed);
        }
    });
}
