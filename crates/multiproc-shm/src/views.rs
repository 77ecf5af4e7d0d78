//! Shared arrays as views of the crate `ndarray`.

use bytemuck::Pod;
use ndarray::{ArrayViewD, ArrayViewMutD, IxDyn};

use crate::array::ArrayGuard;
use crate::frozen::FrozenArray;

const FITS: &str = "a shape fits its array";

impl<T: Pod> ArrayGuard<'_, T> {
    /// The elements in the array's [shape](Self::shape). Needs the feature `ndarray`.
    ///
    /// ```
    /// use multiproc_shm::SharedArray;
    ///
    /// let image = SharedArray::<f64>::with_shape(&[2, 3])?;
    /// let mut elements = image.lock().unwrap();
    /// elements.view_mut()[[1, 2]] = 0.5;
    /// elements.view_mut().index_axis_mut(ndarray::Axis(0), 0).fill(1.0);
    /// assert_eq!(*elements, [1.0, 1.0, 1.0, 0.0, 0.0, 0.5]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "a shape fits its array")]
    pub fn view(&self) -> ArrayViewD<'_, T> {
        ArrayViewD::from_shape(IxDyn(self.shape()), self).expect(FITS)
    }

    /// As [`view`](Self::view), to change.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "a shape fits its array")]
    pub fn view_mut(&mut self) -> ArrayViewMutD<'_, T> {
        let shape = IxDyn(self.shape());
        ArrayViewMutD::from_shape(shape, self).expect(FITS)
    }
}

impl<T: Pod> FrozenArray<T> {
    /// The elements in the array's [shape](Self::shape). Needs the feature `ndarray`.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "a shape fits its array")]
    pub fn view(&self) -> ArrayViewD<'_, T> {
        ArrayViewD::from_shape(IxDyn(self.shape()), self).expect(FITS)
    }
}
