//! How far the tasks of a call are.

use std::time::{Duration, Instant};

use multiproc_sys::clock::Deadline;
use serde::de::DeserializeOwned;

use crate::error::TaskError;
use crate::task::MapTask;

/// How far the tasks of a call are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// How many tasks there are.
    pub total: usize,
    /// How many of them have a result.
    pub done: usize,
    /// How many have an error.
    pub failed: usize,
    /// How many were settled when this was looked at first, and how long ago that was.
    before: usize,
    elapsed: Duration,
}

impl Progress {
    /// How many tasks are settled, well or not.
    #[must_use]
    pub fn settled(&self) -> usize {
        self.done + self.failed
    }

    /// From 0 to 1; 1 where there are no tasks.
    #[must_use]
    pub fn fraction(&self) -> f64 {
        match self.total {
            0 => 1.0,
            total => self.settled() as f64 / total as f64,
        }
    }

    /// How many tasks are settled in a second, since progress was looked at first; 0 where none were.
    #[must_use]
    pub fn rate(&self) -> f64 {
        match self.elapsed.as_secs_f64() {
            0.0 => 0.0,
            seconds => (self.settled() - self.before) as f64 / seconds,
        }
    }

    /// How long the rest takes at this rate; `None` where none is known.
    #[must_use]
    #[doc(alias = "eta")]
    pub fn remaining(&self) -> Option<Duration> {
        let rest = (self.total - self.settled()) as f64;
        Duration::try_from_secs_f64(rest / self.rate()).ok()
    }
}

/// More often than this nothing is reported.
const SHORTEST: Duration = Duration::from_millis(1);

impl<R> MapTask<R> {
    /// How far the tasks are now; all of them, where their results were given.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress_by(Deadline::now())
    }

    /// How far the tasks are when all are settled, or at the deadline.
    fn progress_by(&self, deadline: Deadline) -> Progress {
        let (driver, Some(job)) = self.driver_and_job() else {
            return Progress::default();
        };
        let Ok((core, _)) = driver.wait(deadline, |core| core.is_done(job)) else {
            return Progress::default();
        };
        let (total, done, failed) = core.progress(job);
        Progress {
            total,
            done,
            failed,
            ..Progress::default()
        }
    }

    /// As [`get`](Self::get), calling `report` meanwhile: at once, then as often as that, and when all tasks
    /// are settled. It is called on this thread, which otherwise waits, and nobody waits for it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use multiproc_pool::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// let task = pool.map_async(|n: u64| n * n, 0..10_000)?;
    /// let squares = task.get_with_progress(Duration::from_millis(100), |progress| {
    ///     println!("{:.0} %", progress.fraction() * 100.0);
    /// })?;
    /// assert_eq!(squares.len(), 10_000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_with_progress(
        self,
        every: Duration,
        mut report: impl FnMut(Progress),
    ) -> Result<Vec<R>, TaskError>
    where
        R: DeserializeOwned,
    {
        let every = every.max(SHORTEST);
        let begun = Instant::now();
        let first = self.progress();
        let mut progress = first;
        loop {
            progress.before = first.settled();
            progress.elapsed = begun.elapsed();
            report(progress);
            if progress.settled() >= progress.total {
                return self.get();
            }
            progress = self.progress_by(Deadline::after(every));
        }
    }
}

#[cfg(feature = "indicatif")]
mod bar {
    //! Progress as a bar.

    use indicatif::{ProgressBar, ProgressStyle};

    use super::{DeserializeOwned, Duration, MapTask, TaskError};

    /// As often a bar is drawn.
    const FRAME: Duration = Duration::from_millis(50);
    const TEMPLATE: &str = "{bar:40} {human_pos}/{human_len}  {per_sec}, {eta} left{msg}";

    impl<R> MapTask<R> {
        /// As [`get`](Self::get), drawing a bar meanwhile, with the rate and how long the rest will take: on standard
        /// error, if that is a terminal. It is wiped away in the end.
        ///
        /// # Errors
        /// As [`get`](Self::get).
        pub fn get_with_bar(self) -> Result<Vec<R>, TaskError>
        where
            R: DeserializeOwned,
        {
            let bar = ProgressBar::new(0);
            if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
                bar.set_style(style);
            }
            let results = self.get_with_progress(FRAME, |progress| {
                bar.set_length(progress.total as u64);
                bar.set_position(progress.settled() as u64);
                if progress.failed > 0 {
                    bar.set_message(format!(", {} failed", progress.failed));
                }
            });
            bar.finish_and_clear();
            results
        }
    }

    #[cfg(test)]
    #[test]
    fn the_template_is_one() {
        ProgressStyle::with_template(TEMPLATE).unwrap();
    }
}
