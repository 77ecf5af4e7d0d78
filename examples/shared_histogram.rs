//! Four processes count how bright the pixels of one image are, in one histogram that they share.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::ops::Range;

use multiproc::{Process, SharedArray};

const WIDTH: usize = 320;
const HEIGHT: usize = 240;
const BINS: usize = 16;
const WORKERS: usize = 4;

/// A bright spot that fades towards the edges, and stripes across it.
fn pixel(x: usize, y: usize) -> u8 {
    let (dx, dy) = (x.abs_diff(WIDTH / 2), y.abs_diff(HEIGHT / 2));
    let fade = (dx * dx + dy * dy) / 160;
    let stripe = if ((x + y) / 20).is_multiple_of(2) {
        0
    } else {
        48
    };
    u8::try_from(255 - (fade + stripe).min(255)).unwrap()
}

fn count((image, histogram, rows): (SharedArray<u8>, SharedArray<u32>, Range<usize>)) {
    for row in rows {
        // A copy, so that the others need not wait for the image.
        let pixels = image.lock().unwrap()[row * WIDTH..][..WIDTH].to_vec();
        let mut histogram = histogram.lock().unwrap();
        for brightness in pixels {
            histogram[usize::from(brightness) * BINS / 256] += 1;
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let pixels: Vec<u8> = (0..HEIGHT)
        .flat_map(|y| (0..WIDTH).map(move |x| pixel(x, y)))
        .collect();
    let image = SharedArray::from_slice(&pixels)?;
    let histogram = SharedArray::<u32>::zeroed(BINS)?;

    let band = HEIGHT / WORKERS;
    let workers: Vec<Process> = (0..WORKERS)
        .map(|worker| {
            let rows = worker * band..(worker + 1) * band;
            Process::spawn(count, (image.clone(), histogram.clone(), rows))
        })
        .collect::<Result<_, _>>()?;
    for worker in workers {
        worker.join()?;
    }

    let counts = histogram.to_vec()?;
    let most = counts.iter().max().copied().unwrap_or(1);
    for (bin, count) in counts.iter().enumerate() {
        let bar = "#".repeat((count * 50).div_ceil(most) as usize);
        println!("{:>3} {count:>6} {bar}", bin * 256 / BINS);
    }
    println!("    {:>6} pixels", counts.iter().sum::<u32>());
    Ok(())
}
