//! This process's part in a queue: putting, taking, waiting, and who else has it.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use multiproc_shm::ring::Spin;
use multiproc_sync::Deadline;
use multiproc_sync::primitive::Woken;
use multiproc_sys::flag::Flag;
use multiproc_sys::handle::{AsHandle, BorrowedHandle, OwnedHandle};
use serde::{Deserialize, Serialize};

use super::hands;
use super::memory::{For, Memory, State, Turn};
use super::store::{self, MAX_RECORD, NotPut, Spoilt};
use crate::error::{ChannelError, Stop};
use crate::id::{self, Id};
use crate::line::{Heard, Line, Parcel};
use crate::outside;
use crate::peer::PeerEnd;
use crate::transport::PREFIX;
use crate::words::Watched;

/// A record that is a message.
const PLAIN: u32 = 0;
/// A record with the prefix, which names a parcel, and a message.
const WITH_HANDLES: u32 = 1;
/// A record with the prefix and a length: the message is in memory of its own, the parcel's last handle.
const OUTSIDE: u32 = 2;

/// Who does not want to wait waits for the lock so long: its holders are through in microseconds, unless they
/// are stopped.
const SHORTLY: Duration = Duration::from_millis(20);

/// Who waits for everything to be done looks for deaths this often.
const LOOK_FOR_DEATHS: Duration = Duration::from_millis(20);

/// What all who use a queue know of it and do not read from its memory.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Limits {
    pub(super) max_message: usize,
    pub(super) messages: Option<u64>,
    /// Whether it is noted who has messages in hand.
    pub(super) joined: bool,
}

/// A queue, in this process.
#[derive(Debug)]
pub(crate) struct Port {
    pub(super) id: Id,
    pub(super) memory: Memory,
    pub(super) limits: Limits,
    /// Both ends of the socket pair on which handles wait.
    pub(super) line: [Line; 2],
    pub(super) flag: Flag,
    next_parcel: AtomicU64,
    hand: OnceLock<usize>,
}

/// A message as it was taken.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) bytes: Vec<u8>,
    pub(super) start: usize,
    pub(super) handles: Vec<Arc<OwnedHandle>>,
}

/// The queues that this process has.
static PORTS: OnceLock<Mutex<HashMap<Id, Weak<Port>>>> = OnceLock::new();

fn ports() -> MutexGuard<'static, HashMap<Id, Weak<Port>>> {
    PORTS
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

impl Port {
    pub(super) fn create(limits: Limits) -> io::Result<Arc<Port>> {
        let memory = Memory::create()?;
        let (one, two) = Line::pair()?;
        let flag = Flag::new()?;
        Port::enter(id::fresh(), || Ok((memory, limits, [one, two], flag)))
    }

    /// The process's part in this queue, made if it has none.
    pub(super) fn enter<E>(
        id: Id,
        make: impl FnOnce() -> Result<(Memory, Limits, [Line; 2], Flag), E>,
    ) -> Result<Arc<Port>, E> {
        let mut ports = ports();
        let known = ports.get(&id).and_then(Weak::upgrade);
        if let Some(known) = known {
            return Ok(known);
        }
        let (memory, limits, line, flag) = make()?;
        let port = Arc::new(Port {
            id,
            memory,
            limits,
            line,
            flag,
            next_parcel: AtomicU64::new(id::random()),
            hand: OnceLock::new(),
        });
        ports.insert(id, Arc::downgrade(&port));
        Ok(port)
    }

    /// Puts what lies behind the first [`PREFIX`] bytes of `message`, with its handles, before the deadline; without
    /// one, now or not at all.
    pub(super) fn send(
        &self,
        message: &mut [u8],
        handles: &[Arc<OwnedHandle>],
        until: Option<Deadline>,
    ) -> Result<(), Stop> {
        let (len, limit) = (message.len() - PREFIX, self.limits.max_message);
        if len > limit {
            return Err(ChannelError::too_long(len, limit).into());
        }
        if message.len() <= MAX_RECORD {
            let mark = if handles.is_empty() {
                PLAIN
            } else {
                WITH_HANDLES
            };
            return self.put(message, handles, mark, until);
        }
        // Before anything is locked.
        let (mut stub, handles) = outside::put(message, handles)?;
        self.put(&mut stub, &handles, OUTSIDE, until)
    }

    fn put(
        &self,
        message: &mut [u8],
        handles: &[Arc<OwnedHandle>],
        mark: u32,
        until: Option<Deadline>,
    ) -> Result<(), Stop> {
        let mut spin = Spin::new();
        loop {
            let (turn, mut state) = self.enter_now(until)?;
            if state.closed != 0 {
                return Err(Stop::Disconnected(PeerEnd::CLOSED));
            }
            if self.put_now(&mut state, message, handles, mark)? {
                return Ok(());
            }
            self.wait(turn, For::Room, until, &mut spin)?;
        }
    }

    fn put_now(
        &self,
        state: &mut State,
        message: &mut [u8],
        handles: &[Arc<OwnedHandle>],
        mark: u32,
    ) -> Result<bool, Stop> {
        if self
            .limits
            .messages
            .is_some_and(|bound| state.len() >= bound)
        {
            return Ok(false);
        }
        let record = if mark == PLAIN {
            &message[PREFIX..]
        } else {
            // Relaxed: a counter, whose values only have to differ.
            let name = self.next_parcel.fetch_add(1, Ordering::Relaxed);
            let total = u32::try_from(handles.len()).unwrap_or(u32::MAX);
            message[..8].copy_from_slice(&name.to_le_bytes());
            message[8..PREFIX].copy_from_slice(&total.to_le_bytes());
            // Before the record is there: who finds that finds them.
            if !self.hand_over(state, name, handles)? {
                return Ok(false);
            }
            state.parcels = state.parcels.saturating_add(1);
            &*message
        };
        let was_empty = state.is_empty();
        match store::put(&self.memory, state, &[record], mark) {
            Ok(()) => {}
            Err(NotPut::Full) => return Ok(false),
            Err(NotPut::NoMemory(error)) => return Err(error.into()),
            Err(NotPut::Spoilt) => return Err(ChannelError::SPOILT.into()),
        }
        state.sent = state.sent.wrapping_add(1);
        if was_empty && self.is_polled() {
            self.flag.raise()?;
        }
        self.commit(state, For::Items);
        Ok(true)
    }

    /// Sends handles ahead of their message. `false` where there is no room for them.
    #[cold]
    fn hand_over(
        &self,
        state: &State,
        name: u64,
        handles: &[Arc<OwnedHandle>],
    ) -> Result<bool, Stop> {
        let [to, from] = &self.line;
        let now = Deadline::now();
        if to.send(name, handles, now)? == Heard::Something {
            return Ok(true);
        }
        if state.parcels > 0 {
            return Ok(false);
        }
        // All that waits there belongs to messages that never came.
        let (mut buffer, mut parcels) = (Vec::new(), Vec::new());
        while from.listen(&mut buffer, &mut parcels, now)? == Heard::Something {
            parcels.clear();
        }
        match to.send(name, handles, now)? {
            Heard::Something => Ok(true),
            _ => Err(ChannelError::too_many_handles(handles.len()).into()),
        }
    }

    /// Takes the oldest message before the deadline; without one, now or not at all.
    pub(super) fn receive(
        &self,
        mut bytes: Vec<u8>,
        until: Option<Deadline>,
    ) -> Result<Message, Stop> {
        let mut spin = Spin::new();
        loop {
            let (turn, mut state) = self.enter_now(until)?;
            bytes.clear();
            let mark = self.take_now(&mut state, &mut bytes)?;
            let Some(mark) = mark else {
                if state.closed != 0 {
                    return Err(Stop::Disconnected(PeerEnd::CLOSED));
                }
                self.wait(turn, For::Items, until, &mut spin)?;
                continue;
            };
            // It is ours from here on. What follows can fail, and loses this message alone.
            let parcel = (mark != PLAIN).then(|| self.parcel(&bytes));
            store::settle(&self.memory, &mut state)?;
            store::shrink(&self.memory, &mut state);
            drop(turn);
            let Some(parcel) = parcel else {
                return Ok(Message {
                    bytes,
                    start: 0,
                    handles: Vec::new(),
                });
            };
            let mut message = Message {
                bytes,
                start: PREFIX,
                handles: parcel?,
            };
            if mark == OUTSIDE {
                let Message {
                    bytes,
                    start,
                    handles,
                } = &mut message;
                outside::take(bytes, handles, self.limits.max_message)?;
                *start = 0;
            }
            return Ok(message);
        }
    }

    /// Takes a record out and gives its mark.
    fn take_now(&self, state: &mut State, bytes: &mut Vec<u8>) -> Result<Option<u32>, Stop> {
        let Some(mark) = store::take(&self.memory, state, bytes)? else {
            return Ok(None);
        };
        state.taken = state.taken.wrapping_add(1);
        if mark != PLAIN {
            state.parcels = state.parcels.saturating_sub(1);
        }
        let hand = if self.limits.joined {
            let hand = self.hand(state).ok_or(ChannelError::TOO_MANY_TAKERS)?;
            hands::before_taking(&self.memory, hand, state.taken);
            Some(hand)
        } else {
            None
        };
        self.commit(state, For::Room);
        if let Some(hand) = hand {
            hands::after_taking(&self.memory, hand);
        }
        if state.is_empty() && state.closed == 0 && self.is_polled() {
            self.flag.lower()?;
        }
        Ok(Some(mark))
    }

    /// The handles of a record that was just taken. Those before them belong to messages that never came, or whose
    /// takers were killed.
    #[cold]
    fn parcel(&self, bytes: &[u8]) -> Result<Vec<Arc<OwnedHandle>>, Stop> {
        let name = bytes.first_chunk().copied().map(u64::from_le_bytes);
        let name = name
            .filter(|_| bytes.len() >= PREFIX)
            .ok_or(ChannelError::SPOILT)?;
        let (mut buffer, mut parcels) = (Vec::new(), Vec::new());
        let whole =
            |parcel: &mut Parcel| parcel.name == name && parcel.handles.len() >= parcel.total;
        loop {
            if let Some(parcel) = parcels.pop_if(whole) {
                return Ok(parcel.handles);
            }
            parcels.retain(|parcel: &Parcel| parcel.name == name);
            let heard = self.line[1].listen(&mut buffer, &mut parcels, Deadline::now())?;
            if heard != Heard::Something {
                return Err(ChannelError::HANDLES_LOST.into());
            }
        }
    }

    pub(super) fn len(&self) -> Result<u64, Stop> {
        let (_turn, state) = self.enter_now(Some(Deadline::NEVER))?;
        Ok(state.len())
    }

    pub(super) fn is_closed(&self) -> Result<bool, Stop> {
        let (_turn, state) = self.enter_now(Some(Deadline::NEVER))?;
        Ok(state.closed != 0)
    }

    /// Nothing more is put; what is there is still taken.
    pub(super) fn close(&self) -> Result<(), Stop> {
        let (_turn, mut state) = self.enter_now(Some(Deadline::NEVER))?;
        state.closed = 1;
        self.flag.raise()?;
        self.commit(&state, For::Items);
        self.ring(For::Room);
        self.ring(For::Finished);
        Ok(())
    }

    /// Counts a message of this process as done. `false` where it has none in hand.
    pub(super) fn task_done(&self) -> Result<bool, Stop> {
        let (_turn, mut state) = self.enter_now(Some(Deadline::NEVER))?;
        let Some(hand) = self.hand(&mut state) else {
            return Ok(false);
        };
        if !hands::done(&self.memory, hand) {
            return Ok(false);
        }
        if state.is_empty() {
            self.ring(For::Finished);
        }
        Ok(true)
    }

    /// Waits until the queue is empty and nothing is in anybody's hand, and says how many messages were in the hands
    /// of processes when they ended.
    pub(super) fn join(&self, until: Deadline) -> Result<u64, Stop> {
        loop {
            let (turn, mut state) = self.enter_now(Some(until))?;
            if state.is_empty() && hands::held(&self.memory) > 0 {
                hands::write_off(&self.memory, &mut state);
            }
            if state.is_empty() && hands::held(&self.memory) == 0 {
                return Ok(state.lost);
            }
            self.memory
                .waiting(For::Finished)
                .store(1, Ordering::Relaxed);
            let alarm = self.memory.alarm(For::Finished);
            let seen = alarm.now();
            drop(turn);
            if until.has_passed() {
                return Err(Stop::NotNow);
            }
            // A death is nobody's ring: it is looked for.
            let _either: Woken = alarm.sleep(seen, &[], until.or(Deadline::after(LOOK_FOR_DEATHS)));
        }
    }

    /// A handle that is readable while something is there to be taken, or the queue is closed.
    pub(crate) fn poll(&self) -> Result<BorrowedHandle<'_>, Stop> {
        let (_turn, state) = self.enter_now(Some(Deadline::NEVER))?;
        self.memory.flag_in_use().store(1, Ordering::Relaxed);
        self.show(&state)?;
        Ok(self.flag.as_handle())
    }

    /// Whether a taker would be answered now, if only by an error.
    pub(crate) fn is_ready(&self) -> bool {
        match self.enter_now(None) {
            Ok((_turn, state)) => !state.is_empty() || state.closed != 0,
            Err(Stop::NotNow) => false,
            Err(_) => true,
        }
    }

    /// The lock, and the state, with what others have left half done brought to its end.
    fn enter_now(&self, until: Option<Deadline>) -> Result<(Turn<'_>, State), Stop> {
        let until = until.unwrap_or_else(|| Deadline::after(SHORTLY));
        let turn = self.memory.turn(until).ok_or(Stop::NotNow)?;
        let mut state = self.memory.state();
        if turn.inherited {
            self.take_over(&mut state)?;
        }
        store::settle(&self.memory, &mut state)?;
        Ok((turn, state))
    }

    /// After one who was killed with the lock: it may have made its change and told nobody.
    #[cold]
    fn take_over(&self, state: &mut State) -> Result<(), Stop> {
        hands::settle(&self.memory, state);
        if self.is_polled() {
            self.show(state)?;
        }
        for what in [For::Items, For::Room, For::Finished] {
            self.ring(what);
        }
        self.memory.settled();
        Ok(())
    }

    fn show(&self, state: &State) -> Result<(), Stop> {
        if state.is_empty() && state.closed == 0 {
            self.flag.lower()?;
        } else {
            self.flag.raise()?;
        }
        Ok(())
    }

    fn is_polled(&self) -> bool {
        self.memory.flag_in_use().load(Ordering::Relaxed) != 0
    }

    /// Commits, and wakes those who wait for it. The change is made inside the ring, so that it is told whoever
    /// is killed.
    fn commit(&self, state: &State, what: For) {
        let waiting = self.memory.waiting(what);
        if waiting.load(Ordering::Relaxed) == 0 {
            self.memory.commit(state);
            return;
        }
        self.memory.alarm(what).ring(|| {
            self.memory.commit(state);
            waiting.store(0, Ordering::Relaxed);
        });
    }

    fn ring(&self, what: For) {
        let waiting = self.memory.waiting(what);
        let alarm = self.memory.alarm(what);
        alarm.ring(|| waiting.store(0, Ordering::Relaxed));
    }

    /// Lets go of the lock and waits for a change, or says that it is not to wait any longer.
    fn wait(
        &self,
        turn: Turn<'_>,
        what: For,
        until: Option<Deadline>,
        spin: &mut Spin,
    ) -> Result<(), Stop> {
        let until = until.ok_or(Stop::NotNow)?;
        if until.has_passed() {
            return Err(Stop::NotNow);
        }
        let alarm = self.memory.alarm(what);
        self.memory.waiting(what).store(1, Ordering::Relaxed);
        let seen = alarm.now();
        drop(turn);
        if !spin.until(|| alarm.now() != seen) {
            // Timed out or not, one more look.
            let _either: Woken = alarm.sleep(seen, &[], until);
        }
        Ok(())
    }

    /// Announces a sleep until there may be room, for a future. What the word holds until then.
    pub(super) fn watch_room(&self) -> Result<u32, Stop> {
        let (_turn, _) = self.enter_now(None)?;
        self.memory.waiting(For::Room).store(1, Ordering::Relaxed);
        Ok(self.memory.alarm(For::Room).watch())
    }

    fn hand(&self, state: &mut State) -> Option<usize> {
        if let Some(hand) = self.hand.get() {
            return Some(*hand);
        }
        let hand = hands::own(&self.memory, state)?;
        Some(*self.hand.get_or_init(|| hand))
    }
}

/// For those who wait for room.
impl Watched for Port {
    fn word(&self) -> &AtomicU32 {
        self.memory.alarm(For::Room).word()
    }

    fn unwatch(&self) {
        self.memory.alarm(For::Room).unwatch();
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let mut ports = ports();
        if ports
            .get(&self.id)
            .is_some_and(|port| port.strong_count() == 0)
        {
            ports.remove(&self.id);
        }
        drop(ports);
        if let Some(hand) = self.hand.get()
            && let Ok((_turn, _)) = self.enter_now(None)
        {
            hands::let_go(&self.memory, *hand);
            self.ring(For::Finished);
        }
    }
}

impl From<Spoilt> for Stop {
    fn from(_: Spoilt) -> Stop {
        ChannelError::SPOILT.into()
    }
}
