//! Memory of this process's own, of which much is about to be filled.

/// What is shorter takes no time worth saving.
const SHORTEST: usize = 2 << 20;
/// The smallest page of any machine that this runs on: the kernel takes it from here if its own are larger.
const PAGE: usize = 4096;

/// Makes room for so many more in a vector, and asks the kernel, where those are many megabytes, to give that memory in huge
/// pages as it is filled: each page costs a fault, which takes longer than to fill 4 KiB. Advice, which it need
/// not take.
pub fn reserve<T>(vector: &mut Vec<T>, more: usize) {
    if vector.capacity() - vector.len() < more {
        vector.reserve_exact(more);
    }
    let room = vector.spare_capacity_mut();
    prefer_huge_pages(room.as_mut_ptr().cast(), size_of_val(room));
}

/// As many zeroes, likewise.
#[must_use]
pub fn zeroes(count: usize) -> Vec<u64> {
    // Where they are many they are had from the kernel, and are not there before they are touched.
    let mut zeroes = vec![0_u64; count];
    prefer_huge_pages(zeroes.as_mut_ptr().cast(), size_of_val(&*zeroes));
    zeroes
}

/// Of so many bytes from there on.
fn prefer_huge_pages(memory: *mut libc::c_void, length: usize) {
    if length < SHORTEST {
        return;
    }
    let skipped = memory.addr().next_multiple_of(PAGE) - memory.addr();
    let start = memory.wrapping_byte_add(skipped);
    let length = (length - skipped) / PAGE * PAGE;
    // SAFETY: the advice changes no contents, whoever's memory it is of.
    let _advice = unsafe { libc::madvise(start, length, libc::MADV_HUGEPAGE) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_stays_as_it_is() {
        let mut bytes = vec![7_u8; 3];
        for more in [0, 1, PAGE, SHORTEST, 5 * SHORTEST + 123] {
            reserve(&mut bytes, more);
            assert!(bytes.capacity() >= more + 3);
            assert_eq!(bytes, [7; 3]);
        }
        bytes.resize(4 * SHORTEST, 9);
        assert!(bytes[3..].iter().all(|byte| *byte == 9));
        for count in [0, 1, SHORTEST] {
            let zeroes = zeroes(count);
            assert!(zeroes.len() == count && zeroes.iter().all(|zero| *zero == 0));
        }
    }
}
