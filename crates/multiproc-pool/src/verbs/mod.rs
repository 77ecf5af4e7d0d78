//! What a pool can be asked to do, a file for each kind.

mod apply;
mod broadcast;
mod chunks_mut;
mod fold;
mod imap;
mod map;
mod with_state;

pub use imap::Imap;
