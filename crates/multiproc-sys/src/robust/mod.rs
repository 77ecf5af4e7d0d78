//! Words in shared memory that tell, by the kernel's hand, that the thread which held them is gone.
//!
//! A thread *holds* a word by writing its thread id into it and linking the word into a list that
//! the kernel walks when the thread ends, however it ends. For every word in it which still carries
//! the thread's id, the kernel clears the id, sets [`OWNER_DIED`], and wakes one waiter if
//! [`WAITERS`] was set. This happens before the process's memory is torn down, so it takes a fraction
//! of a millisecond even for a process of many gigabytes.
//!
//! A thread that ends on its own, while its process lives, is a death as well, but for a word that is
//! held [until the process ends](Until::ProcessEnds): a thread that lives as long takes it over.
//!
//! Where the list does not reach, there is a second net ([`process_ended`]).
//!
//! A port supplies [`RobustWord`], [`Until`], [`thread_id`], [`process_id`], the three masks, [`available`],
//! [`holds_within`], [`on_process_end`] and [`process_ended`].
//!
//! # Protocol
//!
//! The same that C libraries follow for robust mutexes. Around each change of who holds the word, it
//! is announced as *pending*, which covers a death between the change and its entry in the list:
//!
//! | step | announced | in the list | word | a death here |
//! |---|---|---|---|---|
//! | [`RobustWord::announce`] | yes | no | anything | if the word has our id: marked; if 0: a waiter is woken |
//! | take: compare-exchange by the caller | yes | no | our id | marked |
//! | [`RobustWord::link`] | no | yes | our id | marked |
//! | [`RobustWord::unlink`] | yes | no | our id | marked |
//! | release: exchange and wake by the caller | yes | no | 0 | a waiter is woken |
//! | [`RobustWord::retract`] | no | no | not ours | nothing to do |
//!
//! # Invariants
//!
//! 1. Links in shared memory are written, never read: where a word stands in the list is known from
//!    private memory, so that a peer that overwrites a link harms at most the kernel's report of a death.
//! 2. Between our words and any other user of the thread's list (a C library's mutexes) stands a
//!    private anchor at each end, so that no other user ever reads or writes a link of ours.
//! 3. A word in the list is mapped. Whoever maps the memory keeps it so until the word is unlinked, and
//!    asks [`holds_within`] where it might have been forgotten; no word in shared memory is asked.

cfg_select! {
    all(target_os = "linux", target_env = "gnu") => {
        mod held;
        mod keeper;
        mod list;
        use list as imp;
        use list::held_by_this_thread;
        mod net;
        pub use held::holds_within;
        pub use net::{on_process_end, process_ended};
    }
    _ => { compile_error!("multiproc-sys: no port for this platform; src/robust/mod.rs says what one must supply"); }
}
pub(crate) use imp::count_fork;
pub use imp::{
    MAX_HELD, OWNER_DIED, RobustWord, THREAD_ID, Until, WAITERS, available,
    is_thread_of_this_process, process_id, thread_id,
};
