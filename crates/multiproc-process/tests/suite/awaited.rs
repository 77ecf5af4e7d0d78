//! Processes that are awaited, on an executor of a few lines.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use multiproc_process::{Error, Process};
use multiproc_testkit::eventually;

use super::{LIMIT, idle, oracle};

struct Unpark(Thread);
impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Counts how often it is called.
#[derive(Default)]
struct Count(AtomicUsize);
impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn is_pending<F: Future + Unpin>(future: &mut F, waker: &Arc<Count>) -> bool {
    let waker = Waker::from(Arc::clone(waker));
    let mut context = Context::from_waker(&waker);
    pin!(future).poll(&mut context).is_pending()
}

fn a_result_a_panic_and_a_death_are_awaited_as_they_are_joined() {
    let oracle = oracle();
    block_on(async {
        let child = Process::spawn(|text: String| text + "!", "x".repeat(1 << 20))?;
        assert_eq!(child.await?.len(), (1 << 20) + 1);
        let quiet = Process::builder().print_panics(false);
        let child = quiet.spawn(|()| -> () { panic!("not this") }, ())?;
        assert_eq!(
            child.await.unwrap_err().panic().unwrap().message,
            "not this"
        );
        let child = Process::spawn(idle, ())?;
        child.kill()?;
        let error = child.await.unwrap_err();
        assert_eq!(error.exit_status().unwrap().signal(), Some(libc::SIGKILL));

        let kept = Process::spawn(|()| 5, ())?;
        assert_eq!((&kept).await?, 5);
        assert!(
            (&kept)
                .await
                .unwrap_err()
                .to_string()
                .contains("joined before")
        );
        assert!(!kept.is_alive()?);
        Ok::<(), Error>(())
    })
    .unwrap();
    oracle.finish();
}

/// How many threads of the library run.
fn own_threads() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    // One of the test's may end meanwhile.
    let names = threads
        .filter_map(|thread| std::fs::read_to_string(thread.unwrap().path().join("comm")).ok());
    names.filter(|name| name.starts_with("multiproc-")).count()
}

fn many_are_awaited_without_a_thread_for_each() {
    let oracle = oracle();
    let threads = own_threads();
    let children: Vec<Process> = (0..20).map(|_| Process::spawn(idle, ()).unwrap()).collect();
    let mut futures: Vec<_> = children.iter().map(IntoFuture::into_future).collect();
    let waker = Arc::new(Count::default());
    assert!(futures.iter_mut().all(|future| is_pending(future, &waker)));
    assert_eq!(own_threads(), threads);
    for child in &children {
        child.kill().unwrap();
    }
    eventually(LIMIT, "each wakes", || waker.0.load(Ordering::SeqCst) == 20);
    assert!(!futures.iter_mut().any(|future| is_pending(future, &waker)));
    drop(futures);
    drop(children);
    oracle.finish();
}

fn the_last_to_ask_is_woken_and_who_has_gone_is_forgotten() {
    let oracle = oracle();
    let child = Process::spawn(idle, ()).unwrap();
    let [first, second, gone] = [(); 3].map(|()| Arc::new(Count::default()));
    let mut abandoned = (&child).into_future();
    assert!(is_pending(&mut abandoned, &gone));
    drop(abandoned);
    assert_eq!(Arc::strong_count(&gone), 1, "nobody keeps it");

    let mut future = (&child).into_future();
    assert!(is_pending(&mut future, &first));
    assert!(is_pending(&mut future, &second));
    assert_eq!(Arc::strong_count(&first), 1);
    child.kill().unwrap();
    eventually(LIMIT, "it wakes", || second.0.load(Ordering::SeqCst) == 1);
    assert!(!is_pending(&mut future, &second));
    assert_eq!(first.0.load(Ordering::SeqCst), 0);
    assert_eq!(gone.0.load(Ordering::SeqCst), 0);
    drop(future);
    drop(child);
    oracle.finish();
}

cases![
    a_result_a_panic_and_a_death_are_awaited_as_they_are_joined,
    many_are_awaited_without_a_thread_for_each,
    the_last_to_ask_is_woken_and_who_has_gone_is_forgotten,
];
