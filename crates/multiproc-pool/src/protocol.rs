//! What parent and worker say to each other, in records of their lane's rings.
//!
//! | record | down (to the worker) | up (to the parent) |
//! |---|---|---|
//! | [`ANNOUNCE`] / [`READY`] | number of a function (4 bytes), encoded `FunctionRef` | nothing |
//! | [`TASK`] / [`RETURNED`] … | ticket (4), number of a function (4), encoded argument | ticket (4), encoded result or what went wrong |
//! | [`PING`] / [`READY`] | nothing | nothing |
//! | [`DISCARD`] | ticket (4) | |
//! | [`PREPARE`] | ticket (4), key (4), encoded state | |
//! | [`FORGET`] | key (4) | |
//! | [`SPAN`] | the encoded span of the calls whose tasks come next; nothing, if they have none | |
//! | [`LET_GO`] | numbers (4 each) of things that it was to remember | |
//! | [`EXIT`] | nothing | |
//! | - / [`TIRED`] | | nothing |
//!
//! A *ticket* counts the tasks sent to one worker. A worker takes tasks in the order sent, leaves out those
//! that were taken back, and answers each it has claimed with one record of the same ticket.
//!
//! With [`RUN`] in the tag, there are several tasks in the record, which are of one job and follow each other: the ticket
//! is the first one's, and the argument is how many they are (4) and, for each, its length (1) and its encoding. They are
//! claimed one by one (`multiproc_shm::ring::Claims`), and answered as if each had come alone.
//!
//! What a task returned, if it is shorter than [`LONG`] and has no handles, goes up as an item of the lane's third ring
//! instead, which has no tag and no ticket. It answers the oldest task of which no record does; a record is
//! published after the items of the tasks before it.
//!
//! With [`CHUNK`] in the tag, the argument is the number of items (4), the length of each (4), and for each a byte that
//! says nothing new, and its encoding, which that length counts together; the answer, which is a [`RETURNED`], has for each what became of it (1, as the tag of an answer), the
//! number of its handles (1), a length (4), and what then comes.
//!
//! Of a pool that keeps a timeline, each answer to a task ends with when that began and ended (16; nanoseconds since
//! boot).
//!
//! With [`HANDLES`] in the tag, the handles of the argument or result come in a frame over the lane's
//! link, sent before the record was published; its body is the ticket. Where the task was taken back, a
//! *discard* has the worker take the frame in and drop it, so that nobody waits for what is in it.
//!
//! With [`NAMED`] in the tag of a task, what stands before its argument is how many handles it has (1) and the number
//! of each (4). With [`INTRODUCED`] in the number, the handle is the next in the frame; and but for [`UNNAMED`], the worker is to
//! remember it by the rest of the number. Any other number is of what it remembers.

/// Down: a function, and the number by which tasks name it.
pub(crate) const ANNOUNCE: u16 = 1;
/// Down: a task. To be claimed.
pub(crate) const TASK: u16 = 2;
/// Down: there will be no more tasks.
pub(crate) const EXIT: u16 = 3;
/// Down: to be answered by [`READY`].
pub(crate) const PING: u16 = 4;
/// Down: the handles of the task of that ticket are nobody's.
pub(crate) const DISCARD: u16 = 5;

/// Down: what the tasks of one call have in common, by the key with which they name it.
pub(crate) const PREPARE: u16 = 6;
/// Down: no task will name that any more.
pub(crate) const FORGET: u16 = 7;
/// Down: the span in which the calls were made whose tasks come next.
pub(crate) const SPAN: u16 = 8;

/// Down: what the worker need not remember any more.
pub(crate) const LET_GO: u16 = 9;

/// Up: the worker can be sent tasks.
pub(crate) const READY: u16 = 1;
/// Up: the task's function returned this.
pub(crate) const RETURNED: u16 = 2;
/// Up: the task's function panicked.
pub(crate) const PANICKED: u16 = 3;
/// Up: the task's argument could not be decoded, or its function not be found.
pub(crate) const ARGUMENTS_LOST: u16 = 4;
/// Up: the task's function returned what could not be encoded.
pub(crate) const RESULT_LOST: u16 = 5;

/// Up: the worker has more memory in use than it may, and wants to be replaced.
pub(crate) const TIRED: u16 = 6;

/// In the tag: handles come over the link.
pub(crate) const HANDLES: u16 = 1 << 8;
/// In the tag, down: a further task of the job that the one before is of. Nobody waits for that one's answer
/// alone, so the worker need not have told of it before it begins with this.
pub(crate) const FOLLOWS: u16 = 1 << 10;
/// In the tag: a task of several items, or its answer.
pub(crate) const CHUNK: u16 = 1 << 9;

/// In the tag, down: several tasks.
pub(crate) const RUN: u16 = 1 << 11;
/// In the tag, down: the handles of the task are numbered.
pub(crate) const NAMED: u16 = 1 << 12;
/// In a handle's number: it comes in the frame.
pub(crate) const INTRODUCED: u32 = 1 << 31;
/// The number of a handle that comes in the frame, and is not to be remembered.
pub(crate) const UNNAMED: u32 = u32::MAX;

/// The kind of the only frames on the link.
pub(crate) const HANDLES_FRAME: u8 = 1;

/// Bytes before an encoded argument, and before an encoded result.
pub(crate) const TASK_HEADER: usize = 8;
pub(crate) const RESULT_HEADER: usize = 4;
/// Before the arguments of several tasks.
pub(crate) const RUN_HEADER: usize = 12;
/// So many tasks go in one record. What the worker has not begun of it is taken back as a whole, and twice as many
/// make no difference: all else that a record costs is spread over them.
pub(crate) const MAX_RUN: u16 = 128;
/// Arguments that go together with others, and results that do, are shorter.
pub(crate) use multiproc_shm::ring::LONG;
/// Before what became of an item, in the answer to a task of several.
pub(crate) const CHUNK_HEADER: usize = 6;

/// How many bytes each ring of a lane holds: room for the longest window of small tasks, and enough that
/// large arguments and results stream through in pieces that are worth waking up for (a quarter of it).
/// Tried on two cores with 64 MiB arguments: a quarter of this is a third slower, four times it no faster.
pub(crate) const RING: usize = 1 << 19;

/// The bell of a caller that waits for results.
pub(crate) const CALLER: usize = 0;
/// The bell of the pool's own thread.
pub(crate) const WATCHER: usize = 1;
pub(crate) const BELLS: usize = 2;

/// What is written into a lane's word to ask the task of that ticket to stop: never 0, which asks nobody.
pub(crate) fn asked_mark(ticket: u32) -> u32 {
    ticket.wrapping_add(1).max(1)
}
