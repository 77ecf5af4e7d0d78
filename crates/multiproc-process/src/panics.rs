//! Panics caught with their message, place and backtrace.
//!
//! Only a panic hook sees where a panic is, and it runs before unwinding; so a hook of ours keeps what it
//! sees for the [`catch`] that is under way on its thread. Other panics are left to the hook before it.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;
use std::thread;

use multiproc_wire::Panic;

use crate::current_process;

/// Whether a caught panic is also printed, as an uncaught one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// Only returned.
    Quiet,
    /// Returned, and printed by the panic hook that was set before.
    Printed,
}

thread_local! {
    static CATCHING: Cell<Option<Report>> = const { Cell::new(None) };
    static SEEN: Cell<Option<Panic>> = const { Cell::new(None) };
}

/// Runs `run`; a panic in it is an error.
pub(crate) fn catch<R>(report: Report, run: impl FnOnce() -> R) -> Result<R, Box<Panic>> {
    /// A call inside a call has its own report, and gives the outer one back.
    struct Restore(Option<Report>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CATCHING.set(self.0);
        }
    }
    watch();
    let _restore = Restore(CATCHING.replace(Some(report)));
    panic::catch_unwind(AssertUnwindSafe(run)).map_err(|payload| {
        let message = message_of(&*payload);
        // What was seen last may be a panic that `run` has caught itself.
        let seen = SEEN.take().filter(|seen| seen.message == message);
        // A panic without a hook: `resume_unwind`, or a hook set after ours.
        Box::new(seen.unwrap_or(Panic {
            message,
            location: None,
            backtrace: None,
        }))
    })
}

/// Sets the hook, once.
fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // A thread that is ending has no thread-local values any more, and catches nothing.
            let report = CATCHING.try_with(Cell::get).ok().flatten();
            if let Some(report) = report {
                let panic = describe(info);
                #[cfg(panic = "abort")]
                crate::child::report_before_abort(&panic);
                SEEN.set(Some(panic));
                if report == Report::Quiet {
                    return;
                }
                name_the_process();
            }
            before(info);
        }));
    });
}

/// What is about to be printed names the thread, which in a child has no name.
fn name_the_process() {
    if crate::is_child() && thread::current().name().is_none() {
        // Without a standard error there is nobody to tell.
        let _told = writeln!(io::stderr(), "process {}:", current_process().name());
    }
}

fn describe(info: &PanicHookInfo<'_>) -> Panic {
    let backtrace = Backtrace::capture();
    Panic {
        message: message_of(info.payload()),
        location: info.location().map(ToString::to_string),
        backtrace: (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string()),
    }
}

fn message_of(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "(the panic's payload is no text)".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_and_place_are_kept() {
        let panic = catch(Report::Quiet, || panic!("number {}", 7)).unwrap_err();
        assert_eq!(panic.message, "number 7");
        assert!(panic.location.unwrap().contains("panics.rs"));
        let odd = catch(Report::Quiet, || panic::panic_any(5)).unwrap_err();
        assert_eq!(odd.message, "(the panic's payload is no text)");
        let resumed = catch(Report::Quiet, || panic::resume_unwind(Box::new("again"))).unwrap_err();
        assert_eq!(
            (resumed.message.as_str(), resumed.location),
            ("again", None)
        );
    }

    #[test]
    fn a_panic_that_was_caught_inside_is_not_taken_for_another() {
        let panic: Result<(), Box<Panic>> = catch(Report::Quiet, || {
            let _inner = panic::catch_unwind(|| panic!("caught inside"));
            panic::resume_unwind(Box::new("the real one"))
        });
        let panic = panic.unwrap_err();
        assert_eq!(
            (panic.message.as_str(), panic.location),
            ("the real one", None)
        );
    }

    #[test]
    fn an_inner_catch_leaves_the_outer_one_as_it_was() {
        let panic = catch(Report::Quiet, || {
            let inner = catch(Report::Quiet, || panic!("inner")).unwrap_err();
            assert_eq!(inner.message, "inner");
            panic!("outer");
        });
        assert_eq!(panic.unwrap_err().message, "outer");
        assert_eq!(CATCHING.get(), None);
    }
}
