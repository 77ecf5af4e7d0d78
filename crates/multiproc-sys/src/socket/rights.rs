//! Descriptors beside bytes: the control message `SCM_RIGHTS`.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};

/// How many descriptors one control message can have: the kernel's `SCM_MAX_FD`.
pub const HANDLES_A_PACKET: usize = 253;

/// Room for the descriptors of one packet, aligned as control messages are.
#[repr(C, align(8))]
pub(crate) struct Control([u8; Control::SIZE]);

impl Control {
    #[expect(clippy::cast_possible_truncation, reason = "253 descriptors")]
    // SAFETY: `CMSG_SPACE` is arithmetic.
    const SIZE: usize =
        unsafe { libc::CMSG_SPACE((HANDLES_A_PACKET * size_of::<libc::c_int>()) as u32) } as usize;

    pub(crate) fn new() -> Control {
        Control([0; Control::SIZE])
    }

    pub(crate) fn offer(&mut self, header: &mut libc::msghdr) {
        header.msg_control = self.0.as_mut_ptr().cast();
        header.msg_controllen = Control::SIZE;
    }

    pub(crate) fn put(&mut self, header: &mut libc::msghdr, handles: &[BorrowedFd<'_>]) {
        if handles.is_empty() {
            return;
        }
        debug_assert!(handles.len() <= HANDLES_A_PACKET, "the caller cuts them");
        self.offer(header);
        #[expect(clippy::cast_possible_truncation, reason = "253 descriptors at most")]
        let bytes = size_of_val(handles) as u32;
        // SAFETY: arithmetic.
        header.msg_controllen = unsafe { libc::CMSG_SPACE(bytes) } as usize;
        // SAFETY: `header` names this buffer, which is large enough for one control message.
        let message = unsafe { libc::CMSG_FIRSTHDR(header) };
        // SAFETY: arithmetic.
        let length = unsafe { libc::CMSG_LEN(bytes) } as usize;
        // SAFETY: `CMSG_FIRSTHDR` is not null, since the buffer is large enough, and is aligned.
        unsafe {
            message.write(libc::cmsghdr {
                cmsg_len: length,
                cmsg_level: libc::SOL_SOCKET,
                cmsg_type: libc::SCM_RIGHTS,
            });
        };
        // SAFETY: as above.
        let data = unsafe { libc::CMSG_DATA(message) };
        // SAFETY: the buffer has room for 253 descriptors behind its header; `BorrowedFd` has the
        // layout of a descriptor's number.
        unsafe {
            data.copy_from_nonoverlapping(handles.as_ptr().cast(), bytes as usize);
        };
    }

    /// Owns whatever descriptors the kernel has put here.
    pub(crate) fn take(&self, header: &libc::msghdr, handles: &mut Vec<OwnedFd>) {
        // SAFETY: the kernel has filled `header` and the buffer it names.
        let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
        while !message.is_null() {
            // SAFETY: not null, hence a control message inside the buffer.
            let found = unsafe { message.read() };
            if found.cmsg_level == libc::SOL_SOCKET && found.cmsg_type == libc::SCM_RIGHTS {
                // SAFETY: as above.
                let data = unsafe { libc::CMSG_DATA(message) };
                // SAFETY: arithmetic.
                let empty = unsafe { libc::CMSG_LEN(0) } as usize;
                let count = (found.cmsg_len - empty) / size_of::<libc::c_int>();
                for index in 0..count {
                    let slot = data.cast::<[u8; 4]>().wrapping_add(index);
                    // SAFETY: the kernel says that `count` descriptors lie here.
                    let fd = unsafe { slot.read() };
                    // SAFETY: received just now, nobody else's.
                    handles.push(unsafe { OwnedFd::from_raw_fd(i32::from_ne_bytes(fd)) });
                }
            }
            // SAFETY: `message` is a control message of `header`.
            message = unsafe { libc::CMSG_NXTHDR(header, message) };
        }
    }
}
