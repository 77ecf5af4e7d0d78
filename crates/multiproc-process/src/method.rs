//! Functions with a state: found in another process as [`FunctionRef`](crate::function::FunctionRef)s are, and then called from Rust.

use std::any::TypeId;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use multiproc_sys::image::{self, Region};
use serde::{Deserialize, Serialize};

use crate::function::{LocateError, Place, ResolveError};

/// A function that works on a state, and that another process can be asked for.
pub struct Method<S: ?Sized, A, R> {
    call: fn(&mut S, A) -> R,
}

impl<S: ?Sized + 'static, A: 'static, R: 'static> Method<S, A, R> {
    /// For this function.
    #[must_use]
    pub fn new(call: fn(&mut S, A) -> R) -> Method<S, A, R> {
        Method { call }
    }

    /// The function as it can be sent.
    ///
    /// # Errors
    /// Where the function is in no image that another process could have loaded (made at run time).
    pub fn reference(self) -> Result<MethodRef, LocateError> {
        let types = std::any::type_name::<fn(&mut S, A) -> R>();
        let location = image::locate(self.call as *const () as usize);
        Ok(MethodRef {
            code: Place::from(location.ok_or(LocateError { types })?),
            fingerprint: fingerprint::<S, A, R>(),
        })
    }

    /// The function that was sent, in this process.
    ///
    /// # Errors
    /// Where this process has not loaded the image it is in, or it is of other types.
    pub fn resolve(reference: &MethodRef) -> Result<fn(&mut S, A) -> R, ResolveError> {
        let code = reference.code.resolve(Region::Code)?;
        if reference.fingerprint != fingerprint::<S, A, R>() {
            return Err(reference.code.refused(Region::Code));
        }
        let code = std::ptr::with_exposed_provenance::<()>(code);
        // SAFETY: the sender had a `fn(&mut S, A) -> R` there, of which the fingerprint tells the types, and the
        // image is the same build; a function pointer is an address.
        Ok(unsafe { std::mem::transmute::<*const (), fn(&mut S, A) -> R>(code) })
    }
}

impl<S: ?Sized, A, R> fmt::Debug for Method<S, A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Method")
            .field("type", &std::any::type_name::<fn(&mut S, A) -> R>())
            .finish()
    }
}

fn fingerprint<S: ?Sized + 'static, A: 'static, R: 'static>() -> u64 {
    let mut hasher = DefaultHasher::new();
    TypeId::of::<fn(&mut S, A) -> R>().hash(&mut hasher);
    hasher.finish()
}

/// A [`Method`] of the sender's image, as it travels. Trust runs from parent to child, as with a
/// [`FunctionRef`](crate::function::FunctionRef).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MethodRef {
    code: Place,
    fingerprint: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_leads_to_the_method_it_was_made_of_and_to_no_other_type() {
        let add = |sum: &mut u32, n: u8| {
            *sum += u32::from(n);
            *sum
        };
        let reference = Method::new(add).reference().unwrap();
        let found = Method::<u32, u8, u32>::resolve(&reference).unwrap();
        let mut sum = 40;
        assert_eq!((found(&mut sum, 2), sum), (42, 42));
        assert!(Method::<u32, u8, u64>::resolve(&reference).is_err());
        assert!(Method::<u64, u8, u32>::resolve(&reference).is_err());
        let elsewhere = MethodRef {
            code: Place {
                image: b"elsewhere".to_vec(),
                ..reference.code.clone()
            },
            ..reference
        };
        assert!(Method::<u32, u8, u32>::resolve(&elsewhere).is_err());
    }
}
