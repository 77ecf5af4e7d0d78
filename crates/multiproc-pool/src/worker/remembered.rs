//! What a worker keeps of what it was sent, because its parent says so: see `driver/worker/remembered.rs`, which has
//! the protocol.

use std::collections::HashMap;
use std::sync::Arc;

use multiproc_wire::Failure;
use multiproc_wire::handoff::{Keepsake, Offer, Offers};

use super::orders::malformed;
use crate::job::Handles;
use crate::protocol::{INTRODUCED, UNNAMED};

/// By their numbers.
#[derive(Default)]
pub(super) struct Remembered(HashMap<u32, Arc<Keepsake>>);

/// The numbers of a task's handles, and what stands behind them.
pub(super) fn split(body: &[u8]) -> Result<(&[[u8; 4]], &[u8]), Failure> {
    let (count, rest) = body.split_first().ok_or_else(malformed)?;
    let length = 4 * usize::from(*count);
    let (numbers, rest) = rest.split_at_checked(length).ok_or_else(malformed)?;
    Ok((numbers.as_chunks().0, rest))
}

impl Remembered {
    /// The handles of a task, by their numbers, of which these have come with it.
    pub(super) fn offers(&mut self, numbers: &[[u8; 4]], came: Handles) -> Result<Offers, Failure> {
        let mut came = came.into_iter();
        let offers = numbers.iter().map(|number| {
            let number = u32::from_le_bytes(*number);
            if number & INTRODUCED == 0 {
                let known = self.0.get(&number).ok_or_else(malformed)?;
                return Ok(Offer::Kept(Arc::clone(known)));
            }
            let handle = came.next().ok_or_else(malformed)?;
            if number == UNNAMED {
                return Ok(Offer::Once(handle));
            }
            let keepsake = Arc::new(Keepsake::new(handle));
            self.0.insert(number & !INTRODUCED, Arc::clone(&keepsake));
            Ok(Offer::Kept(keepsake))
        });
        offers.collect()
    }

    /// Lets go what has these numbers, some of which may not be there.
    pub(super) fn let_go(&mut self, numbers: &[u8]) {
        for number in numbers.as_chunks::<4>().0 {
            self.0.remove(&u32::from_le_bytes(*number));
        }
    }
}
