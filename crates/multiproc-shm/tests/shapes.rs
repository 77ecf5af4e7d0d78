//! Arrays of more than one dimension, here and in other processes.

#![cfg(not(loom))]

use std::io;
use std::time::Duration;

use multiproc_process::Process;
use multiproc_shm::SharedArray;
use multiproc_testkit::within;

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_shape_travels_with_its_handle() {
    let matrix = SharedArray::<f32>::with_shape(&[3, 4, 5]).unwrap();
    assert_eq!((matrix.len(), matrix.shape()), (60, &[3, 4, 5][..]));
    let flat = matrix.clone().reshape(&[60]).unwrap();
    let change = |(matrix, flat): (SharedArray<f32>, SharedArray<f32>)| {
        matrix.lock().unwrap().view_mut()[[2, 3, 4]] = 1.0;
        (matrix.shape().to_vec(), flat.shape().to_vec(), matrix)
    };
    let child = Process::spawn(change, (matrix.clone(), flat)).unwrap();
    let (shape, flat, back) = within(LIMIT, move || child.join().unwrap());
    assert_eq!((shape, flat), (vec![3, 4, 5], vec![60]));
    assert_eq!(back.shape(), [3, 4, 5]);
    assert_eq!(matrix.lock().unwrap()[59], 1.0);
    drop(back);
    let frozen = matrix.freeze().unwrap();
    assert_eq!(frozen.shape(), [3, 4, 5]);
    assert_eq!(frozen.view()[[2, 3, 4]], 1.0);
}

#[test]
fn views_are_of_the_elements_themselves() {
    let matrix = SharedArray::from_slice(&[1, 2, 3, 4, 5, 6]).unwrap();
    let matrix = matrix.reshape(&[2, 3]).unwrap();
    let mut elements = matrix.lock().unwrap();
    assert_eq!(elements.view().t().shape(), [3, 2]);
    assert_eq!(
        elements
            .view()
            .sum_axis(ndarray::Axis(0))
            .as_slice()
            .unwrap(),
        [5, 7, 9]
    );
    elements.view_mut().swap_axes(0, 1);
    elements.view_mut().mapv_inplace(|n| n * 10);
    assert_eq!(*elements, [10, 20, 30, 40, 50, 60]);
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let array = SharedArray::<u8>::zeroed(6).unwrap();
    for shape in [&[2, 2][..], &[], &[7], &[usize::MAX, usize::MAX, 6]] {
        let error = array.clone().reshape(shape).unwrap_err();
        assert!(error.to_string().contains("has no shape"), "{error}");
    }
    for shape in [&[][..], &[usize::MAX, 2], &[0, usize::MAX, 2]] {
        let error = SharedArray::<u8>::with_shape(shape).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
    }
    let empty = SharedArray::<u8>::with_shape(&[0, 9]).unwrap();
    assert!(empty.is_empty() && empty.lock().unwrap().view().shape() == [0, 9]);
    // From whoever makes the bytes of a handle by hand.
    let mut bytes = vec![];
    let handoff = multiproc_wire::encode(&array, &mut bytes).unwrap();
    let segment = &bytes[..bytes.len() - 1];
    let forged = |shape: Option<Vec<u64>>| {
        let mut bytes = segment.to_vec();
        let plain = multiproc_wire::encode(&shape, &mut bytes).unwrap();
        assert!(plain.is_empty());
        multiproc_wire::decode::<SharedArray<u8>>(&bytes, handoff.handles().to_vec())
    };
    assert_eq!(forged(Some(vec![3, 2])).unwrap().shape(), [3, 2]);
    assert!(forged(Some(vec![3, 3])).is_err());
    assert!(forged(Some(vec![u64::MAX; 2])).is_err());
    assert!(forged(Some([vec![6], vec![1; 100]].concat())).is_err());
}
