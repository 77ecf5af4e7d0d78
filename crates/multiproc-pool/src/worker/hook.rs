//! What each worker calls before its first task, or after its last.

use multiproc_process::function::{FunctionRef, Outcome, PanicReport};
use multiproc_wire::{Decoder, Descriptor, Encoder, Failure, Panic, decode};
use serde::{Deserialize, Serialize};

use crate::job::Handles;

/// A function whose argument is there already, and which returns a [`Verdict`](crate::Verdict).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Hook {
    pub(crate) function: FunctionRef,
    /// Encoded.
    pub(crate) argument: Vec<u8>,
    pub(crate) handles: Vec<Descriptor>,
}

impl Hook {
    pub(super) fn run(self, name: &str) -> Result<(), Failure> {
        let callable = self.function.resolve()?;
        let handles: Handles = self
            .handles
            .into_iter()
            .map(Descriptor::into_shared)
            .collect();
        let mut result = Vec::new();
        let mut results = Encoder::new(&mut result);
        let argument = Decoder::new(&self.argument, handles);
        match callable.call(PanicReport::Quiet, argument, &mut results) {
            Outcome::Returned => {}
            Outcome::Panicked(panic) => {
                return Err(format!("the {name} {}", panic_in_short(&panic)).into());
            }
            Outcome::ArgumentsLost(why) | Outcome::ResultLost(why) => {
                return Err(format!("the {name} could not be called: {why}").into());
            }
        }
        drop(results);
        // Nothing at all is what `()` is encoded as.
        if result.is_empty() {
            return Ok(());
        }
        match decode::<Result<(), Failure>>(&result, Vec::new())? {
            Ok(()) => Ok(()),
            Err(failure) => Err(format!("the {name} failed: {failure:#}").into()),
        }
    }
}

fn panic_in_short(panic: &Panic) -> String {
    let place = panic.location.as_deref().unwrap_or("an unknown place");
    format!("panicked at {place}: {}", panic.message)
}
