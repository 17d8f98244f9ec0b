//! A card: sampling at the paper's sizes, on the card alone, into host memory and onto disk.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use super::paper::{PaperConfig, Work, unmasked_weights};
use super::{BenchError, CardReport, middle};
use crate::data::journal::Identity;
use crate::data::{Layout, SparseImages};
use crate::engine::cuda::device::{Device, Properties};
use crate::engine::cuda::driver::Energy;
use crate::engine::{Engine, EngineError, Sampler, SamplingPlan};
use crate::generate::{GeneratePlan, generate};
use crate::model::{Model, StageShape};

/// Images drawn in one go: the latency of one, and what a card needs to be full.
const COUNTS: [u64; 4] = [1, 100, 10_000, 1_000_000];
/// Key of the random numbers.
const SEED: u64 = 7;
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

/// What bounds sampling on a card, in images a second.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct SamplingBounds {
    /// Weights at the measured rate of the second-level cache: every tile of images reads all that are not masked,
    /// those of a pixel's value where a gate of the tile opens.
    pub weights: f64,
    /// Multiply-adds on the same weights, image by image, at the measured bf16 matrix rate.
    pub matrix: f64,
    /// As many images as all multiprocessors hold at once, in the time that one image alone takes on the card.
    pub latency: f64,
}

impl SamplingBounds {
    /// The lowest.
    pub fn lowest(&self) -> f64 {
        self.weights.min(self.matrix).min(self.latency)
    }
}

/// Sampling on one configuration on a card.
#[derive(Debug, Clone, Serialize)]
pub struct CardSamplingResult {
    /// `jets-dc` ..
    pub config: String,
    /// The paper's figure on 4 TITAN X, images a second.
    pub paper_images_per_second: f64,
    /// Fraction of nonzero pixels drawn.
    pub occupancy: f64,
    /// On the card alone, by its own clock: nothing is copied to the host.
    pub on_card: Vec<DrawingRate>,
    /// Into the host's memory, by the host's clock.
    pub into_memory: Vec<DrawingRate>,
    /// Into a file in the sparse layout, with the journal that a run resumes from, by the host's clock, until the
    /// file is complete.
    pub onto_disk: Vec<DrawingRate>,
    /// Bytes a second of the largest of those files.
    pub disk_bytes_per_second: f64,
    /// Median milliseconds until one image alone is in the host's memory.
    pub one_image_milliseconds: f64,
    /// Images in an hour into the host's memory, a million in one go.
    pub events_per_gpu_hour: f64,
    /// Images for a joule of the whole card, into the host's memory; none where NVML does not count it.
    pub images_per_joule: Option<f64>,
    /// Watts of the whole card meanwhile.
    pub watts: Option<f64>,
    /// What bounds the rate on the card.
    pub bounds: SamplingBounds,
    /// Rate on the card, a million images in one go, over the lowest bound.
    pub fraction_of_bound: f64,
}

/// How images lie on a card while they are drawn.
struct Tiling {
    /// Images of a tile, which read each weight together.
    images: u64,
    /// Tiles on a multiprocessor at once.
    tiles: u64,
    /// Bytes of weights that a tile reads.
    weight_bytes: f64,
}

impl Tiling {
    /// For `model` with `occupancy` of its pixels nonzero: as many images a tile as shared memory holds the activations
    /// and inputs of, bf16, by eights; one tile a multiprocessor; weights in bf16.
    fn of(model: &Model, properties: &Properties, occupancy: f64) -> Self {
        let bytes =
            |s: &StageShape| 2 * (s.units() * (s.layers + 1) + s.conditions + s.earlier + s.pixels);
        let largest = model.stages.iter().map(bytes).max().unwrap_or(1);
        let fit = properties.shared_per_block as usize / largest;
        let images = (fit / 8 * 8).clamp(8, 32);
        let [always, values] = unmasked_weights(model);
        let opens = 1.0 - (1.0 - occupancy).powi(images as i32);
        Self {
            images: images as u64,
            tiles: 1,
            // D+D's small map stays on the multiprocessor.
            weight_bytes: 2.0 * (always + opens * values),
        }
    }

    /// Images on the whole card at once.
    fn resident(&self, properties: &Properties) -> f64 {
        (u64::from(properties.multiprocessors) * self.tiles * self.images) as f64
    }
}

/// Seconds that drawing takes on the card alone.
fn device_seconds(
    card: &dyn Device,
    sampler: &mut dyn Sampler,
    first: u64,
    count: usize,
) -> Result<f64, EngineError> {
    card.synchronise()?;
    let begun = Instant::now();
    sampler.announce(first, count)?;
    card.synchronise()?;
    Ok(begun.elapsed().as_secs_f64())
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
struct Folder(PathBuf);

impl Folder {
    fn new(within: Option<&Path>) -> Result<Self, BenchError> {
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
    model: &Model,
    first: u64,
    count: u64,
    folder: &Path,
) -> Result<(f64, u64), BenchError> {
    let out = folder.join("images.h5");
    let size = model.config.image;
    let identity = Identity {
        model: [0; 32],
        condition: [0; 32],
        seed: SEED,
        first,
        count,
        height: size.height as u32,
        width: size.width as u32,
    };
    let plan = GeneratePlan::new(&out, identity, Layout::Sparse);
    let begun = Instant::now();
    generate(&plan, sampler, &|_, _| BTreeMap::new(), &mut |_| {
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

/// What all figures of a configuration are measured with.
struct Measured {
    occupancy: f64,
    on_card: Vec<DrawingRate>,
    into_memory: Vec<DrawingRate>,
    onto_disk: Vec<DrawingRate>,
    disk_bytes_per_second: f64,
    /// Images for a joule, and watts.
    energy: Option<(f64, f64)>,
}

/// Measure `sampler`, of `model`. `on_card`: seconds of drawing without fetching.
fn measure<S: Sampler>(
    sampler: &mut S,
    model: &Model,
    on_card: impl Fn(&mut S, u64, usize) -> Result<f64, EngineError>,
    energy: Option<&Energy>,
    seconds: f64,
    folder: &Path,
) -> Result<Measured, BenchError> {
    // Never the same image twice. The first call allocates.
    let mut next = sampler.preferred_count().max(1) as u64;
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
    let occupancy = nonzeros as f64 / (images as f64 * model.pixels() as f64);
    let mut disk_bytes_per_second = 0.0;
    let onto_disk = rates(seconds, |count| {
        let (seconds, bytes) = onto_disk(sampler, model, take(count), count, folder)?;
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
fn largest(rates: &[DrawingRate]) -> f64 {
    rates.last().map_or(0.0, |r| r.images_per_second)
}

/// Where, how long and beside what drawing is measured.
pub struct Setting<'a> {
    /// The card.
    pub card: &'a dyn Device,
    /// Its energy, where it is counted.
    pub energy: Option<&'a Energy>,
    /// Seconds of a figure, about.
    pub seconds: f64,
    /// Where files are written; the temporary directory unless given.
    pub folder: Option<&'a Path>,
}

/// Measure sampling on `paper`'s configuration, beside the rates of the card in `report`.
pub fn run(
    setting: &Setting,
    engine: &dyn Engine,
    paper: &PaperConfig,
    report: &CardReport,
) -> Result<CardSamplingResult, BenchError> {
    let model = paper.model()?;
    let plan = SamplingPlan {
        seed: SEED,
        ..SamplingPlan::default()
    };
    let mut sampler = engine.sampler(&model, &plan)?;
    let folder = Folder::new(setting.folder)?;
    let measured = measure(
        &mut sampler,
        &model,
        |sampler, first, count| device_seconds(setting.card, sampler, first, count),
        setting.energy,
        setting.seconds,
        &folder.0,
    )?;
    let properties = setting.card.properties();
    let tiling = Tiling::of(&model, properties, measured.occupancy);
    let operations = 2.0 * Work::of(&model, measured.occupancy).total();
    let alone = measured
        .on_card
        .first()
        .map_or(0.0, |r| r.images_per_second);
    let bounds = SamplingBounds {
        weights: 1e9 * report.stream_gigabytes * tiling.images as f64 / tiling.weight_bytes,
        matrix: 1e12 * report.matrix_teraflops / operations,
        latency: tiling.resident(properties) * alone,
    };
    let memory = largest(&measured.into_memory);
    Ok(CardSamplingResult {
        config: paper.name.into(),
        paper_images_per_second: paper.paper_images_per_second,
        occupancy: measured.occupancy,
        disk_bytes_per_second: measured.disk_bytes_per_second,
        one_image_milliseconds: 1e3
            / measured
                .into_memory
                .first()
                .map_or(f64::NAN, |r| r.images_per_second),
        events_per_gpu_hour: 3600.0 * memory,
        images_per_joule: measured.energy.map(|e| e.0),
        watts: measured.energy.map(|e| e.1),
        fraction_of_bound: largest(&measured.on_card) / bounds.lowest(),
        bounds,
        on_card: measured.on_card,
        into_memory: measured.into_memory,
        onto_disk: measured.onto_disk,
    })
}

/// As it is, behind its box.
impl Sampler for Box<dyn Sampler> {
    fn announce(&mut self, first: u64, count: usize) -> Result<(), EngineError> {
        (**self).announce(first, count)
    }

    fn sample(&mut self, first: u64, count: usize) -> Result<SparseImages, EngineError> {
        (**self).sample(first, count)
    }

    fn preferred_count(&self) -> usize {
        (**self).preferred_count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::cpu::CpuEngine;
    use crate::model::Config;
    use crate::model::config::ImageSize;
    use crate::synthetic;

    const OCCUPANCY: f64 = 0.2;

    fn model(side: usize) -> Model {
        let size = ImageSize {
            height: side,
            width: side,
        };
        let text = include_str!("../../configs/jets-dc.toml");
        let mut model = Model::new(Config::parse(text).unwrap().resolve(size).unwrap()).unwrap();
        synthetic::randomise(&mut model, 1, OCCUPANCY);
        model
    }

    fn card() -> Properties {
        Properties {
            name: "an H100".into(),
            capability: (9, 0),
            multiprocessors: 132,
            shared_per_block: 227 << 10,
            shared_per_multiprocessor: 228 << 10,
            l2: 50 << 20,
            memory: 80 << 30,
        }
    }

    #[test]
    fn tiles_are_those_of_the_notes() {
        let tiling = |name: &str| {
            let paper = super::super::PAPER.iter().find(|p| p.name == name).unwrap();
            Tiling::of(&paper.model().unwrap(), &card(), paper.occupancy)
        };
        let jets = tiling("jets-dc");
        assert_eq!(jets.images, 24);
        assert_eq!(jets.resident(&card()), 132.0 * 24.0);
        // 4.2 M unmasked weights of two bytes, 8 % of the values' not needed.
        assert!((7.5e6..8.4e6).contains(&jets.weight_bytes));
        assert_eq!(tiling("muons-dc").images, 16);
        // D+D reads ten numbers a pixel instead of fifteen, and its map once and for all.
        let share = tiling("jets-dd").weight_bytes / jets.weight_bytes;
        assert!((0.7..0.85).contains(&share), "{share}");
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
            std::thread::sleep(std::time::Duration::from_millis(50));
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
        assert!((4 * 2..=4 * 4).contains(&asked.len()), "{asked:?}");
    }

    #[test]
    fn the_cpu_is_measured_like_a_card() {
        let model = model(7);
        let engine = CpuEngine::new(1).unwrap();
        let mut sampler = engine.sampler(&model, &SamplingPlan::default()).unwrap();
        let within = tempfile::tempdir().unwrap();
        let folder = Folder::new(Some(within.path())).unwrap();
        let on_card = |sampler: &mut Box<dyn Sampler>, first, count| {
            let begun = Instant::now();
            sampler.sample(first, count)?;
            Ok(begun.elapsed().as_secs_f64())
        };
        let found = measure(&mut sampler, &model, on_card, None, 0.1, &folder.0).unwrap();
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
