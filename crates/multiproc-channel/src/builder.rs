//! A channel that is not as [`channel`](crate::channel) makes it.

use std::io;

use multiproc_shm::ring::DEFAULT_LIMIT;

use crate::channel::{Receiver, Sender};
use crate::transport::{self, PREFIX, Settings, Transport};

/// How many bytes of messages a channel holds unless asked otherwise. Tried with two processes and `u64`s: 16 KiB
/// to 256 KiB differ by less than runs do; below, sides sleep more; above, the ring leaves the nearest caches.
const BYTES: usize = 64 << 10;

/// More than any bound.
const MANY: usize = (1 << 32) + 1;

/// What a channel is to be like.
///
/// ```
/// use multiproc_channel::{ChannelBuilder, Transport};
///
/// let (sender, receiver) = ChannelBuilder::new()
///     .transport(Transport::Ring)
///     .max_message(1 << 20)
///     .channel::<String>()?;
/// sender.send("a".repeat(2 << 20)).unwrap_err();
/// sender.send("short".to_owned())?;
/// assert_eq!(receiver.recv()?, "short");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "`channel` makes it"]
pub struct ChannelBuilder {
    settings: Settings,
}

impl ChannelBuilder {
    /// A channel as [`channel`](crate::channel) makes it.
    pub fn new() -> ChannelBuilder {
        ChannelBuilder {
            settings: Settings {
                transport: Transport::default(),
                bytes: BYTES,
                messages: None,
                max_message: DEFAULT_LIMIT - PREFIX,
            },
        }
    }

    /// What carries the messages. [`Transport::Ring`] where nothing is asked for.
    pub fn transport(mut self, transport: Transport) -> ChannelBuilder {
        self.settings.transport = transport;
        self
    }

    /// How many bytes of messages the channel holds, each of which takes 8 to 16 bytes more than its encoded
    /// form; a power of two from 64 to 2³⁰. A longer message passes through piece by piece. 64 KiB where nothing
    /// is asked for.
    pub fn capacity(mut self, bytes: usize) -> ChannelBuilder {
        self.settings.bytes = bytes;
        self
    }

    /// How many messages the channel holds at most, besides that of the receiver's hand: one to 2³². As many as
    /// fit where nothing is asked for.
    pub fn bound(mut self, messages: usize) -> ChannelBuilder {
        self.settings.messages = Some(messages);
        self
    }

    /// The longest message that is sent or received, in bytes of its encoded form. 1 GiB, which is the most,
    /// where nothing is asked for.
    pub fn max_message(mut self, bytes: usize) -> ChannelBuilder {
        self.settings.max_message = bytes.min(DEFAULT_LIMIT - PREFIX);
        self
    }

    /// Both ends of such a channel.
    ///
    /// # Errors
    /// `InvalidInput` for a capacity or a bound that no channel can have; where there is no memory for it, or too many files
    /// are open.
    pub fn channel<T>(&self) -> io::Result<(Sender<T>, Receiver<T>)> {
        if let Some(messages @ (0 | MANY..)) = self.settings.messages {
            let why = format!(
                "a channel cannot be bounded to {messages} messages, but to 1 to {}",
                MANY - 1
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let (tx, rx) = transport::create(&self.settings)?;
        Ok((Sender::new(tx), Receiver::new(rx)))
    }
}

impl Default for ChannelBuilder {
    fn default() -> ChannelBuilder {
        ChannelBuilder::new()
    }
}
