//! Tasks that came in one record, claimed one by one.
//!
//! The record itself is claimed and taken back as any other (`README.md`). Once it is the consumer's, each task in it is
//! claimed in a word apart, from the front; and the producer takes back from the end, in another. Each word is on a
//! line that stays with its writer: a claim is a store and a load, and no locked instruction.
//!
//! # State
//!
//! Both words begin with the number of the record's first task: which record they are about, 32 bits.
//!
//! | word | the other half | written by |
//! |---|---|---|
//! | claims | how many tasks the consumer has laid claim to (14 bits), and [`FENCED`] | the consumer |
//! | limit | up to which task the consumer may go (14 bits), [`ASKED`] or [`DECIDED`], and from which on all were taken back before (14 bits) | the producer; the consumer, from asked to decided |
//!
//! # How a task is decided
//!
//! The consumer writes that it lays claim to a task, passes a fence, and looks at the limit. The producer writes the limit it
//! asks for, passes a fence, and looks at the claims. So at least one of them sees the other:
//!
//! - The producer sees no claim beyond what it asks for: it makes that decided. A consumer that lays claim to a task beyond it
//!   afterwards sees the limit, since its fence came later.
//! - The producer sees a claim beyond: it leaves that task to the consumer, who need not have seen the limit, and makes what is
//!   behind it decided.
//! - The consumer sees a limit that is asked for, and lays claim to a task beyond: it makes it decided that the task is
//!   its own.
//!
//! The last step of each is an exchange of the same word from asked to decided, so that there is one decision, which the
//! other side then goes by. Where it is against the consumer, that withdraws its claim.
//!
//! The fences are a [light](light_fence) one of the consumer and a [heavy](heavy_fence) one of the producer, which comes
//! to it only when it takes something back. A consumer that cannot be reached by those says so, and passes
//! fences in full. Where the producer has none it withdraws what it has asked for, and takes back nothing.
//!
//! # Invariants
//!
//! 1. A task is the consumer's, or taken back, and never both.
//! 2. When a record is found claimed, the claims are about it or about a later one: the consumer sets the word before
//!    it claims the record. Of a record that they are not about any more, all that was not taken back was claimed.
//! 3. No two records in use begin with a task of the same number.
//!
//! # Death
//!
//! The consumer is killed between two steps: of what it has laid claim to at most one task is not answered. If it was
//! killed before it saw the limit, that may be one that was taken back, and which the producer does not count then.
//!
//! A consumer that writes something else here has tasks taken for claimed that were not, or the reverse; the
//! producer counts by what it has sent, so that none is lost or made up by it.

use multiproc_sync::primitive::{
    AtomicU64, Ordering, heavy_fence, light_fence, register_for_heavy_fences,
};

/// See the module's documentation.
#[derive(Debug)]
pub struct Claims<'a> {
    claims: &'a AtomicU64,
    limit: &'a AtomicU64,
}

/// Of the claims: the consumer passes its fences in full.
const FENCED: u64 = 1 << 28;
/// Of the limit: the producer asks for it.
const ASKED: u64 = 1 << 28;
/// Of the limit: it stands.
const DECIDED: u64 = 1 << 29;

const NUMBER: u64 = (1 << 14) - 1;
/// So many tasks a record can have.
const MOST: u16 = (1 << 14) - 1;

/// The consumer's place in a record.
#[derive(Clone, Copy, Debug)]
pub struct Claiming {
    first: u32,
    next: u16,
    count: u16,
    registered: bool,
}

fn about(word: u64) -> u32 {
    let [.., a, b, c, d] = word.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn number(word: u64) -> u16 {
    (word & NUMBER) as u16
}

/// Of a limit: from which task on all were taken back before it was asked for.
fn end(word: u64) -> u16 {
    number(word >> 14)
}

fn word(first: u32, what: u64, end: u16, number: u16) -> u64 {
    let [end, number] = [end, number].map(|number| u64::from(number) & NUMBER);
    u64::from(first) << 32 | what | end << 14 | number
}

impl Claiming {
    /// Of a consumer that has no record yet.
    #[must_use]
    pub fn new() -> Claiming {
        Claiming {
            first: 0,
            next: 0,
            count: 0,
            registered: register_for_heavy_fences(),
        }
    }

    /// Before the record is claimed of which the first task has that number, and in which there are so many, 16,383 at
    /// most.
    pub fn begin(&mut self, claims: &Claims<'_>, first: u32, count: u16) {
        (self.first, self.next, self.count) = (first, 0, count.min(MOST));
        // Numbers come again, and nothing was asked of this record, which is not claimed: what the limit says of one of that
        // number is of an earlier one. The producer may be at another; then the word is of that.
        let limit = claims.limit.load(Ordering::Relaxed);
        if about(limit) == first && limit != 0 {
            // Relaxed: as the claims.
            let _other: Result<u64, u64> =
                (claims.limit).compare_exchange(limit, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
        // Relaxed: the claim of the record, which follows, releases it.
        claims.claims.store(self.word(), Ordering::Relaxed);
    }

    /// Takes the next task: which of the record it is. `None` where there is none left.
    #[inline]
    pub fn claim(&mut self, claims: &Claims<'_>) -> Option<u16> {
        let task = self.next;
        if task >= self.count {
            return None;
        }
        self.next = task + 1;
        // Release: what was done before is seen by a producer that finds it; pairs with Acquire in `claimed`.
        claims.claims.store(self.word(), Ordering::Release);
        light_fence(self.registered);
        // Relaxed: says nothing of anything else.
        let limit = claims.limit.load(Ordering::Relaxed);
        if about(limit) != self.first || self.is_within(claims, limit, task) {
            return Some(task);
        }
        (self.next, self.count) = (task, task);
        claims.claims.store(self.word(), Ordering::Release);
        None
    }

    /// Whether a task that is laid claim to is this side's, which has seen a limit.
    #[cold]
    fn is_within(&self, claims: &Claims<'_>, mut limit: u64, task: u16) -> bool {
        loop {
            let free = limit & (ASKED | DECIDED) == 0;
            if free || task < number(limit) {
                return true;
            }
            if limit & DECIDED != 0 || task >= end(limit) {
                return false;
            }
            let own = word(self.first, DECIDED, end(limit), task + 1);
            // Relaxed: as above.
            let decided =
                (claims.limit).compare_exchange(limit, own, Ordering::Relaxed, Ordering::Relaxed);
            match decided {
                Ok(_) => return true,
                Err(changed) => limit = changed,
            }
        }
    }

    fn word(&self) -> u64 {
        let fenced = if self.registered { 0 } else { FENCED };
        word(self.first, fenced, 0, self.next)
    }
}

impl Default for Claiming {
    fn default() -> Claiming {
        Claiming::new()
    }
}

impl<'a> Claims<'a> {
    /// Over those words, which are nothing else's, and zero at first.
    #[must_use]
    pub fn new(claims: &'a AtomicU64, limit: &'a AtomicU64) -> Claims<'a> {
        Claims { claims, limit }
    }

    /// For the producer, of a record that was found claimed: how many of its tasks are laid claim to. `None` where the consumer
    /// has gone on to a later record.
    #[must_use]
    pub fn claimed(&self, first: u32) -> Option<u16> {
        // Acquire: pairs with Release in `claim`.
        let claims = self.claims.load(Ordering::Acquire);
        (about(claims) == first).then_some(number(claims))
    }

    /// For the producer, of a record that was found claimed, and of which it has taken back all tasks from `end` on: takes
    /// back at most so many more, the last of those that are left, and says how many.
    pub fn take_back(&self, first: u32, end: u16, most: u16) -> u16 {
        let Some(claimed) = self.claimed(first) else {
            return 0;
        };
        let wanted = end.saturating_sub(most).max(claimed);
        if wanted >= end {
            return 0;
        }
        let asked = word(first, ASKED, end, wanted);
        // Relaxed, here and below: the fence orders it.
        self.limit.store(asked, Ordering::Relaxed);
        let reached = heavy_fence();
        let claims = self.claims.load(Ordering::Acquire);
        let own = match about(claims) == first {
            false => end,
            true if !reached && claims & FENCED == 0 => end,
            true => number(claims).clamp(wanted, end),
        };
        let decided = word(first, DECIDED, end, own);
        let exchanged =
            (self.limit).compare_exchange(asked, decided, Ordering::Relaxed, Ordering::Relaxed);
        match exchanged {
            Ok(_) => end - own,
            // It was faster, and has said up to where it goes.
            Err(decided) => end - number(decided).clamp(wanted, end),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn one_side_takes_from_the_front_and_the_other_from_the_end() {
        let words = [(); 2].map(|()| AtomicU64::new(0));
        let claims = Claims::new(&words[0], &words[1]);
        let mut own = Claiming::new();
        own.begin(&claims, u32::MAX, 5);
        assert_eq!([own.claim(&claims), own.claim(&claims)], [Some(0), Some(1)]);
        assert_eq!(claims.claimed(u32::MAX), Some(2));
        assert_eq!(claims.take_back(u32::MAX, 5, 2), 2);
        assert_eq!(own.claim(&claims), Some(2));
        assert_eq!(claims.take_back(u32::MAX, 3, 2), 0);
        assert_eq!([own.claim(&claims), own.claim(&claims)], [None, None]);
        assert_eq!(claims.claimed(u32::MAX), Some(3));
        own.begin(&claims, 4, 1);
        assert_eq!(
            (claims.claimed(u32::MAX), claims.take_back(u32::MAX, 3, 1)),
            (None, 0)
        );
        assert_eq!(claims.take_back(4, 1, 9), 1);
        assert_eq!(own.claim(&claims), None);
        // What was taken back of one record says nothing of the next.
        own.begin(&claims, 5, 2);
        assert_eq!([own.claim(&claims), own.claim(&claims)], [Some(0), Some(1)]);
    }

    #[test]
    fn words_that_make_no_sense_give_nothing_out_that_is_not_there() {
        let words = [word(3, 0, 0, 9), word(3, ASKED, 0, 77)].map(AtomicU64::new);
        let claims = Claims::new(&words[0], &words[1]);
        assert_eq!((claims.take_back(3, 5, 5), claims.claimed(3)), (0, Some(9)));
        let words = [word(3, 0, 0, 2), word(3, DECIDED, 0, 1)].map(AtomicU64::new);
        let claims = Claims::new(&words[0], &words[1]);
        assert_eq!(claims.take_back(3, 5, 9), 3);
    }

    #[test]
    fn a_number_that_comes_again_is_of_another_record() {
        let words = [(); 2].map(|()| AtomicU64::new(0));
        let claims = Claims::new(&words[0], &words[1]);
        let mut own = Claiming::new();
        own.begin(&claims, 7, 3);
        assert_eq!(own.claim(&claims), Some(0));
        assert_eq!(claims.take_back(7, 3, 2), 2);
        assert_eq!(own.claim(&claims), None);
        own.begin(&claims, 7, 3);
        let taken = [(); 4].map(|()| own.claim(&claims));
        assert_eq!(taken, [Some(0), Some(1), Some(2), None]);
    }

    #[test]
    fn between_threads_each_task_is_taken_once() {
        const RECORDS: u32 = 2_000;
        const TASKS: u16 = 20;
        let words = [(); 3].map(|()| AtomicU64::new(0));
        let [one, other, current] = &words;
        std::thread::scope(|scope| {
            let consumer = scope.spawn(|| {
                let claims = Claims::new(one, other);
                let mut own = Claiming::new();
                let mut taken = Vec::new();
                for record in 1..=RECORDS {
                    own.begin(&claims, record, TASKS);
                    current.store(record.into(), Ordering::Release);
                    let mut done = 0;
                    while own.claim(&claims).is_some() {
                        done += 1;
                    }
                    taken.push(done);
                }
                taken
            });
            let claims = Claims::new(one, other);
            let mut back = vec![0; RECORDS as usize];
            let mut record = 0;
            while record < u64::from(RECORDS) {
                let now = current.load(Ordering::Acquire);
                if now == record {
                    std::thread::yield_now();
                    continue;
                }
                record = now;
                let first = u32::try_from(record).unwrap();
                let mut end = TASKS;
                for _ in 0..4 {
                    end -= claims.take_back(first, end, 3);
                }
                back[first as usize - 1] = TASKS - end;
            }
            let done: Vec<u16> = consumer.join().unwrap();
            let sums = done.iter().zip(&back).map(|(done, back)| done + back);
            assert!(
                sums.clone().all(|sum| sum == TASKS),
                "{:?}",
                sums.collect::<Vec<_>>()
            );
        });
    }
}
