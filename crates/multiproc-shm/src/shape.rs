//! How the elements of an array are arranged: row after row, in as many dimensions as one likes.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// The lengths of an array's dimensions, of which the last is that of neighbours in memory.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    flat: [usize; 1],
    /// Of any other than the flat one.
    dimensions: Option<Arc<[usize]>>,
}

/// As many dimensions are taken from another process.
const MAX_DIMENSIONS: usize = 64;

impl Shape {
    pub(crate) fn flat(length: usize) -> Shape {
        Shape {
            flat: [length],
            dimensions: None,
        }
    }

    /// A shape for an array of `length` elements.
    pub(crate) fn new(dimensions: &[usize], length: usize) -> Result<Shape, ShapeError> {
        if product(dimensions) != Some(length) {
            return Err(ShapeError {
                dimensions: dimensions.into(),
                length,
            });
        }
        let is_flat = dimensions == [length];
        Ok(Shape {
            flat: [length],
            dimensions: (!is_flat).then(|| dimensions.into()),
        })
    }

    pub(crate) fn dimensions(&self) -> &[usize] {
        self.dimensions.as_deref().unwrap_or(&self.flat)
    }

    /// As it travels: nothing where it is flat.
    pub(crate) fn sent(&self) -> Option<&[usize]> {
        self.dimensions.as_deref()
    }

    pub(crate) fn received(sent: Option<Vec<usize>>, length: usize) -> Result<Shape, &'static str> {
        let Some(dimensions) = sent else {
            return Ok(Shape::flat(length));
        };
        if dimensions.len() > MAX_DIMENSIONS {
            return Err("the received array has too many dimensions");
        }
        Shape::new(&dimensions, length).map_err(|_| "the received shape is of another array")
    }
}

/// How many elements there are in an array of these dimensions; `None` where there are no dimensions, or an
/// address could not be computed from them, also if another dimension is zero.
pub(crate) fn product(dimensions: &[usize]) -> Option<usize> {
    let mut lengths = dimensions.iter().filter(|length| **length != 0);
    let product = lengths.try_fold(1_usize, |product, &length| product.checked_mul(length))?;
    isize::try_from(product).ok()?;
    let product = if dimensions.contains(&0) { 0 } else { product };
    (!dimensions.is_empty()).then_some(product)
}

/// An array cannot be arranged in these dimensions: it has another number of elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeError {
    dimensions: Box<[usize]>,
    length: usize,
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ShapeError { dimensions, length } = self;
        write!(
            f,
            "an array of {length} elements has no shape {dimensions:?}"
        )
    }
}

impl Error for ShapeError {}
