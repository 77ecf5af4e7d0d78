//! Looking a number of times before going to sleep: as often as has paid off lately.

use std::sync::OnceLock;

use multiproc_sync::primitive::spin_loop;

/// How long to look for something before sleeping.
///
/// A sleep and its wake-up take microseconds, so looking for about that long is worth it where the
/// other side answers soon, and a waste where it does not. Each success lengthens the next search to twice
/// what it took, each failure halves it, down to a single look. Now and then a failure is followed by a long search
/// all the same, since only that finds out that answers come sooner again: the rarer, the more of those were in vain.
/// So two sides of which only one can run at a time, be it that other programs want the processors or that the kernel
/// has put both on one, soon leave it to each other.
#[derive(Clone, Debug)]
pub struct Spin {
    limit: u32,
    /// In a row, since the last long search.
    failures: u32,
    /// So many failures are followed by a long search.
    patience: u32,
    /// So many pauses before the first look: see [`Spin::until_several`].
    lull: u32,
}

/// Tried with two processes on two processors: a peer that answers at once is seen within some ten looks,
/// and a wake-up takes as long as 300 (processor awake) to 2,500 (halted, virtual machine).
const MAX: u32 = 2_000;

/// A search that would be shorter is left out: a peer that answers at once and looks all the time takes as long. With at
/// least 100 looks, two sides that sleep each time had 6 times the round trip of a bare futex, which is 4 microseconds.
const MIN: u32 = 32;

/// Between the first two long searches, and at most. The most is what makes a long search cost little beside as many
/// wake-ups, and is over in milliseconds where they follow each other.
const PATIENCE: (u32, u32) = (16, 512);

/// Pauses in which several things gather: at first, and at most. Tried with a stream of numbers from one process to another, of 65 ns
/// a number without them: always 4, 8, 16, 32 or 64 pauses (of 22 ns), 57, 39, 35, 34 and 34; these two, 30.
const LULL: (u32, u32) = (8, 64);

/// If fewer have gathered in a pause, the next is longer.
const MANY: u64 = 32;

/// What is found within so many looks was sent without regard to this side: an answer takes longer.
const AT_ONCE: u32 = 2;

impl Spin {
    /// Begins with the longest search.
    #[must_use]
    pub const fn new() -> Spin {
        Spin {
            limit: MAX,
            failures: 0,
            patience: PATIENCE.0,
            lull: 0,
        }
    }

    /// Looks until `ready` answers true or the search has been long enough, and returns the last
    /// answer. On a single processor it looks once: nobody could answer meanwhile.
    pub fn until(&mut self, ready: impl FnMut() -> bool) -> bool {
        self.search(ready).is_some()
    }

    /// As [`until`](Self::until), of a side that has taken so many since it was last here.
    ///
    /// One that is faster than what comes would be here for each, and its looks take the line from the other side that is about
    /// to write there, and waits for it. So after several, or one that was there at once, the search begins with a pause, in
    /// which more can gather: of a microsecond and a half at most, and none where things come one by one, as answers do.
    pub fn until_several(&mut self, taken: u64, ready: impl FnMut() -> bool) -> bool {
        self.lull = match taken {
            0 | 1 => self.lull / 2,
            2..MANY => (self.lull * 2).clamp(LULL.0, LULL.1),
            _ => self.lull.max(LULL.0),
        };
        if self.lull > 0 && !alone() {
            (0..self.lull).for_each(|_| spin_loop());
        }
        let found = self.search(ready);
        if self.lull == 0 && found.is_some_and(|looks| looks <= AT_ONCE) {
            self.lull = LULL.0;
        }
        found.is_some()
    }

    /// After how many looks it was found.
    fn search(&mut self, mut ready: impl FnMut() -> bool) -> Option<u32> {
        if ready() {
            return Some(0);
        }
        if alone() {
            return None;
        }
        for looks in 0..self.limit {
            spin_loop();
            if ready() {
                self.found(looks);
                return Some(looks + 1);
            }
        }
        self.gave_up();
        None
    }

    fn found(&mut self, looks: u32) {
        if self.is_long() {
            self.patience = (self.patience / 2).max(PATIENCE.0);
            // It was only to find out.
            self.limit = 0;
        }
        self.failures = 0;
        self.limit = self.limit.max(looks * 2).clamp(2 * MIN, MAX);
    }

    fn gave_up(&mut self) {
        if self.is_long() {
            self.patience = (self.patience * 2).min(PATIENCE.1);
            self.failures = 0;
            // It was only to find out.
            self.limit = 0;
        }
        self.failures += 1;
        self.limit = if self.is_long() {
            MAX
        } else if self.limit / 2 < MIN {
            0
        } else {
            self.limit / 2
        };
    }

    /// Whether this search is one to find out.
    fn is_long(&self) -> bool {
        self.failures >= self.patience
    }
}

impl Default for Spin {
    fn default() -> Spin {
        Spin::new()
    }
}

/// Whether this process runs on a single processor. Under the model checker it does: a loop of looks
/// has no end there.
fn alone() -> bool {
    static ALONE: OnceLock<bool> = OnceLock::new();
    cfg!(loom)
        || *ALONE.get_or_init(|| std::thread::available_parallelism().is_ok_and(|n| n.get() == 1))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// How often a search in vain looks, or one that finds something at the look of that number.
    fn looks(spin: &mut Spin, found_at: u32) -> u32 {
        let mut looks = 0;
        spin.until(|| {
            looks += 1;
            looks > found_at
        });
        looks
    }

    const NEVER: u32 = u32::MAX;

    #[test]
    fn searches_in_vain_come_down_to_one_look_and_rare_long_ones() {
        if alone() {
            return;
        }
        let mut spin = Spin::new();
        let mut all: Vec<u32> = (0..20_000).map(|_| looks(&mut spin, NEVER)).collect();
        assert_eq!(all[..3], [1 + MAX, 1 + MAX / 2, 1 + MAX / 4]);
        let late = all.split_off(10_000);
        let total: u32 = late.iter().sum();
        assert!(total <= 20 * 10_000, "{total} looks for 10,000 searches");
        let long = late.iter().filter(|looks| **looks > MAX).count();
        assert!((10..=40).contains(&long), "{long} long searches");
    }

    #[test]
    fn a_peer_that_answers_sooner_again_is_found_out_and_looked_for() {
        if alone() {
            return;
        }
        let mut spin = Spin::new();
        for _ in 0..20_000 {
            looks(&mut spin, NEVER);
        }
        const SOON: u32 = 100;
        let found = (0..=PATIENCE.1).find(|_| looks(&mut spin, SOON) > SOON);
        assert!(found.is_some(), "a long search");
        // One search in vain does not change that.
        looks(&mut spin, NEVER);
        assert!((0..1_000).all(|_| looks(&mut spin, SOON - 10) > SOON - 10));
    }

    #[test]
    fn a_side_that_is_faster_than_what_comes_lets_it_gather() {
        if alone() {
            return;
        }
        let mut spin = Spin::new();
        let mut after = |taken, found_at: u32| {
            let mut looks = 0;
            spin.until_several(taken, || {
                looks += 1;
                looks > found_at
            });
            spin.lull
        };
        assert_eq!(after(1, AT_ONCE), LULL.0, "found at once");
        assert_eq!([after(2, 9), after(5, 9)], [LULL.0 * 2, LULL.0 * 4]);
        assert_eq!(after(MANY, 9), LULL.0 * 4, "enough");
        let longest = (0..10).map(|_| after(2, 9)).max();
        assert_eq!(longest, Some(LULL.1));
        let one_by_one: Vec<u32> = (0..10).map(|_| after(1, AT_ONCE + 1)).collect();
        assert_eq!(one_by_one[..3], [LULL.1 / 2, LULL.1 / 4, LULL.1 / 8]);
        assert_eq!(one_by_one[9], 0);
        assert_eq!(after(0, NEVER), 0);
    }
}
