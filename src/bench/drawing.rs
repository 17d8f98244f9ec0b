//! Rates of drawing with a sampler that may work ahead: without fetching, into memory, onto disk.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use super::{BenchError, middle};
use crate::data::{ImageSize, Layout};
use crate::device::cuda::driver::Energy;
use crate::family::EngineError;
use crate::family::Sampler;
use crate::run::generate::{GeneratePlan, generate};
use crate::run::identity::Identity;

/// Images drawn in one go: the latency of one, and what a card needs to be full.
const COUNTS: [u64; 4] = [1, 100, 10_000, 1_000_000];
/// Key of the random numbers.
pub const SEED: u64 = 7;
/// Seconds that a figure of energy takes at the least: the card's counter moves ten times a second.
const ENERGY_SECONDS: f64 = 1.0;

/// A rate of drawing.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct DrawingRate {
    /// Images asked for: 1, 100, 10 000, 1 000 000.
    pub images: u64,
    /// Images drawn in one go: fewer than asked for where those would have taken longer than a figure may.
    pub drawn: u64,
    /// Median of the repeats, images a second.
    pub images_per_second: f64,
}

/// The parts in which a sampler likes to draw images number `first .. first + count`: first image and images.
fn parts(
    sampler: &dyn Sampler,
    first: u64,
    count: u64,
) -> impl Iterator<Item = (u64, usize)> + use<> {
    let step = sampler.preferred_count().max(1) as u64;
    (0..count.div_ceil(step)).map(move |part| {
        let images = step.min(count - part * step);
        (first + part * step, images as usize)
    })
}

/// Draw into the host's memory, each part under way before the one before it is fetched: nonzero pixels.
fn into_memory(sampler: &mut dyn Sampler, first: u64, count: u64) -> Result<usize, EngineError> {
    let mut nonzeros = 0;
    let mut ahead = parts(sampler, first, count);
    let mut next = ahead.next();
    if let Some((first, images)) = next {
        sampler.announce(first, images)?;
    }
    while let Some((first, images)) = next {
        next = ahead.next();
        if let Some((first, images)) = next {
            sampler.announce(first, images)?;
        }
        nonzeros += sampler.sample(first, images)?.nonzeros();
    }
    Ok(nonzeros)
}

/// A folder of this run's own, deleted with all that is in it.
pub struct Folder(pub PathBuf);

impl Folder {
    /// In `within`, or in the temporary directory.
    pub fn new(within: Option<&Path>) -> Result<Self, BenchError> {
        let within = within.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let path = within.join(format!("sarm-bench-{}", std::process::id()));
        match std::fs::create_dir(&path) {
            Ok(()) => Ok(Self(path)),
            Err(source) => Err(BenchError::Folder { path, source }),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(problem) = std::fs::remove_dir_all(&self.0) {
            log::warn!("cannot delete '{}' ({problem})", self.0.display());
        }
    }
}

/// Draw into a file that is deleted again: seconds, bytes of the file.
fn onto_disk(
    sampler: &mut dyn Sampler,
    size: ImageSize,
    first: u64,
    count: u64,
    folder: &Path,
) -> Result<(f64, u64), BenchError> {
    let out = folder.join("images.h5");
    let identity = Identity {
        model: [0; 32],
        condition: [0; 32],
        seed: SEED,
        first,
        count,
        height: size.height as u32,
        width: size.width as u32,
        // The file is deleted, and nothing resumes it.
        arithmetic: String::new(),
    };
    let plan = GeneratePlan::new(&out, identity, Layout::Sparse);
    let begun = Instant::now();
    generate(&plan, sampler, &|_, _| Ok(BTreeMap::new()), &mut |_| {
        ControlFlow::Continue(())
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    let failed = |source| BenchError::Folder {
        path: out.clone(),
        source,
    };
    let bytes = std::fs::metadata(&out).map_err(failed)?.len();
    std::fs::remove_file(&out).map_err(failed)?;
    Ok((seconds, bytes))
}

/// Rates at all [`COUNTS`] by `draw`, which draws so many images and returns the seconds that they took. All take
/// about `seconds` together, and none starts on more images than the count before could have drawn in that time.
fn rates(
    seconds: f64,
    mut draw: impl FnMut(u64) -> Result<f64, BenchError>,
) -> Result<Vec<DrawingRate>, BenchError> {
    let mut found: Vec<DrawingRate> = Vec::new();
    for images in COUNTS {
        let affordable = found.last().map_or(f64::INFINITY, |r| {
            (r.images_per_second * seconds).max(r.drawn as f64)
        });
        let drawn = images.min(affordable as u64);
        let (begun, mut times) = (Instant::now(), Vec::new());
        while times.is_empty() || begun.elapsed().as_secs_f64() < seconds / COUNTS.len() as f64 {
            times.push(draw(drawn)?);
        }
        found.push(DrawingRate {
            images,
            drawn,
            images_per_second: drawn as f64 / middle(times).max(1e-9),
        });
    }
    Ok(found)
}

/// What a sampler does.
pub struct Measured {
    /// Fraction of nonzero pixels drawn.
    pub occupancy: f64,
    /// Without fetching.
    pub on_card: Vec<DrawingRate>,
    /// Into the host's memory.
    pub into_memory: Vec<DrawingRate>,
    /// Into a file.
    pub onto_disk: Vec<DrawingRate>,
    /// Bytes a second of the largest file.
    pub disk_bytes_per_second: f64,
    /// Images for a joule, and watts, on the way into memory.
    pub energy: Option<(f64, f64)>,
}

/// Measure `sampler`, of images of `size`, about so many seconds a figure after so many images at first. `on_card`: seconds of drawing without
/// fetching.
pub fn measure<S: Sampler>(
    sampler: &mut S,
    size: ImageSize,
    on_card: impl Fn(&mut S, u64, usize) -> Result<f64, EngineError>,
    energy: Option<&Energy>,
    (seconds, at_first): (f64, usize),
    folder: &Path,
) -> Result<Measured, BenchError> {
    // Never the same image twice. The first call allocates.
    let mut next = at_first.max(1) as u64;
    into_memory(sampler, 0, next)?;
    let mut take = move |count: u64| {
        next += count;
        next - count
    };
    let on_card = rates(seconds, |count| {
        let first = take(count);
        let times =
            parts(sampler, first, count).map(|(first, images)| on_card(sampler, first, images));
        Ok(times.sum::<Result<f64, _>>()?)
    })?;
    let (mut images, mut nonzeros) = (0, 0);
    let mut fetch = |sampler: &mut S, count: u64| {
        let begun = Instant::now();
        nonzeros += into_memory(sampler, take(count), count)?;
        images += count;
        Ok::<_, EngineError>(begun.elapsed().as_secs_f64())
    };
    let into_memory = rates(seconds, |count| Ok(fetch(sampler, count)?))?;
    let most = into_memory.last().map_or(1, |r| r.drawn);
    let energy = match energy {
        None => None,
        Some(energy) => {
            let (before, begun, mut drawn) = (energy.joules(), Instant::now(), 0);
            while begun.elapsed().as_secs_f64() < seconds.max(ENERGY_SECONDS) {
                fetch(sampler, most)?;
                drawn += most;
            }
            let seconds = begun.elapsed().as_secs_f64();
            let joules = before.and_then(|before| Some(energy.joules()? - before));
            joules
                .filter(|joules| *joules > 0.0)
                .map(|joules| (drawn as f64 / joules, joules / seconds))
        }
    };
    let occupancy = nonzeros as f64 / (images as f64 * (size.height * size.width) as f64);
    let mut disk_bytes_per_second = 0.0;
    let onto_disk = rates(seconds, |count| {
        let (seconds, bytes) = onto_disk(sampler, size, take(count), count, folder)?;
        disk_bytes_per_second = bytes as f64 / seconds.max(1e-9);
        Ok(seconds)
    })?;
    Ok(Measured {
        occupancy,
        on_card,
        into_memory,
        onto_disk,
        disk_bytes_per_second,
        energy,
    })
}

/// The rate at the largest count.
pub fn largest(rates: &[DrawingRate]) -> f64 {
    rates.last().map_or(0.0, |r| r.images_per_second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::SparseImages;
    use crate::families::sarm::Config;
    use crate::families::sarm::Engine;
    use crate::families::sarm::Sarm;
    use crate::families::sarm::cpu::CpuEngine;
    use crate::family::SamplingPlan;
    use crate::family::several::Several;
    use crate::synthetic;

    const OCCUPANCY: f64 = 0.2;

    fn model(side: usize) -> Sarm {
        let size = ImageSize {
            height: side,
            width: side,
        };
        let text = include_str!("../../configs/paper/jets-dc.toml");
        let mut model = Sarm::new(Config::parse(text).unwrap().resolve(size).unwrap()).unwrap();
        synthetic::randomise(&mut model, 1, OCCUPANCY);
        model
    }

    /// A sampler that counts what it is asked for.
    struct Counting {
        drawn: Vec<(u64, usize)>,
        announced: Vec<(u64, usize)>,
    }

    impl Sampler for Counting {
        fn announce(&mut self, first: u64, count: usize) -> Result<(), EngineError> {
            self.announced.push((first, count));
            Ok(())
        }

        fn sample(&mut self, first: u64, count: usize) -> Result<SparseImages, EngineError> {
            let (first_asked, parts) = (self.announced[0].0, self.announced.len());
            // The next part is under way, unless this is the last.
            assert!(parts == self.drawn.len() + 2 || first + count as u64 == first_asked + 25);
            self.drawn.push((first, count));
            let mut images = SparseImages::new(5, 5).unwrap();
            (0..count).for_each(|_| images.push([(3, 1.0), (4, 1.0)]));
            Ok(images)
        }

        fn preferred_count(&self) -> usize {
            10
        }
    }

    #[test]
    fn every_part_is_announced_before_the_one_before_it_is_fetched() {
        let mut sampler = Counting {
            drawn: Vec::new(),
            announced: Vec::new(),
        };
        assert_eq!(into_memory(&mut sampler, 7, 25).unwrap(), 50);
        assert_eq!(sampler.drawn, [(7, 10), (17, 10), (27, 5)]);
        assert_eq!(sampler.announced, sampler.drawn);
    }

    #[test]
    fn no_more_is_drawn_than_the_time_allows() {
        let mut asked = Vec::new();
        // 1000 images a second, by its own word.
        let found = rates(0.5, |count| {
            asked.push(count);
            std::thread::sleep(std::time::Duration::from_millis(5));
            Ok(count as f64 / 1000.0)
        })
        .unwrap();
        assert_eq!(found.iter().map(|r| r.images).collect::<Vec<_>>(), COUNTS);
        let drawn: Vec<u64> = found.iter().map(|r| r.drawn).collect();
        assert_eq!(drawn, [1, 100, 500, 500]);
        assert!(
            found
                .iter()
                .all(|r| (r.images_per_second - 1000.0).abs() < 1e-6)
        );
        // Repeated for an eighth of a second, not for ever.
        assert!((4 + 1..=4 * 26).contains(&asked.len()), "{asked:?}");
    }

    #[test]
    fn the_cpu_is_measured_like_a_card() {
        let model = model(7);
        let engine = CpuEngine::new(1).unwrap();
        let sampler = engine.sampler(&model, &SamplingPlan::default()).unwrap();
        let mut sampler = Several::new(vec![("cpu".into(), sampler)]).unwrap();
        let within = tempfile::tempdir().unwrap();
        let folder = Folder::new(Some(within.path())).unwrap();
        let on_card = |sampler: &mut Several, first, count| {
            let begun = Instant::now();
            sampler.sample(first, count)?;
            Ok(begun.elapsed().as_secs_f64())
        };
        let found = measure(
            &mut sampler,
            model.config.image,
            on_card,
            None,
            (0.1, 10),
            &folder.0,
        )
        .unwrap();
        assert!(
            (found.occupancy / OCCUPANCY - 1.0).abs() < 0.5,
            "{}",
            found.occupancy
        );
        for rates in [&found.on_card, &found.into_memory, &found.onto_disk] {
            assert_eq!(rates.len(), COUNTS.len());
            assert_eq!(rates[0].drawn, 1);
            assert!(rates.iter().all(|r| r.images_per_second > 0.0));
        }
        assert!(found.disk_bytes_per_second > 0.0);
        assert!(found.energy.is_none());
        drop(folder);
        assert_eq!(std::fs::read_dir(within.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let problem = Folder::new(Some(Path::new("/nowhere"))).err().unwrap();
        assert!(problem.to_string().contains("/nowhere"), "{problem}");
    }
}
