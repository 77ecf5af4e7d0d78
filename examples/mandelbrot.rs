//! All workers draw into one shared image, a row each, in place; this process shows how far they are, and writes a PNG.
//!
//! `cargo run --release --example mandelbrot [FILE]`; without a file, it is `target/mandelbrot.png` of this repository.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use multiproc::{Pool, RawValue, SharedArray};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/mandelbrot.png");
const WIDTH: usize = 960;
const HEIGHT: usize = 640;
/// Red, green, blue.
const BYTES: usize = 3;
const MOST_STEPS: u32 = 1000;

/// What a worker does with a row; it counts those that are done.
fn draw(row: &mut [u8], (y, done): (usize, RawValue<u32>)) {
    for (x, pixel) in row.chunks_exact_mut(BYTES).enumerate() {
        let scale = 3.0 / WIDTH as f64;
        let re = (x as f64 - WIDTH as f64 * 0.72) * scale;
        let im = (y as f64 - HEIGHT as f64 * 0.5) * scale;
        pixel.copy_from_slice(&colour(steps(re, im)));
    }
    done.as_atomic().fetch_add(1, Relaxed);
}

/// After how many steps the point has left the circle of radius 2, if it ever does.
fn steps(re: f64, im: f64) -> Option<u32> {
    let (mut x, mut y) = (0.0, 0.0);
    (0..MOST_STEPS).find(|_| {
        (x, y) = (x * x - y * y + re, 2.0 * x * y + im);
        x * x + y * y > 4.0
    })
}

fn colour(steps: Option<u32>) -> [u8; BYTES] {
    let Some(steps) = steps else {
        return [0, 0, 0];
    };
    const WARMEST: u32 = 50;
    let warmth = steps.min(WARMEST);
    let part = |most: u32| u8::try_from(most * warmth / WARMEST).unwrap_or(u8::MAX);
    [part(255), part(230 * warmth / WARMEST), 70 + part(100)]
}

fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args_os()
        .nth(1)
        .map_or_else(|| FILE.into(), PathBuf::from);
    let workers = thread::available_parallelism()?.get();
    let pool = Pool::new(workers)?;
    let mut image = SharedArray::<u8>::zeroed(WIDTH * HEIGHT * BYTES)?;
    let done = RawValue::new(0_u32)?;

    let begun = Instant::now();
    thread::scope(|scope| {
        let bar = ProgressBar::new(HEIGHT as u64);
        let drawn = scope
            .spawn(|| pool.for_each_chunk_mut_with(&mut image, WIDTH * BYTES, done.clone(), draw));
        let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} rows, {eta} left")?;
        bar.set_style(style);
        while !drawn.is_finished() {
            bar.set_position(done.get().into());
            thread::sleep(Duration::from_millis(20));
        }
        bar.finish_and_clear();
        drawn.join().map_err(|_| "the drawing thread panicked")??;
        Ok::<(), Box<dyn Error>>(())
    })?;
    let took = begun.elapsed();

    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let output = BufWriter::new(File::create(&file)?);
    let mut encoder = png::Encoder::new(output, u32::try_from(WIDTH)?, u32::try_from(HEIGHT)?);
    encoder.set_color(png::ColorType::Rgb);
    let pixels = image
        .lock()
        .map_err(|_| "a worker has left the image half drawn")?;
    encoder.write_header()?.write_image_data(&pixels)?;
    let inside = pixels
        .chunks_exact(BYTES)
        .filter(|pixel| *pixel == [0, 0, 0])
        .count();
    println!(
        "{HEIGHT} rows by {workers} workers in {took:.1?}, {inside} points inside: {}",
        file.display()
    );
    Ok(())
}
