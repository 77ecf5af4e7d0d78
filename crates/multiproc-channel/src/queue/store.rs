//! Records in chunks: each change is made to a copy of the state, and is there when that is committed.
//!
//! A record is a word (length, and a mark in the high half) and its bytes. What does not fit into the rest of a chunk
//! goes to the next, a free one or a new one. A chunk whose records were all taken is *loose* until it is among the
//! free: two steps, since its link is still needed until the first is made, and spoilt before the second.

use std::io;
use std::sync::atomic::Ordering;

use super::memory::{CHUNK, MAX_CHUNKS, Memory, NONE, Place, State};

/// The longest record.
pub(super) const MAX_RECORD: usize = CHUNK / 4;

/// More free chunks than this are given back to the machine when the queue is empty.
const KEPT: u32 = 16;

/// In place of a record: the rest of the chunk is unused.
const SKIP: u64 = u64::MAX;

/// What the memory holds is nothing that its users write.
#[derive(Debug)]
pub(super) struct Spoilt;

/// Why a record was not put.
#[derive(Debug)]
pub(super) enum NotPut {
    /// There are as many chunks as there can be.
    Full,
    NoMemory(io::Error),
    Spoilt,
}

/// Ends what a taker has begun that may have been killed since.
pub(super) fn settle(memory: &Memory, state: &mut State) -> Result<(), Spoilt> {
    if state.loose == NONE {
        return Ok(());
    }
    check(state, state.loose)?;
    memory
        .next(state.loose)
        .store(u64::from(state.free), Ordering::Relaxed);
    state.free = state.loose;
    state.loose = NONE;
    memory.commit(state);
    Ok(())
}

/// Writes a record, which is there once `state` is committed.
pub(super) fn put(
    memory: &Memory,
    state: &mut State,
    parts: &[&[u8]],
    mark: u32,
) -> Result<(), NotPut> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let (Ok(word), Ok(size)) = (u32::try_from(len), u32::try_from(size(len))) else {
        return Err(NotPut::Spoilt);
    };
    check(state, state.tail.chunk)?;
    let mut place = state.tail;
    if place.at as usize + size as usize > CHUNK {
        if (place.at as usize) < CHUNK {
            memory.header(place).store(SKIP, Ordering::Relaxed);
        }
        let next = new_chunk(memory, state)?;
        memory
            .next(place.chunk)
            .store(u64::from(next), Ordering::Relaxed);
        place = Place {
            chunk: next,
            at: Place::FIRST.at,
        };
    }
    let header = u64::from(mark) << 32 | u64::from(word);
    memory.header(place).store(header, Ordering::Relaxed);
    // SAFETY: the caller has the turn; takers look at this place with the turn, and once it is committed.
    unsafe { memory.write(place, parts) };
    state.tail = Place {
        chunk: place.chunk,
        at: place.at + size,
    };
    Ok(())
}

/// Reads the oldest record and gives its mark; `None` where there is none. It is taken once `state` is committed.
pub(super) fn take(
    memory: &Memory,
    state: &mut State,
    bytes: &mut Vec<u8>,
) -> Result<Option<u32>, Spoilt> {
    if state.is_empty() {
        return Ok(None);
    }
    check(state, state.head.chunk)?;
    let mut place = state.head;
    let ended = place.at as usize >= CHUNK || memory.header(place).load(Ordering::Relaxed) == SKIP;
    if ended {
        let next = memory.next(place.chunk).load(Ordering::Relaxed);
        let next = u32::try_from(next).map_err(|_| Spoilt)?;
        check(state, next)?;
        state.loose = place.chunk;
        place = Place {
            chunk: next,
            at: Place::FIRST.at,
        };
    }
    let header = memory.header(place).load(Ordering::Relaxed);
    let (mark, len) = (header >> 32, header & u64::from(u32::MAX));
    let (mark, len) = (
        u32::try_from(mark).map_err(|_| Spoilt)?,
        usize::try_from(len).map_err(|_| Spoilt)?,
    );
    if len > MAX_RECORD || place.at as usize + size(len) > CHUNK {
        return Err(Spoilt);
    }
    // SAFETY: the caller has the turn, without which nobody writes there.
    unsafe { memory.read(place, len, bytes) };
    state.head = Place {
        chunk: place.chunk,
        at: place.at + u32::try_from(size(len)).map_err(|_| Spoilt)?,
    };
    Ok(Some(mark))
}

/// Gives what an empty queue does not need back to the machine.
pub(super) fn shrink(memory: &Memory, state: &mut State) {
    let grown = state.grown;
    if !state.is_empty() || state.loose != NONE || grown <= KEPT {
        return;
    }
    state.head = Place::FIRST;
    state.tail = Place::FIRST;
    state.free = NONE;
    state.grown = 1;
    memory.commit(state);
    memory.release(1, grown);
}

fn new_chunk(memory: &Memory, state: &mut State) -> Result<u32, NotPut> {
    if state.free != NONE {
        let free = state.free;
        check(state, free)?;
        let next = memory.next(free).load(Ordering::Relaxed);
        state.free = u32::try_from(next).map_err(|_| NotPut::Spoilt)?;
        return Ok(free);
    }
    let new = state.grown;
    if new >= MAX_CHUNKS {
        return Err(NotPut::Full);
    }
    memory.reserve(new).map_err(NotPut::NoMemory)?;
    state.grown = new + 1;
    Ok(new)
}

/// That there is such a chunk.
fn check(state: &State, chunk: u32) -> Result<(), Spoilt> {
    let places = [state.head, state.tail];
    let sound = chunk < state.grown
        && state.grown <= MAX_CHUNKS
        && places
            .iter()
            .all(|place| place.at.is_multiple_of(8) && place.at >= 8 && place.at as usize <= CHUNK);
    if sound { Ok(()) } else { Err(Spoilt) }
}

fn size(len: usize) -> usize {
    8 + len.next_multiple_of(8)
}

impl From<Spoilt> for NotPut {
    fn from(_: Spoilt) -> NotPut {
        NotPut::Spoilt
    }
}
