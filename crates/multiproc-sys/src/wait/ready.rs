//! Waiting for the first of several handles.

use std::io;
use std::os::fd::BorrowedFd;

use crate::clock::Deadline;
use crate::handle::{Interest, Readiness, poll_slice};

/// Waits until something can be read from one of `handles`, or its other side is gone, or the process it
/// stands for has ended; gives the places of all of which that is so, in order, and none at the deadline.
///
/// # Errors
/// As [`poll`](crate::handle::poll).
pub fn ready(handles: &[BorrowedFd<'_>], deadline: Deadline) -> io::Result<Vec<usize>> {
    let wanted: Vec<_> = handles
        .iter()
        .map(|handle| (*handle, Interest::Read))
        .collect();
    let mut found = vec![Readiness::default(); handles.len()];
    poll_slice(&wanted, &mut found, deadline)?;
    let places = found.iter().enumerate().filter(|(_, found)| found.any());
    Ok(places.map(|(place, _)| place).collect())
}
