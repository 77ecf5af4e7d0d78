//! A ring inside one process: between two threads, and in tests of what stands on rings.

use super::consumer::Consumer;
use super::corrupt::Corrupt;
use super::items::{ItemConsumer, ItemProducer};
use super::producer::Producer;

/// The memory of a [`local`] ring.
#[derive(Clone, Debug)]
pub struct Local {
    _memory: imp::Owner,
}

/// Both ends of a ring of `capacity` bytes in this process's own memory.
///
/// # Errors
/// [`Corrupt::Capacity`] where that is no power of two between [`MIN_CAPACITY`](super::MIN_CAPACITY) and
/// [`MAX_CAPACITY`](super::MAX_CAPACITY).
pub fn local(capacity: usize) -> Result<(Producer<Local>, Consumer<Local>), Corrupt> {
    imp::local(capacity)
}

/// Both ends of a ring of short items, likewise.
///
/// # Errors
/// As [`local`].
pub fn local_items(capacity: usize) -> Result<(ItemProducer<Local>, ItemConsumer<Local>), Corrupt> {
    imp::local_items(capacity)
}

#[cfg(not(loom))]
mod imp {
    use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
    use std::ptr::NonNull;
    use std::sync::Arc;

    use super::super::layout::{bytes_needed, is_capacity};
    use super::super::memory::init;
    use super::{Consumer, Corrupt, ItemConsumer, ItemProducer, Local, Producer};

    pub(super) type Owner = Arc<Heap>;

    #[derive(Debug)]
    pub(super) struct Heap {
        base: NonNull<u8>,
        layout: Layout,
    }

    // SAFETY: owns its bytes; what may be done with them is the ring's matter.
    unsafe impl Send for Heap {}
    // SAFETY: nothing is reached through a shared reference.
    unsafe impl Sync for Heap {}

    impl Heap {
        fn new(size: usize) -> Heap {
            let layout =
                Layout::from_size_align(size, 128).expect("a ring's size is a sensible one");
            // SAFETY: the size is not zero.
            let base = unsafe { alloc_zeroed(layout) };
            let base = NonNull::new(base).unwrap_or_else(|| handle_alloc_error(layout));
            Heap { base, layout }
        }
    }

    impl Drop for Heap {
        fn drop(&mut self) {
            // SAFETY: allocated in `new` with this layout.
            unsafe { dealloc(self.base.as_ptr(), self.layout) };
        }
    }

    fn heap(capacity: usize) -> Result<Arc<Heap>, Corrupt> {
        if !is_capacity(capacity) {
            return Err(Corrupt::Capacity {
                found: capacity as u64,
            });
        }
        let heap = Arc::new(Heap::new(bytes_needed(capacity)));
        // SAFETY: just allocated for this capacity.
        unsafe { init(heap.base.as_ptr(), capacity) }?;
        Ok(heap)
    }

    pub(super) fn local(capacity: usize) -> Result<(Producer<Local>, Consumer<Local>), Corrupt> {
        let heap = heap(capacity)?;
        let base = heap.base.as_ptr();
        let [one, other] = [heap.clone(), heap].map(|heap| Local { _memory: heap });
        // SAFETY: the bytes live as long as the heap that the producer keeps; it is the only one.
        let producer = unsafe { Producer::new(one, base, capacity) }?;
        // SAFETY: as above, of the consumer.
        let consumer = unsafe { Consumer::new(other, base, capacity) }?;
        Ok((producer, consumer))
    }

    pub(super) fn local_items(
        capacity: usize,
    ) -> Result<(ItemProducer<Local>, ItemConsumer<Local>), Corrupt> {
        let heap = heap(capacity)?;
        let base = heap.base.as_ptr();
        let [one, other] = [heap.clone(), heap].map(|heap| Local { _memory: heap });
        // SAFETY: the bytes live as long as the heap that the producer keeps; it is the only one.
        let producer = unsafe { ItemProducer::new(one, base, capacity) }?;
        // SAFETY: as above, of the consumer.
        let consumer = unsafe { ItemConsumer::new(other, base, capacity) }?;
        Ok((producer, consumer))
    }
}

#[cfg(loom)]
mod imp {
    use loom::sync::Arc;

    use super::super::memory::{Memory, Shared};
    use super::{Consumer, Corrupt, ItemConsumer, ItemProducer, Local, Producer};

    pub(super) type Owner = ();

    pub(super) fn local(capacity: usize) -> Result<(Producer<Local>, Consumer<Local>), Corrupt> {
        let shared = Shared::new(capacity)?;
        let producer = Producer::over(Memory::new(Local { _memory: () }, Arc::clone(&shared)))?;
        let consumer = Consumer::over(Memory::new(Local { _memory: () }, shared))?;
        Ok((producer, consumer))
    }
    pub(super) fn local_items(
        capacity: usize,
    ) -> Result<(ItemProducer<Local>, ItemConsumer<Local>), Corrupt> {
        let shared = Shared::new(capacity)?;
        let owner = || Local { _memory: () };
        let producer = ItemProducer::over(Memory::new(owner(), Arc::clone(&shared)));
        let consumer = ItemConsumer::over(Memory::new(owner(), shared));
        Ok((producer, consumer))
    }
}
