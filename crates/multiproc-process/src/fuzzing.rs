//! What a child is told and what it says, as functions of bytes: for tests and fuzzers.

use multiproc_wire::{Decoder, Panic, decode, encode};

use crate::function::Function;
use crate::restrictions::Restrictions;
use crate::startup::{self, Order};
use crate::{child, process};

/// Good orders, for [`order`].
///
/// # Panics
/// Where one cannot be encoded.
#[must_use]
pub fn order_seeds() -> Vec<Vec<u8>> {
    let mut bytes = vec![];
    let order = Order {
        function: Function::new(|n: u64| n).reference().ok(),
        print_panics: true,
        tell_start: false,
        restrictions: Restrictions::default(),
        name: "name".into(),
        parents_name: "parent".into(),
        start_method: Some("spawn".into()),
        executable: None,
    };
    encode(&(startup::identity(), order), &mut bytes).expect("an order can be encoded");
    vec![bytes]
}

/// The body of an order: decoded, and its function looked for.
pub fn order(bytes: &[u8]) {
    let mut decoder = Decoder::new(bytes, Vec::new());
    if let Ok((image, order)) = decoder.decode::<(Vec<u8>, Order)>()
        && image == startup::identity()
    {
        drop(order.function.map(|function| function.resolve()));
    }
}

/// Good reports, for [`report`].
///
/// # Panics
/// Where one cannot be encoded.
#[must_use]
pub fn report_seeds() -> Vec<Vec<u8>> {
    let panic = Panic {
        message: "it".into(),
        location: Some("here".into()),
        backtrace: None,
    };
    let mut panicked = vec![child::PANICKED];
    encode(&panic, &mut panicked).expect("a panic can be encoded");
    let text = |kind| [&[kind][..], b"why"].concat();
    vec![
        panicked,
        text(child::RESULT),
        text(child::REFUSED),
        text(child::ARGUMENTS_LOST),
        text(child::RESULT_LOST),
    ]
}

/// A report: its kind, and its body.
pub fn report(bytes: &[u8]) {
    if let Some((kind, body)) = bytes.split_first() {
        drop(process::understand(*kind, body.to_vec(), Vec::new()));
    }
}

/// Good messages between a parent and its fork server, for [`forkserver`].
#[must_use]
pub fn forkserver_seeds() -> Vec<Vec<u8>> {
    crate::forkserver::fuzzing::seeds()
}

/// A message between a parent and its fork server, either way.
///
/// # Panics
/// Where it is understood as what nobody says.
pub fn forkserver(bytes: &[u8]) {
    crate::forkserver::fuzzing::message(bytes);
}

/// A good environment, for [`environment`].
///
/// # Panics
/// Where it cannot be encoded.
#[must_use]
pub fn environment_seeds() -> Vec<Vec<u8>> {
    let some = startup::own_environment().into_iter().take(5);
    let mut bytes = vec![];
    encode(&some.collect::<startup::Environment>(), &mut bytes).expect("one can be encoded");
    vec![bytes]
}

/// The environment that a fork server's child is sent.
pub fn environment(bytes: &[u8]) {
    drop(decode::<startup::Environment>(bytes, Vec::new()));
}

/// The trigger in a child's environment.
pub fn trigger(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _parsed = startup::parse(text);
    }
}

#[cfg(test)]
mod tests;
