//! A task runs in a span that names the one its call was made in, whichever process runs it.
#![cfg(feature = "tracing")]

mod common;

use std::io;
use std::sync::{Mutex, PoisonError};

use common::{finish, oracle};
use multiproc_pool::Pool;
use tracing::Span;
use tracing_subscriber::fmt;

/// What this process's subscriber has written.
static WRITTEN: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Writer;

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
        written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a worker's initializer does: nobody else sets up anything there.
fn listen(_: ()) {
    let layer = fmt().with_writer(|| Writer).without_time().with_ansi(false);
    layer.try_init().unwrap();
}

/// Says something, and gives all that was written in this process since the last time.
fn speak(n: u32) -> String {
    tracing::info!("at {n}");
    let mut written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8(std::mem::take(&mut *written)).unwrap()
}

fn id(span: &Span) -> u64 {
    span.id().unwrap().into_u64()
}

#[test]
fn a_tasks_span_names_the_one_its_call_was_made_in() {
    let oracle = oracle();
    let subscriber = fmt().with_writer(io::sink).finish();
    tracing::subscriber::with_default(subscriber, || {
        let pool = Pool::builder()
            .workers(1)
            .initializer(listen, ())
            .build()
            .unwrap();
        let plain = pool.apply(speak, 1).unwrap();
        assert!(
            plain.contains("at 1") && !plain.contains("task{"),
            "{plain}"
        );
        let outer = tracing::info_span!("outer", secret = 7);
        let inside = outer.in_scope(|| pool.map(speak, [2, 3])).unwrap();
        let pid = std::process::id();
        let expected = format!(
            "task{{parent_pid={pid} parent_id={} parent_name=\"outer\" parent_target=\"spans\"}}: spans: at ",
            id(&outer)
        );
        for (text, n) in inside.iter().zip([2, 3]) {
            assert!(text.contains(&format!("{expected}{n}")), "{text}");
            assert!(!text.contains("secret"), "{text}");
        }
        // Calls that take turns have each their own.
        let other = tracing::info_span!(parent: None, "other");
        let calls: Vec<_> = (0..10)
            .map(|n| {
                let span = if n % 2 == 0 { &outer } else { &other };
                span.in_scope(|| pool.apply_async(speak, n)).unwrap()
            })
            .collect();
        for (n, call) in calls.into_iter().enumerate() {
            let text = call.get().unwrap();
            let name = if n % 2 == 0 { "outer" } else { "other" };
            assert!(
                text.contains(&format!("parent_name=\"{name}\"")),
                "{n}: {text}"
            );
        }
        // A panic leaves the span.
        outer
            .in_scope(|| pool.apply(|()| panic!("no"), ()).map(|_: ()| ()))
            .unwrap_err();
        let after = pool.apply(speak, 4).unwrap();
        assert!(
            after.contains("at 4") && !after.contains("task{"),
            "{after}"
        );
        finish(pool);
    });
    oracle.finish();
}

#[test]
fn nobody_listens_and_nothing_is_told() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    let span = tracing::info_span!("unheard");
    let here = span.in_scope(|| pool.map(|_: u8| Span::current().metadata().is_some(), 0..50));
    assert!(here.unwrap().into_iter().all(|inside| !inside));
    finish(pool);
    oracle.finish();
}
