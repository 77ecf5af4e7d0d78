//! Functions that are called in another process running the same image.
//!
//! A [`Function`] is sent as two places in loaded images: that of its code, and that of an entry, a
//! constant which exists once for each pair of argument and result type and knows how to decode the one,
//! call, and encode the other. The receiver checks that the entry's place is constant memory of an image
//! of the same identity, aligned, and carries the entry's mark and the fingerprint of the types; that the
//! code's place is executable memory; and only then calls. Addresses are call targets, never identities:
//! the compiler may give two functions one address.
//!
//! Trust runs from parent to child: whoever can send a `FunctionRef` decides what the receiver runs.

use std::any::TypeId;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::marker::PhantomData;

use multiproc_sys::image::{self, Location, Region};
use multiproc_wire::handoff::Lender;
use multiproc_wire::{Decoder, Encoder, Handoff, Panic, decode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::panics::{self, Report};

/// A function that another process can be asked to call.
pub struct Function<A, R> {
    call: fn(A) -> R,
}

impl<A, R> Clone for Function<A, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A, R> Copy for Function<A, R> {}

impl<A, R> fmt::Debug for Function<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function")
            .field("type", &std::any::type_name::<fn(A) -> R>())
            .finish()
    }
}

impl<A: DeserializeOwned + 'static, R: Serialize + 'static> Function<A, R> {
    /// For this function.
    #[must_use]
    pub fn new(call: fn(A) -> R) -> Function<A, R> {
        Function { call }
    }

    /// A number that is equal for equal calls within this process: the function's and its entry's
    /// address. For caches; two functions that the compiler has made one are one here too.
    #[must_use]
    pub fn key(self) -> (usize, usize) {
        (
            self.call as *const () as usize,
            std::ptr::from_ref(Typed::<A, R>::ENTRY).addr(),
        )
    }

    /// The function as it can be sent.
    ///
    /// # Errors
    /// Where the function is in no image that another process could have loaded (made at run time).
    pub fn reference(self) -> Result<FunctionRef, LocateError> {
        let (code, entry) = self.key();
        let types = std::any::type_name::<fn(A) -> R>();
        let locate = |address| image::locate(address).ok_or(LocateError { types });
        Ok(FunctionRef {
            code: Place::from(locate(code)?),
            entry: Place::from(locate(entry)?),
            fingerprint: fingerprint::<A, R>(),
        })
    }
}

/// How a function of these types is called from bytes.
struct Typed<A, R>(PhantomData<fn(A) -> R>);

impl<A: DeserializeOwned + 'static, R: Serialize + 'static> Typed<A, R> {
    const ENTRY: &'static Entry = &Entry {
        mark: MARK,
        fingerprint: fingerprint::<A, R>,
        call: call::<A, R>,
        run: run::<A, R>,
    };
}

const MARK: u64 = u64::from_le_bytes(*b"mp-entry");

/// What is known of a pair of types, as a constant of the image.
#[repr(C)]
struct Entry {
    mark: u64,
    fingerprint: fn() -> u64,
    /// # Safety
    /// The first argument is the address of a `fn(A) -> R` of the entry's types.
    call: unsafe fn(*const (), Report, Decoder<'_>, &mut Encoder<'_>) -> Outcome,
    /// # Safety
    /// As for `call`.
    run: unsafe fn(*const (), Report, &mut dyn Batch<'_>),
}

fn fingerprint<A: 'static, R: 'static>() -> u64 {
    let mut hasher = DefaultHasher::new();
    TypeId::of::<fn(A) -> R>().hash(&mut hasher);
    hasher.finish()
}

/// How a call in another process went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It returned, and its result is encoded.
    Returned,
    /// It panicked. Boxed, since an outcome is moved for every call, and a panic is rare and large.
    Panicked(Box<Panic>),
    /// Its argument could not be decoded; it was not called.
    ArgumentsLost(String),
    /// It returned, but its result cannot be encoded.
    ResultLost(String),
}

/// # Safety
/// `code` is the address of a `fn(A) -> R`.
unsafe fn call<A: DeserializeOwned, R: Serialize>(
    code: *const (),
    report: Report,
    arguments: Decoder<'_>,
    results: &mut Encoder<'_>,
) -> Outcome {
    // SAFETY: the caller vouches that it is such a function; a function pointer is an address.
    let function = unsafe { std::mem::transmute::<*const (), fn(A) -> R>(code) };
    // Decoding and encoding run code of the user's too, which may panic.
    let result = panics::catch(report, || match arguments.only::<A>() {
        Ok(arguments) => match results.encode(&function(arguments)) {
            Ok(()) => Outcome::Returned,
            Err(error) => Outcome::ResultLost(error.to_string()),
        },
        Err(error) => Outcome::ArgumentsLost(error.to_string()),
    });
    result.unwrap_or_else(Outcome::Panicked)
}

/// Arguments of one function, one after the other, and what becomes of each. What is in here must not panic.
pub trait Batch<'a> {
    /// The next argument, encoded, which has no handles. `None` ends it.
    fn next(&mut self) -> Option<&'a [u8]>;

    /// By which long runs of bytes in results are lent to whom they go to, if they are.
    fn lender(&self) -> Option<&'static Lender> {
        None
    }

    /// At the end of which the result of that argument is to be encoded.
    fn result(&mut self) -> &mut Vec<u8>;

    /// The function has returned. Its result is encoded, and hands this over.
    fn returned(&mut self, handoff: Handoff);

    /// There is no result; of what was encoded of it some may be left.
    fn failed(&mut self, outcome: Outcome);
}

/// # Safety
/// As for [`call`].
unsafe fn run<A: DeserializeOwned, R: Serialize>(
    code: *const (),
    report: Report,
    batch: &mut dyn Batch<'_>,
) {
    // SAFETY: as in `call`.
    let function = unsafe { std::mem::transmute::<*const (), fn(A) -> R>(code) };
    let lender = batch.lender();
    // As many as go well share one preparation for a panic.
    while let Err(panic) = panics::catch(report, || {
        while let Some(argument) = batch.next() {
            match one(function, argument, lender, batch.result()) {
                Ok(handoff) => batch.returned(handoff),
                Err(outcome) => batch.failed(outcome),
            }
        }
    }) {
        batch.failed(Outcome::Panicked(panic));
    }
}

#[inline]
fn one<A: DeserializeOwned, R: Serialize>(
    function: fn(A) -> R,
    argument: &[u8],
    lender: Option<&'static Lender>,
    results: &mut Vec<u8>,
) -> Result<Handoff, Outcome> {
    let argument =
        decode(argument, Vec::new()).map_err(|error| Outcome::ArgumentsLost(error.to_string()))?;
    let mut results = Encoder::new(results).lending(lender);
    results
        .encode(&function(argument))
        .map_err(|error| Outcome::ResultLost(error.to_string()))?;
    Ok(results.finish())
}

/// Calls what is here already, as [`Callable::call`] calls what was named.
pub(crate) fn call_closure<R: Serialize>(
    report: Report,
    run: impl FnOnce() -> R,
    results: &mut Encoder<'_>,
) -> Outcome {
    let result = panics::catch(report, || match results.encode(&run()) {
        Ok(()) => Outcome::Returned,
        Err(error) => Outcome::ResultLost(error.to_string()),
    });
    result.unwrap_or_else(Outcome::Panicked)
}

/// A function of the sender's image, as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FunctionRef {
    code: Place,
    entry: Place,
    fingerprint: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) image: Vec<u8>,
    pub(crate) offset: u64,
}

impl From<Location> for Place {
    fn from(location: Location) -> Place {
        Place {
            image: location.image,
            offset: location.offset,
        }
    }
}

impl Place {
    fn location(&self) -> Location {
        Location {
            image: self.image.clone(),
            offset: self.offset,
        }
    }

    pub(crate) fn resolve(&self, region: Region) -> Result<usize, ResolveError> {
        image::resolve(&self.location(), region).ok_or_else(|| self.refused(region))
    }

    /// What is there is not what was named.
    pub(crate) fn refused(&self, region: Region) -> ResolveError {
        ResolveError {
            location: self.location(),
            region,
        }
    }
}

impl FunctionRef {
    /// The function in this process.
    ///
    /// # Errors
    /// Where this process has not loaded the image it is in, or there is no such function in it.
    pub fn resolve(&self) -> Result<Callable, ResolveError> {
        let code = self.code.resolve(Region::Code)?;
        let address = self.entry.resolve(Region::Constant)?;
        let refuse = || self.entry.refused(Region::Constant);
        let last = self
            .entry
            .offset
            .checked_add(size_of::<Entry>() as u64 - 1)
            .ok_or_else(refuse)?;
        Place {
            image: self.entry.image.clone(),
            offset: last,
        }
        .resolve(Region::Constant)?;
        if !address.is_multiple_of(align_of::<Entry>()) {
            return Err(refuse());
        }
        let entry = std::ptr::with_exposed_provenance::<Entry>(address);
        // SAFETY: both ends lie in constant memory of a loaded image, which is initialised for good,
        // and the address is aligned; `mark` is the first field, and any 8 bytes are a number.
        if unsafe { entry.cast::<u64>().read() } != MARK {
            return Err(refuse());
        }
        // SAFETY: constant memory that begins with the mark which only entries carry.
        let entry = unsafe { &*entry };
        if (entry.fingerprint)() != self.fingerprint {
            return Err(refuse());
        }
        Ok(Callable { code, entry })
    }
}

/// A function of this process that was named by another.
#[derive(Clone, Copy)]
pub struct Callable {
    code: usize,
    entry: &'static Entry,
}

impl Callable {
    /// Decodes the argument, which is all there is, calls the function with it, and encodes its result.
    pub fn call(
        self,
        report: Report,
        arguments: Decoder<'_>,
        results: &mut Encoder<'_>,
    ) -> Outcome {
        let code = std::ptr::with_exposed_provenance(self.code);
        // SAFETY: the sender had a `fn(A) -> R` there, and the entry's fingerprint is that of its types;
        // the image is the same build.
        unsafe { (self.entry.call)(code, report, arguments, results) }
    }

    /// As [`call`](Self::call), with one argument after the other.
    pub fn run(self, report: Report, batch: &mut dyn Batch<'_>) {
        let code = std::ptr::with_exposed_provenance(self.code);
        // SAFETY: as in `call`.
        unsafe { (self.entry.run)(code, report, batch) }
    }
}

impl fmt::Debug for Callable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callable")
            .field("code", &self.code)
            .finish_non_exhaustive()
    }
}

/// A function that no other process can find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocateError {
    pub(crate) types: &'static str,
}

impl fmt::Display for LocateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the function of type `{}` is in no loaded image",
            self.types
        )
    }
}

impl std::error::Error for LocateError {}

/// A function that was named by another process and is not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolveError {
    location: Location,
    region: Region,
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.region {
            Region::Code => "function",
            Region::Constant => "function type",
        };
        write!(
            f,
            "there is no such {what} in this process, at {}; is it in a library that is not loaded here?",
            self.location
        )
    }
}

impl std::error::Error for ResolveError {}

pub use crate::method::{Method, MethodRef};
pub use crate::panics::Report as PanicReport;

#[cfg(test)]
mod tests {
    use super::*;

    fn call_here(reference: &FunctionRef, argument: &[u8]) -> (Outcome, Vec<u8>) {
        let callable = reference.resolve().unwrap();
        let mut bytes = vec![];
        let mut encoder = Encoder::new(&mut bytes);
        let decoder = Decoder::new(argument, vec![]);
        let outcome = callable.call(Report::Quiet, decoder, &mut encoder);
        drop(encoder);
        (outcome, bytes)
    }

    #[test]
    fn a_reference_calls_the_function_it_was_made_of() {
        let double = Function::new(|n: u8| n * 2).reference().unwrap();
        let text = Function::new(|n: u8| n.to_string()).reference().unwrap();
        assert_eq!(call_here(&double, &[21]), (Outcome::Returned, vec![42]));
        assert_eq!(call_here(&text, &[7]), (Outcome::Returned, vec![1, b'7']));
        assert!(matches!(
            call_here(&double, &[]).0,
            Outcome::ArgumentsLost(_)
        ));
    }

    #[test]
    fn a_panic_is_an_outcome() {
        let reference = Function::new(|n: u8| 1 / n).reference().unwrap();
        let (Outcome::Panicked(panic), _) = call_here(&reference, &[0]) else {
            panic!("no panic")
        };
        assert!(panic.message.contains("divide by zero"), "{panic}");
        assert!(panic.location.unwrap().contains("function.rs"));
        assert_eq!(call_here(&reference, &[1]).0, Outcome::Returned);
    }

    /// Bytes that are an argument each, and what became of them.
    struct Bytes<'a> {
        left: std::slice::Iter<'a, u8>,
        result: Vec<u8>,
        ends: Vec<Result<Vec<u8>, Outcome>>,
    }

    impl<'a> Batch<'a> for Bytes<'a> {
        fn next(&mut self) -> Option<&'a [u8]> {
            self.result.clear();
            self.left.next().map(std::slice::from_ref)
        }

        fn result(&mut self) -> &mut Vec<u8> {
            &mut self.result
        }

        fn returned(&mut self, handoff: Handoff) {
            assert!(handoff.is_empty());
            self.ends.push(Ok(self.result.clone()));
        }

        fn failed(&mut self, outcome: Outcome) {
            self.ends.push(Err(outcome));
        }
    }

    #[test]
    fn each_of_many_arguments_has_its_own_end() {
        let arguments = [2, 0, 255, 4];
        let reference = Function::new(|n: i8| 4 / (n + 1) - 3 / n).reference();
        let mut bytes = Bytes {
            left: arguments.iter(),
            result: vec![],
            ends: vec![],
        };
        let callable = reference.unwrap().resolve().unwrap();
        callable.run(Report::Quiet, &mut bytes);
        let panicked = |end: &Result<Vec<u8>, Outcome>| matches!(end, Err(Outcome::Panicked(_)));
        assert_eq!(bytes.ends[0], Ok(vec![0]));
        assert!(panicked(&bytes.ends[1]));
        // 255 is -1.
        assert!(panicked(&bytes.ends[2]));
        assert_eq!(bytes.ends[3], Ok(vec![0]));
        assert_eq!(bytes.ends.len(), 4);
    }

    #[test]
    fn what_is_no_function_is_refused() {
        let good = Function::new(|n: u8| n).reference().unwrap();
        let mut odd = vec![];
        odd.push(FunctionRef {
            fingerprint: good.fingerprint ^ 1,
            ..good.clone()
        });
        odd.push(FunctionRef {
            code: good.entry.clone(),
            ..good.clone()
        });
        odd.push(FunctionRef {
            entry: good.code.clone(),
            ..good.clone()
        });
        for shift in [1, 8, 1 << 40, u64::MAX - good.entry.offset] {
            let entry = Place {
                offset: good.entry.offset + shift,
                ..good.entry.clone()
            };
            odd.push(FunctionRef {
                entry,
                ..good.clone()
            });
        }
        let elsewhere = Place {
            image: b"elsewhere".to_vec(),
            ..good.code.clone()
        };
        odd.push(FunctionRef {
            code: elsewhere,
            ..good
        });
        for reference in odd {
            assert!(reference.resolve().is_err(), "{reference:?}");
        }
    }
}
