//! What can be passed where a task takes an `A`: an `A`, or a borrowed form of it.

use serde::Serialize;

mod sealed {
    //! Which forms there are is this crate's to say: each encodes as the `A` it stands for.

    #[expect(unnameable_types, reason = "that is what seals it")]
    pub trait Sealed<A> {}
}

/// An item that a task takes as an `A`: an `A` itself, a reference to one, or, for strings and vectors, a
/// slice. Borrowed items are encoded from where they are, without being cloned.
pub trait Argument<A>: sealed::Sealed<A> + Serialize {}

macro_rules! argument {
    ($([$($generics:tt)*] $form:ty => $owned:ty;)*) => {$(
        impl<$($generics)*> sealed::Sealed<$owned> for $form {}
        impl<$($generics)*> Argument<$owned> for $form {}
    )*};
}

argument! {
    [A: Serialize] A => A;
    [A: Serialize] &A => A;
    [] &str => String;
    [] &&str => String;
    [A: Serialize] &[A] => Vec<A>;
}
