//! The span of the crate `tracing` in which a call was made, as its tasks see it. Nothing, without the feature `tracing`.
//!
//! # What crosses
//!
//! Of the span that is current where the call is made: the number of its process, its own number there, its name and its
//! target. Not the values of its fields, which `tracing` keeps from all but its subscriber, and not the spans around
//! it. It goes to a worker once before the tasks of calls made in it, and costs those nothing.
//!
//! Each of those tasks then runs in a span of its own, with that as its fields: `parent_pid`, `parent_id`, `parent_name`,
//! `parent_target`. It has no parent, since a span of another process is none of this one's subscriber's.

use std::sync::Arc;

/// Encoded: what a worker is told.
pub(crate) type Context = Arc<[u8]>;

#[cfg(feature = "tracing")]
mod imp {
    use std::sync::Arc;

    use multiproc_wire::{DecodeError, Handoff, decode, encode};
    use serde::{Deserialize, Serialize};
    use tracing::Span;
    use tracing::span::EnteredSpan;

    use super::Context;

    #[derive(Serialize, Deserialize)]
    struct Parent {
        pid: u32,
        id: u64,
        name: String,
        target: String,
    }

    /// Of the span that is current; `None` where there is none, or nobody who listens.
    pub(crate) fn current() -> Option<Context> {
        let span = Span::current();
        let metadata = span.metadata()?;
        let parent = Parent {
            pid: std::process::id(),
            id: span.id()?.into_u64(),
            name: metadata.name().to_string(),
            target: metadata.target().to_string(),
        };
        let mut bytes = Vec::new();
        // It is made of numbers and texts.
        let _no_handles: Handoff = encode(&parent, &mut bytes).ok()?;
        Some(Arc::from(bytes))
    }

    /// What a worker was told of the calls whose tasks come next.
    #[derive(Default)]
    pub(crate) struct Told(Option<Parent>);

    /// While it is there.
    pub(crate) type Entered = Option<EnteredSpan>;

    impl Told {
        pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Told, DecodeError> {
            match bytes {
                [] => Ok(Told(None)),
                bytes => decode(bytes, Vec::new()).map(Some).map(Told),
            }
        }

        /// A task begins, and is in its span until this is dropped.
        pub(crate) fn enter(&self) -> Entered {
            let parent = self.0.as_ref()?;
            let span = tracing::info_span!(
                "task",
                parent_pid = parent.pid,
                parent_id = parent.id,
                parent_name = parent.name,
                parent_target = parent.target
            );
            Some(span.entered())
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod imp {
    use super::Context;

    pub(crate) fn current() -> Option<Context> {
        None
    }

    /// Nothing is told, and nothing entered.
    #[derive(Default)]
    pub(crate) struct Told(());

    impl Told {
        #[expect(clippy::unnecessary_wraps, reason = "as with the feature")]
        pub(crate) fn from_bytes(_: &[u8]) -> Result<Told, multiproc_wire::DecodeError> {
            Ok(Told(()))
        }

        #[expect(clippy::unused_self, reason = "as with the feature")]
        pub(crate) fn enter(&self) -> Entered {
            Entered
        }
    }

    pub(crate) struct Entered;
}

pub(crate) use imp::{Entered, Told, current};
