//! Seats whose workers are to be looked at.

/// A set of seats by their numbers. Of many workers few have something to do with one call, and to look at all of them
/// again and again would cost more than the call.
#[derive(Default)]
pub(super) struct Restless {
    /// A bit for each seat.
    words: Vec<u64>,
}

const BITS: usize = u64::BITS as usize;

impl Restless {
    pub(super) fn insert(&mut self, seat: usize) {
        let word = seat / BITS;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (seat % BITS);
    }

    pub(super) fn remove(&mut self, seat: usize) {
        if let Some(word) = self.words.get_mut(seat / BITS) {
            *word &= !(1 << (seat % BITS));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// The first from that one on: for loops that change the set.
    #[inline]
    pub(super) fn next_from(&self, seat: usize) -> Option<usize> {
        let mut word = seat / BITS;
        let mut bits = self.words.get(word)? & (u64::MAX << (seat % BITS));
        while bits == 0 {
            word += 1;
            bits = *self.words.get(word)?;
        }
        Some(word * BITS + bits.trailing_zeros() as usize)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        let mut from = 0;
        std::iter::from_fn(move || {
            let seat = self.next_from(from)?;
            from = seat + 1;
            Some(seat)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_comes_in_order_until_it_is_taken_out() {
        let mut set = Restless::default();
        assert!(set.is_empty() && set.iter().next().is_none());
        for seat in [200, 0, 63, 64, 127, 64] {
            set.insert(seat);
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63, 64, 127, 200]);
        assert_eq!(set.next_from(64), Some(64));
        assert_eq!(set.next_from(128), Some(200));
        for seat in [0, 64, 200, 1_000] {
            set.remove(seat);
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), [63, 127]);
        assert!(!set.is_empty());
        assert_eq!(set.next_from(128), None);
    }
}
