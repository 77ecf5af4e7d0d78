//! An oracle for tests that start processes.

use multiproc_process::Process;
use multiproc_testkit::Oracle;

/// Begins when what a process opens once for its life is open.
pub(crate) fn oracle() -> Oracle {
    Oracle::after(|| {
        let child = Process::spawn(|()| (), ()).unwrap();
        child.on_end(|| ()).unwrap();
        child.join().unwrap();
    })
}
