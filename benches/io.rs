//! Around the model: HDF5 in and out, observables, distances.

mod common;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sarm::data::{Dataset, Layout, ReadOptions, SparseImages, WriteOptions, read, write};
use sarm::evaluate::{Options, Resampling, distance, evaluate, w1};
use sarm::physics::{DEFAULT_RANGE, Geometry, observables};
use sarm::random::{Purpose, normal, words};
use sarm::synthetic;

fn files(c: &mut Criterion) {
    let count = common::size(20_000, 300);
    let images = common::images(&common::jets("jets-dc"), count);
    let geometry = Geometry::new(images.height(), images.width(), DEFAULT_RANGE).unwrap();
    let columns = observables(&images, &geometry).unwrap().columns();
    let directory = tempfile::tempdir().unwrap();
    for layout in [Layout::Dense, Layout::Sparse] {
        let path = directory.path().join(format!("{layout}.h5"));
        let options = WriteOptions {
            layout,
            height: images.height(),
            width: images.width(),
            force: true,
            ..WriteOptions::default()
        };
        write(&path, &images, &columns, &options).unwrap();
        let mut group = c.benchmark_group(format!("HDF5, {layout}"));
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function("write", |b| {
            b.iter(|| write(&path, &images, &columns, &options).unwrap())
        });
        group.bench_function("read", |b| {
            b.iter(|| read(&path, &ReadOptions::default()).unwrap())
        });
    }
}

/// Gzip in whole images, as this program writes, and in the chunks that h5py chooses where it is not told: parts of many
/// images. The second may take at most three times as long, in as little memory.
fn chunks(c: &mut Criterion) {
    let count = common::size(60_000, 300);
    let images = common::images(&common::jets("jets-dc"), count);
    let (height, width) = (images.height(), images.width());
    let mut pixels = vec![0f32; count * height * width];
    for (i, image) in pixels.chunks_exact_mut(height * width).enumerate() {
        images.dense_into(i, image);
    }
    let pixels = ndarray::Array3::from_shape_vec((count, height, width), pixels).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut group = c.benchmark_group("HDF5, gzip in chunks of");
    group.throughput(Throughput::Elements(count as u64));
    // h5py 3.16's choice for 60 000 x 25 x 25 float32.
    for (name, chunk) in [("images", (1024, height, width)), ("h5py", (3750, 2, 2))] {
        let path = directory.path().join(name);
        let file = hdf5::File::create(&path).unwrap();
        let chunk = (chunk.0.min(count), chunk.1, chunk.2);
        let builder = file.new_dataset_builder().with_data(&pixels).chunk(chunk);
        builder.deflate(4).create("image").unwrap();
        file.close().unwrap();
        group.bench_function(name, |b| {
            b.iter(|| read(&path, &ReadOptions::default()).unwrap())
        });
    }
}

/// What a card's images cost on the host, once they are there.
fn arrays(c: &mut Criterion) {
    let count = common::size(50_000, 300);
    let images = common::images(&common::jets("jets-dc"), count);
    let (starts, pixels, values) = images.csr();
    let copy = || (starts.to_vec(), pixels.to_vec(), values.to_vec());
    let mut group = c.benchmark_group("sparse images");
    group.throughput(Throughput::Elements(count as u64));
    group.bench_function("of arrays", |b| {
        b.iter_batched(
            copy,
            |(starts, pixels, values)| {
                let (height, width) = (images.height(), images.width());
                SparseImages::from_csr(height, width, starts, pixels, values).unwrap()
            },
            BatchSize::LargeInput,
        )
    });
}

fn evaluation(c: &mut Criterion) {
    let count = common::size(20_000, 300);
    let images = common::images(&common::jets("jets-dc"), count);
    let geometry = Geometry::new(images.height(), images.width(), DEFAULT_RANGE).unwrap();
    let mut group = c.benchmark_group("evaluation");
    group.throughput(Throughput::Elements(count as u64));
    group.bench_function("observables", |b| {
        b.iter(|| observables(&images, &geometry).unwrap())
    });
    let sample = |item| -> Vec<f32> {
        (0..count as u64)
            .map(|i| normal(words(5, Purpose::Synthetic, i, item))[0] as f32)
            .collect()
    };
    let (truth, generated) = (sample(1), sample(2));
    group.bench_function("W1", |b| b.iter(|| w1(&truth, &generated).unwrap()));
    group.bench_function("W1 with error and floor", |b| {
        b.iter(|| distance(&truth, &generated, &Resampling::default(), 0).unwrap())
    });
}

/// Everything that `sarm evaluate` computes, without reading files and drawing figures.
fn whole(c: &mut Criterion) {
    let count = common::size(20_000, 300);
    let model = common::jets("jets-dc");
    let size = model.config.image;
    let side = |seed| {
        let images =
            synthetic::images(size.height, size.width, count, seed, common::OCCUPANCY).unwrap();
        Dataset {
            images,
            ..Dataset::default()
        }
    };
    let (truth, generated) = (side(3), side(4));
    let mut group = c.benchmark_group("evaluation");
    group.throughput(Throughput::Elements(2 * count as u64));
    group.bench_function("all metrics", |b| {
        b.iter(|| evaluate(&truth, &generated, &Options::default()).unwrap())
    });
}

criterion_group! { name = benches; config = common::criterion(); targets = files, chunks, arrays, evaluation, whole }
criterion_main!(benches);
