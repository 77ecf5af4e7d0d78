//! Children of tasks of an asynchronous runtime with several threads.

use std::time::Duration;

use multiproc_process::{Error, Process, StartMethod, active_children};
use multiproc_testkit::{Oracle, forever, within};
use tokio::runtime;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(20);
const METHODS: [StartMethod; 2] = [StartMethod::Spawn, StartMethod::ForkServer];

async fn tasks() -> Result<(), Error> {
    let start = |number: u64| {
        let method = METHODS[usize::from(number % 2 == 1)];
        Process::builder()
            .start_method(method)
            .spawn(|n: u64| n * n, number)
    };
    let tasks: Vec<_> = (0..12)
        .map(|number| tokio::spawn(async move { start(number)?.await }))
        .collect();
    for (number, task) in (0..).zip(tasks) {
        assert_eq!(task.await.unwrap()?, number * number);
    }
    for method in METHODS {
        let child = Process::builder()
            .start_method(method)
            .spawn(|()| -> () { forever() }, ())?;
        assert!(timeout(SHORT, &child).await.is_err(), "it runs for ever");
        child.kill()?;
        let error = child.await.unwrap_err();
        assert_eq!(error.exit_status().unwrap().signal(), Some(libc::SIGKILL));
    }
    assert_eq!(active_children().len(), 0);
    Ok(())
}

#[test]
fn children_are_started_and_awaited_by_tasks_of_a_runtime() {
    let oracle = Oracle::after(|| {
        for method in METHODS {
            let child = Process::builder()
                .start_method(method)
                .spawn(|()| (), ())
                .unwrap();
            child.on_end(|| ()).unwrap();
            child.join().unwrap();
        }
    });
    within(LIMIT, || {
        let mut builder = runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_time().build().unwrap();
        runtime.block_on(tasks()).unwrap();
    });
    oracle.finish();
}
