//! postcard's form of an integer: seven bits a byte, the lowest first, and the highest bit set in all but the last.
//!
//! The bytes are those that postcard writes, and every error is left to it. Here an integer is put together and taken
//! apart in a register: who writes byte by byte and copies them at once has the processor wait for its own stores.

/// The bits that say that more follows.
const MORE: u64 = 0x8080_8080_8080_8080;

/// So many bits a word of eight such bytes holds.
const WORD: u32 = 56;

/// Appends an integer. Inlined wherever it is used, as are the other steps of a value (`handoff::encoding`, `Encoder::encode`, `Decoder::only`, …):
/// whether a compiler does so by itself depends on what else is in the program, and a decoder that is passed through memory is read
/// back in other pieces than it was written in, which takes as long as all the rest.
#[inline(always)]
pub(super) fn append(bytes: &mut Vec<u8>, value: u64) {
    if value < 0x80 {
        bytes.push(value.to_le_bytes()[0]);
        return;
    }
    if value >> WORD != 0 {
        return append_long(bytes, value);
    }
    let length = (u64::BITS - value.leading_zeros()).div_ceil(7);
    let more = MORE & ((1 << (8 * (length - 1))) - 1);
    let end = bytes.len() + length as usize;
    // As many as a register has, and then as many as there are: a copy of which the length is known takes no call.
    bytes.extend_from_slice(&(spread(value) | more).to_le_bytes());
    bytes.truncate(end);
}

/// One of nine bytes or ten.
#[inline(never)]
fn append_long(bytes: &mut Vec<u8>, value: u64) {
    bytes.extend_from_slice(&(spread(value) | MORE).to_le_bytes());
    match (value >> WORD).to_le_bytes()[0] {
        short @ ..0x80 => bytes.push(short),
        long => bytes.extend_from_slice(&[long, 1]),
    }
}

/// The integer that the bytes begin with, and how many it has: if all of it is there, and that is eight at most.
#[inline]
pub(super) fn read(bytes: &[u8]) -> Option<(u64, usize)> {
    let word = match bytes.first_chunk() {
        Some(word) => u64::from_le_bytes(*word),
        None => first_of(bytes),
    };
    let last = !word & MORE;
    if last == 0 {
        return None;
    }
    // Up to the lowest bit that says so.
    let its = word & (last ^ (last - 1));
    Some((gather(its & !MORE), last.trailing_zeros() as usize / 8 + 1))
}

/// Fewer than eight bytes, and bytes that go on behind them. Of two loads that overlap where they have to.
#[inline]
fn first_of(bytes: &[u8]) -> u64 {
    let length = bytes.len();
    let there = match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(low), Some(high)) => {
            let [low, high] = [low, high].map(|half| u64::from(u32::from_le_bytes(*half)));
            low | high << (8 * (length - 4))
        }
        _ => bytes
            .iter()
            .rev()
            .fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    there | MORE << (8 * length)
}

/// From 56 bits to eight times seven, each in a byte.
#[inline]
fn spread(value: u64) -> u64 {
    let word = value & 0x0fff_ffff | value << 4 & 0x0fff_ffff_0000_0000;
    let word = word & 0x0000_3fff_0000_3fff | word << 2 & 0x3fff_0000_3fff_0000;
    word & 0x007f_007f_007f_007f | word << 1 & 0x7f00_7f00_7f00_7f00
}

/// The reverse.
#[inline]
fn gather(word: u64) -> u64 {
    let word = word & 0x007f_007f_007f_007f | word >> 1 & 0x3f80_3f80_3f80_3f80;
    let word = word & 0x0000_3fff_0000_3fff | word >> 2 & 0x0fff_c000_0fff_c000;
    word & 0x0fff_ffff | word >> 4 & 0x00ff_ffff_f000_0000
}

/// A signed integer as an unsigned one that is small where it is near 0.
#[inline]
pub(super) fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> (i64::BITS - 1)).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{decode, encode};

    /// Each power of two and its neighbours, and some numbers between.
    fn numbers() -> impl Iterator<Item = u64> {
        let near = |bit: u32| [0, 1, 2].map(|n| (1_u64 << bit).wrapping_add(n).wrapping_sub(1));
        let odd = (0..64).map(|bit| 0x9e37_79b9_7f4a_7c15 >> bit);
        (0..64).flat_map(near).chain(odd).chain([u64::MAX])
    }

    #[test]
    fn its_bytes_are_postcards_and_are_read() {
        for number in numbers() {
            let mut bytes = vec![7];
            append(&mut bytes, number);
            assert_eq!(
                bytes[1..],
                postcard::to_stdvec(&number).unwrap(),
                "{number:x}"
            );
            let bytes = &bytes[1..];
            let expected = (bytes.len() <= 8).then_some((number, bytes.len()));
            for behind in [&[][..], &[0], &[0xff; 3], &[0x80; 9], &[0; 9]] {
                assert_eq!(read(&[bytes, behind].concat()), expected, "{number:x}");
            }
            for short in 0..bytes.len() {
                assert_eq!(read(&bytes[..short]), None, "{number:x}");
            }
        }
    }

    #[test]
    fn what_is_longer_than_it_need_be_is_read_as_postcard_reads_it() {
        for bytes in [
            &[0x80, 0][..],
            &[0xff, 0x80, 0x80, 0],
            &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1],
        ] {
            let (number, rest) = postcard::take_from_bytes::<u64>(bytes).unwrap();
            assert_eq!(read(bytes), Some((number, bytes.len() - rest.len())));
        }
    }

    #[test]
    #[expect(clippy::cast_possible_truncation, reason = "any number will do")]
    fn integers_of_all_sizes_are_postcards_and_are_decoded() {
        macro_rules! check {
            ($number:expr, $($Type:ty)*) => {$(
                // What there is room for of it.
                let number = $number as $Type;
                let mut bytes = vec![];
                let none = encode(&number, &mut bytes).unwrap();
                assert!(none.is_empty());
                assert_eq!(bytes, postcard::to_stdvec(&number).unwrap());
                assert_eq!(decode::<$Type>(&bytes, vec![]).unwrap(), number);
            )*};
        }
        for number in numbers() {
            check!(number, u16 u32 u64 usize);
            let number = number.cast_signed();
            check!(number, i16 i32 i64 isize);
            check!(!number, i16 i32 i64 isize);
        }
        // Too large for the type, or longer than any of it: postcard says so.
        for bytes in [
            &[0xff, 0xff, 0x04][..],
            &[0x80, 0x80, 0x80, 0x00],
            &[0xff; 20],
        ] {
            let expected = postcard::from_bytes::<u16>(bytes).unwrap_err();
            let error = decode::<u16>(bytes, vec![]).unwrap_err();
            assert!(
                error.to_string().contains(&expected.to_string()),
                "{error}: {expected}"
            );
        }
    }
}
