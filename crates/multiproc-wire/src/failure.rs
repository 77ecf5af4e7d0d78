//! Any error, as what can be said of it.

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

/// An error that can travel: its message and the messages of its sources.
///
/// A fallible task returns `Result<R, Failure>`, and `?` turns every error into one: of the standard
/// library, of one's own, `anyhow::Error`, `Box<dyn Error>`, or plain text.
///
/// ```
/// # use multiproc_wire::Failure;
/// fn first_line(path: String) -> Result<String, Failure> {
///     let text = std::fs::read_to_string(path)?;
///     Ok(text.lines().next().ok_or("the file is empty")?.to_string())
/// }
/// let failure = first_line("/no/such/file".into()).unwrap_err();
/// assert!(failure.message().contains("No such file"));
/// ```
///
/// One kind of box takes a word more, since the standard library does not turn it into the other:
/// `.map_err(|error| error as Box<dyn Error>)?` for `Box<dyn Error + Send + Sync>`.
///
/// Since it is made from every error, it cannot itself implement [`Error`];
/// [`into_error`](Failure::into_error) gives what does.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    message: String,
    sources: Vec<String>,
}

/// More sources than any chain that does not run in circles has.
const MAX_SOURCES: usize = 64;

impl Failure {
    /// What `error` and its chain of sources say.
    #[must_use]
    pub fn new(error: &dyn Error) -> Failure {
        let sources = std::iter::successors(error.source(), |source| (*source).source());
        Failure {
            message: error.to_string(),
            sources: sources.take(MAX_SOURCES).map(ToString::to_string).collect(),
        }
    }

    /// The error's own message.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The messages of its sources, from the nearest to the first cause.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().map(String::as_str)
    }

    /// The same as an [`Error`] with a chain of sources.
    #[must_use]
    pub fn into_error(self) -> FailureError {
        let link = |source, message| Some(Box::new(FailureError { message, source }));
        let source = self.sources.into_iter().rev().fold(None, link);
        FailureError {
            message: self.message,
            source,
        }
    }
}

impl<E: Into<Box<dyn Error>>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::new(&*error.into())
    }
}

impl fmt::Display for Failure {
    /// The message; with `{:#}` the sources too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if f.alternate() {
            self.sources
                .iter()
                .try_for_each(|source| write!(f, ": {source}"))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Failure {
    /// The message and, on lines of their own, the sources: what `main` prints.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.sources
            .iter()
            .try_for_each(|source| write!(f, "\n  caused by: {source}"))
    }
}

/// A [`Failure`] as an [`Error`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureError {
    message: String,
    source: Option<Box<FailureError>>,
}

impl fmt::Display for FailureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for FailureError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &dyn Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[derive(Debug)]
    struct Outer(io::Error);
    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the settings cannot be read")
        }
    }
    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn the_chain_travels_and_comes_back_as_a_chain() {
        let failure = Failure::from(Outer(io::Error::other("disk on fire")));
        let mut bytes = vec![];
        assert!(crate::encode(&failure, &mut bytes).unwrap().is_empty());
        let arrived: Failure = crate::decode(&bytes, vec![]).unwrap();
        assert_eq!(arrived, failure);
        assert_eq!(
            format!("{arrived:#}"),
            "the settings cannot be read: disk on fire"
        );
        assert_eq!(arrived.sources().collect::<Vec<_>>(), ["disk on fire"]);
        let error = arrived.into_error();
        assert_eq!(error.source().unwrap().to_string(), "disk on fire");
    }

    #[test]
    fn question_mark_takes_anyhow_with_its_contexts() {
        use anyhow::Context;
        fn settings() -> anyhow::Result<String> {
            let text = std::fs::read_to_string("/no/such/file");
            text.context("the settings").context("at the start")
        }
        fn task() -> Result<String, Failure> {
            Ok(settings()?)
        }
        let failure = task().unwrap_err();
        assert_eq!(failure.message(), "at the start");
        let sources: Vec<_> = failure.sources().collect();
        assert_eq!(sources[0], "the settings");
        assert!(sources[1].contains("No such file"), "{sources:?}");
    }

    #[test]
    fn a_chain_that_runs_in_circles_ends() {
        #[derive(Debug)]
        struct Circle;
        impl fmt::Display for Circle {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("round")
            }
        }
        impl Error for Circle {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(self)
            }
        }
        assert_eq!(Failure::from(Circle).sources().count(), MAX_SOURCES);
    }

    #[test]
    fn question_mark_takes_boxes_and_text() {
        fn boxed() -> Result<(), Failure> {
            Err(Box::<dyn Error>::from("boxed"))?
        }
        fn text() -> Result<(), Failure> {
            Err("text")?
        }
        fn shared() -> Result<(), Failure> {
            let error = Box::<dyn Error + Send + Sync>::from("shared");
            Err(error).map_err(|error| error as Box<dyn Error>)?
        }
        assert_eq!(shared().unwrap_err().message(), "shared");
        assert_eq!(boxed().unwrap_err().message(), "boxed");
        assert_eq!(text().unwrap_err().message(), "text");
    }
}
