//! A channel's memory.
//!
//! | bytes | what | written by |
//! |---|---|---|
//! | 0..40 | the lock between senders | |
//! | 40..48 | how many messages were sent | who has the lock |
//! | 48..64 | up to where the next is published, and how many it makes | who has the lock |
//! | 64..68 | who said that nothing more is to be sent | the receiver; who closes |
//! | 68..72 | how often somebody left in good order | all |
//! | 128..136 | how many messages were taken | the receiver |
//! | 136..140 | the receiver's process, while it has not left in good order | the receiver |
//! | 192..256 | the senders' processes, while they have not | each its own |
//! | 256..296 | an event: no future waits for room | who makes room or has sent; who waits |
//! | 384..896 | by places, numbers of what the receiver keeps there, or 0 (`names.rs`) | who has the lock; 0: the sender whose it is, the receiver |
//! | 896..904 | the last of these numbers | who has the lock |
//! | 1024.. | the ring | |
//!
//! The counts bound the channel and are told to users. Who is there is the kernel's word (`line.rs`): the
//! processes' numbers only say who it was, and whether a receiver may hope for a wake through the memory.

use std::io;

use multiproc_shm::Block;
use multiproc_shm::ring::{self, Consumer, Corrupt, Producer};
use multiproc_sync::primitive::{AtomicU32, AtomicU64, Ordering, futex};
use multiproc_sync::{Deadline, EventWord, LockGuard, LockTimeoutError, LockWord};
use multiproc_sys::wait::Waiter;

use crate::error::Stop;
use crate::peer::PeerEnd;

const SENT: usize = 40;
const NEXT_TAIL: usize = 48;
const NEXT_SENT: usize = 56;
const CLOSED: usize = 64;
const LEFT: usize = 68;
const TAKEN: usize = 128;
const RECEIVER: usize = 136;
const SENDERS: usize = 192;
const MAX_SENDERS: usize = 16;
const ROOM: usize = 256;
const NUMBERS: usize = 384;
const LAST_NUMBER: usize = NUMBERS + PLACES * size_of::<u64>();
const RING: usize = 1024;

/// So many things a receiver keeps.
pub(super) const PLACES: usize = 64;

/// In the word at [`CLOSED`]: the receiver was dropped.
const GONE: u32 = 1;
/// In the word at [`CLOSED`]: somebody has closed the channel, and the receiver takes what is there.
const NO_MORE: u32 = 2;

/// The memory of one channel, mapped.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    block: Block,
    capacity: usize,
}

/// The right to be the producer, until dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    _guard: LockGuard<'a>,
    /// The one before was killed in the middle.
    pub(crate) inherited: bool,
}

impl Shared {
    pub(crate) fn create(capacity: usize) -> io::Result<Shared> {
        let invalid = |error: Corrupt| {
            let why = format!("a channel cannot hold {capacity} bytes: {error}");
            io::Error::new(io::ErrorKind::InvalidInput, why)
        };
        if capacity > ring::MAX_CAPACITY {
            return Err(invalid(Corrupt::Capacity {
                found: capacity as u64,
            }));
        }
        multiproc_sys::robust::available()?;
        let block = Block::create(RING + ring::bytes_needed(capacity))?;
        let shared = Shared { block, capacity };
        // SAFETY: the block has room for the ring and nobody else has it; 128 bytes from a multiple of 128
        // are aligned to 128.
        unsafe { ring::init(shared.ring(), capacity) }.map_err(invalid)?;
        shared.room().set();
        Ok(shared)
    }

    /// For memory that was received, with the capacity that it is said to have.
    pub(crate) fn open(block: Block, capacity: usize) -> io::Result<Shared> {
        let fits =
            capacity <= ring::MAX_CAPACITY && block.len() == RING + ring::bytes_needed(capacity);
        if !fits {
            let why = "the received memory is no channel of that capacity";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let shared = Shared { block, capacity };
        // SAFETY: the ring lies in the block, which the borrow keeps; nothing is done with this end.
        let looked = unsafe { Producer::new(&shared.block, shared.ring(), capacity) };
        looked.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(shared)
    }

    pub(crate) fn block(&self) -> &Block {
        &self.block
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// The right to be the producer. `None` where somebody else has it until the deadline; without a
    /// deadline, now.
    #[inline]
    pub(crate) fn turn(&self, until: Option<Deadline>) -> Option<Turn<'_>> {
        // An uncontended lock is taken whatever the deadline.
        let until = until.unwrap_or_else(Deadline::now);
        // SAFETY: the guard borrows `self`, which keeps the memory mapped, and is never leaked.
        match unsafe { self.lock().guard_until(until) } {
            Ok(guard) => Some(Turn {
                _guard: guard,
                inherited: false,
            }),
            Err(LockTimeoutError::Poisoned(error)) => {
                // Nothing is half changed: what was not published is not there.
                self.lock().clear_poison();
                Some(Turn {
                    _guard: error.into_inner(),
                    inherited: true,
                })
            }
            Err(LockTimeoutError::TimedOut) => None,
        }
    }

    /// Has `section` run with the right to be the producer, if that is free at this moment and nobody was killed with
    /// it. It takes no lock that is shared by processes.
    #[inline]
    pub(super) fn brief_turn<R>(
        &self,
        section: impl FnOnce(Producer<&Block>) -> R,
    ) -> Option<Result<R, Corrupt>> {
        let with_producer = || {
            // SAFETY: the ring lies in the block, which the borrow keeps; whoever has the lock is the only producer,
            // and the section is given the end by value, with a lifetime of which it can keep nothing. That there is a
            // ring was seen when the channel was made, or its memory received.
            let producer = unsafe { Producer::again(&self.block, self.ring(), self.capacity) }?;
            Ok(section(producer))
        };
        // SAFETY: `self` keeps the memory mapped; the sections are those of `sender.rs`, which take no other lock.
        unsafe { self.lock().briefly(with_producer) }
    }

    /// Has `section` run in the same way, without the producer's end.
    fn briefly<R>(&self, section: impl FnOnce() -> R) -> Option<R> {
        // SAFETY: as in `brief_turn`.
        unsafe { self.lock().briefly(section) }
    }

    /// What a receiver does between saying that it will sleep and looking once more: a message that was sent in a brief turn is
    /// seen by that look, or its sender sees [that it sleeps](Self::receiver_sleeps).
    pub(super) fn meet_senders(&self) {
        self.lock().meet();
    }

    /// Whether the receiver has said that it sleeps; after a brief turn.
    #[inline]
    pub(super) fn receiver_sleeps(&self) -> bool {
        // Relaxed: the end of the brief turn has acquired what came before `meet_senders`.
        self.receivers_word().load(Ordering::Relaxed) != ring::AWAKE
    }

    /// Wakes the receiver, where it sleeps on its word in the ring; where it sleeps elsewhere, as that says.
    ///
    /// With the turn, so that a death between asking and waking is noticed by who has it next; without, if somebody else has
    /// it at this moment.
    #[cold]
    pub(super) fn wake_receiver(
        &self,
        elsewhere: impl Fn() -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let wake = || match ring::take(self.receivers_word()) {
            ring::AWAKE => Ok(()),
            ring::PARKED => {
                futex::wake(self.receivers_word(), 1);
                Ok(())
            }
            _ => elsewhere(),
        };
        self.briefly(wake).unwrap_or_else(wake)
    }

    /// The producer's end, going on behind what was published.
    #[inline]
    pub(crate) fn producer<'a>(
        &'a self,
        _turn: &'a Turn<'_>,
    ) -> Result<Producer<&'a Block>, Corrupt> {
        // SAFETY: the ring lies in the block, which the borrow keeps; whoever has the turn is the only
        // producer, and the end borrows it. That there is a ring was seen as above.
        unsafe { Producer::again(&self.block, self.ring(), self.capacity) }
    }

    /// The consumer's end, going on with what was not released.
    ///
    /// # Safety
    /// No other consumer of this channel is in use.
    pub(crate) unsafe fn consumer(&self) -> Result<Consumer<Block>, Corrupt> {
        // SAFETY: the ring lies in the block, which the end keeps; the rest is vouched for.
        unsafe { Consumer::new(self.block.clone(), self.ring(), self.capacity) }
    }

    /// Whether nothing more is to be sent. A receiver that was killed did not say so.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        // Acquire: a sender that finds it open has the lock, and who closes looks at that after this word.
        self.word(CLOSED).load(Ordering::Acquire) != 0
    }

    /// The receiver is to take what is there and nothing more.
    pub(crate) fn close(&self) {
        self.word(CLOSED).fetch_or(NO_MORE, Ordering::SeqCst);
        self.tell();
    }

    /// The receiver is dropped.
    pub(crate) fn abandon(&self) {
        self.word(CLOSED).fetch_or(GONE, Ordering::SeqCst);
        self.word(RECEIVER).store(0, Ordering::Relaxed);
        self.tell();
    }

    /// What sleepers watch besides what they wait for: it changes when somebody leaves in good order.
    pub(crate) fn left(&self) -> &AtomicU32 {
        self.word(LEFT)
    }

    fn tell(&self) {
        // Release: what the one that leaves did before; its word is looked at after this one.
        self.left().fetch_add(1, Ordering::Release);
        futex::wake(self.left(), u32::MAX);
        self.room().set();
    }

    /// Not set while futures wait for room: whoever has made some, or has had the turn, sets it then.
    #[expect(clippy::cast_ptr_alignment, reason = "argued below")]
    fn room(&self) -> &EventWord {
        let room = self.block.as_ptr().wrapping_add(ROOM).cast::<EventWord>();
        // SAFETY: before the ring, in the block, which is longer and aligned to 128; made of atomics, of which any
        // bytes are values, whoever writes to them.
        unsafe { &*room }
    }

    /// Says that a future waits for room, and gives what [`room_word`](Self::room_word) holds until it is told. Room
    /// that is there already is to be looked for after this.
    pub(super) fn wait_for_room(&self) -> u32 {
        loop {
            self.room().clear();
            // Two meetings: by the fence in it with who passes one after making room, or after a turn, and looks
            // then; and with the brief turns of other senders, which pass none.
            let seen = self.room().watch();
            self.lock().meet();
            if seen & 1 == 0 {
                return seen;
            }
            // Set meanwhile, perhaps of room that is taken again: nobody would set it once more.
            self.room().unwatch();
        }
    }

    pub(super) fn room_word(&self) -> &AtomicU32 {
        self.room().word()
    }

    /// The wait that [`wait_for_room`](Self::wait_for_room) began is over.
    pub(super) fn end_wait_for_room(&self) {
        self.room().unwatch();
    }

    /// After room was made, or a turn is over: tells futures that wait for it.
    #[inline]
    pub(super) fn tell_of_room(&self) {
        if self.room_is_waited_for() {
            self.room().set();
        }
    }

    /// Whether futures wait for room.
    #[inline]
    pub(super) fn room_is_waited_for(&self) -> bool {
        !self.room().is_set()
    }

    /// How many messages were sent, by who has the turn.
    #[inline]
    pub(crate) fn sent(&self) -> &AtomicU64 {
        self.count(SENT)
    }

    /// Says before a message's end is published that publishing it to `tail` makes `sent` messages.
    #[inline]
    pub(crate) fn intend(&self, tail: u64, sent: u64) {
        // Relaxed, here and below: ordered by the lock, or by the kernel's mark of its holder's death.
        self.count(NEXT_TAIL).store(tail, Ordering::Relaxed);
        self.count(NEXT_SENT).store(sent, Ordering::Relaxed);
    }

    /// After the death of one who had the turn: counts the message that it published, if it did not come to
    /// count it.
    pub(crate) fn recount(&self, published: u64) {
        if self.count(NEXT_TAIL).load(Ordering::Relaxed) == published {
            let sent = self.count(NEXT_SENT).load(Ordering::Relaxed);
            self.sent().store(sent, Ordering::Relaxed);
        }
    }

    /// How many messages were taken, by the receiver.
    #[inline]
    pub(crate) fn taken(&self) -> &AtomicU64 {
        self.count(TAKEN)
    }

    /// By which number what the receiver keeps at that place is known to its sender. 0 is none.
    pub(super) fn number_at(&self, place: u8) -> &AtomicU64 {
        self.count(NUMBERS + usize::from(place) % PLACES * size_of::<u64>())
    }

    /// The last such number that was used.
    pub(super) fn last_number(&self) -> &AtomicU64 {
        self.count(LAST_NUMBER)
    }

    /// How many messages are there. What others write wildly makes it wrong, and nothing else.
    pub(crate) fn len(&self) -> usize {
        let taken = self.taken().load(Ordering::Acquire);
        let there = self.sent().load(Ordering::Acquire).saturating_sub(taken);
        usize::try_from(there).unwrap_or(usize::MAX)
    }

    /// Notes that this process sends, and where it noted that, if there was a place.
    pub(crate) fn enter(&self) -> Option<usize> {
        let me = std::process::id();
        let free = |slot: &usize| {
            self.word(SENDERS + slot * size_of::<u32>())
                .compare_exchange(0, me, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        };
        (0..MAX_SENDERS).find(free)
    }

    /// The process sends no more.
    pub(crate) fn leave(&self, slot: Option<usize>) {
        if let Some(slot) = slot {
            let word = self.word(SENDERS + slot * size_of::<u32>());
            word.store(0, Ordering::Relaxed);
        }
        self.tell();
    }

    /// Whether some process is known that sends, or may have died sending.
    pub(crate) fn has_senders(&self) -> bool {
        self.senders().any(|pid| pid != 0)
    }

    fn senders(&self) -> impl Iterator<Item = u32> {
        (0..MAX_SENDERS).map(|slot| {
            self.word(SENDERS + slot * size_of::<u32>())
                .load(Ordering::Relaxed)
        })
    }

    /// Notes that this process receives.
    pub(crate) fn receive_here(&self) {
        self.word(RECEIVER)
            .store(std::process::id(), Ordering::Relaxed);
    }

    /// How the senders have ended, now that they have.
    pub(crate) fn end_of_senders(&self) -> PeerEnd {
        how_it_ended(self.senders().find(|pid| *pid != 0).unwrap_or(0))
    }

    /// How the receiver has ended, now that it has.
    pub(crate) fn end_of_receiver(&self) -> PeerEnd {
        how_it_ended(self.word(RECEIVER).load(Ordering::Relaxed))
    }

    fn ring(&self) -> *mut u8 {
        self.block.as_ptr().wrapping_add(RING)
    }

    #[expect(clippy::cast_ptr_alignment, reason = "argued below")]
    #[inline]
    fn receivers_word(&self) -> &AtomicU32 {
        let word = self.ring().wrapping_add(ring::CONSUMER).cast::<AtomicU32>();
        // SAFETY: in the ring's header, which the block has room for; the ring is aligned to 128, the offset to four;
        // an atomic, of which any bytes are a value, whoever writes to them.
        unsafe { &*word }
    }

    #[expect(clippy::cast_ptr_alignment, reason = "argued below")]
    fn lock(&self) -> &LockWord {
        let lock = self.block.as_ptr().cast::<LockWord>();
        // SAFETY: at the start of the block, which is aligned to 128 and longer; made of atomics, of
        // which any bytes are values, whoever writes to them.
        unsafe { &*lock }
    }

    #[expect(clippy::cast_ptr_alignment, reason = "argued below")]
    fn word(&self, at: usize) -> &AtomicU32 {
        debug_assert!(at < RING && at.is_multiple_of(align_of::<AtomicU32>()));
        let word = self.block.as_ptr().wrapping_add(at).cast::<AtomicU32>();
        // SAFETY: before the ring, in the block, which is longer and aligned to 128; the offsets are multiples
        // of four; an atomic, of which any bytes are a value, whoever writes to them.
        unsafe { &*word }
    }

    #[expect(clippy::cast_ptr_alignment, reason = "argued below")]
    fn count(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at < RING && at.is_multiple_of(align_of::<AtomicU64>()));
        let count = self.block.as_ptr().wrapping_add(at).cast::<AtomicU64>();
        // SAFETY: as in `word`; the offsets are multiples of eight.
        unsafe { &*count }
    }
}

/// For a process that has not left in good order; 0 for none.
fn how_it_ended(pid: u32) -> PeerEnd {
    if pid == 0 || pid == std::process::id() {
        return PeerEnd::CLOSED;
    }
    let status = Waiter::new(pid).ok().and_then(|it| it.early_status());
    PeerEnd::of_death(pid, status)
}
