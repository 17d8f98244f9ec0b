//! Whole images: the sampler's launch and the compaction behind it.

use std::sync::Arc;

use sarm::bench::PAPER;
use sarm::data::SparseImages;
use sarm::device::cuda::device::Device;
use sarm::families::sarm::cuda::drawing::Drawing;
use sarm::families::sarm::{Sarm, StageTensor};
use sarm::family::SamplingPlan;
use sarm::family::cuda::{Drawing as _, Rows, Slots};

use crate::kernels::case::{Case, Demand, Number, Output, Prepared, Size};
use crate::support::common::{conditions, model};
use crate::support::decisions::{Drawn, check};

/// Waves of a launch that is measured.
const WAVES: usize = 4;
/// Of an H100, bytes.
const SHARED: u32 = 227 * 1024;
/// Too little for the history of 8 of the paper's images.
const LITTLE: u32 = 48 * 1024;

/// What to draw: configuration, size of the images, how many, and the shared memory that a block may take.
#[derive(Clone, Copy)]
struct Shape {
    name: &'static str,
    toml: &'static str,
    size: [usize; 2],
    images: usize,
    shared: u32,
}

const SMALL: [Shape; 18] = {
    const fn shape(name: &'static str, size: [usize; 2], toml: &'static str) -> Shape {
        Shape {
            name,
            toml,
            size,
            images: 45,
            shared: SHARED,
        }
    }
    /// With as little shared memory as allows no more images.
    const fn within(mut shape: Shape, shared: u32) -> Shape {
        shape.shared = shared;
        shape
    }
    const PLAIN: &str = "[[stage]]\nlayers = 5";
    [
        shape("one pixel", [1, 1], "[[stage]]\nlayers = 1"),
        shape("one block", [4, 4], PLAIN),
        // More images than two multiprocessors take at a time: the queue.
        Shape {
            images: 200,
            ..shape("queue", [3, 7], "[[stage]]\nlayers = 2")
        },
        within(shape("8 images", [6, 7], PLAIN), 20_000),
        within(shape("16 images", [6, 7], PLAIN), 36_000),
        within(shape("24 images", [6, 7], PLAIN), 45_000),
        // Of which shared memory does not hold 8.
        within(
            Shape {
                images: 70,
                ..shape(
                    "global history",
                    [12, 14],
                    "stage = [{square = 2, units_per_pixel = 5, layers = 1}, {layers = 5}]\n[condition]\nnames = ['a']",
                )
            },
            30_000,
        ),
        shape(
            "no hidden layer",
            [5, 8],
            "order = {kind = 'rows'}\n[[stage]]\nlayers = 0",
        ),
        shape(
            "two stages, conditions",
            [7, 8],
            "stage = [{square = 3, units_per_pixel = 5, layers = 2}, {layers = 3}]\n[condition]\nnames = ['signal', 'jet_pt']\n[likelihood]\nkind = 'dc'\ncomponents = 3",
        ),
        shape(
            "three stages, range",
            [6, 9],
            "stage = [{square = 2, units_per_pixel = 3}, {square = 4, units_per_pixel = 2}, {layers = 1}]\n[order]\nkind = 'random'\nseed = 4\n[likelihood]\nkind = 'dc'\ncomponents = 20\nunit = 2.0\nupper = 50.0\n[input]\ntransform = 'log1p'",
        ),
        shape(
            "most units and layers",
            [3, 5],
            "[[stage]]\nunits_per_pixel = 16\nlayers = 7\n[likelihood]\nkind = 'dc'\ncomponents = 1",
        ),
        shape(
            "levels",
            [8, 6],
            "stage = [{square = 3, units_per_pixel = 5, layers = 2}, {layers = 2}]\n[likelihood]\nkind = 'dd'\nlatents = 10\nlevels = 300\npower = 2.0\n[condition]\nnames = ['signal']",
        ),
        shape(
            "many latents",
            [5, 6],
            "[[stage]]\nunits_per_pixel = 2\nlayers = 1\n[likelihood]\nkind = 'dd'\nlatents = 100\nlevels = 7\n[input]\ntransform = 'sqrt'\nunit = 4.0",
        ),
        shape(
            "levels beyond registers",
            [3, 6],
            "[[stage]]\nlayers = 1\n[likelihood]\nkind = 'dd'\nlatents = 4\nlevels = 700",
        ),
        within(
            Shape {
                images: 20,
                ..shape(
                    "global history, nine tiles",
                    [12, 14],
                    "[[stage]]\nlayers = 1\n[likelihood]\nkind = 'dc'\ncomponents = 47",
                )
            },
            16_000,
        ),
        shape(
            "nine tiles",
            [4, 5],
            "[[stage]]\nlayers = 1\n[likelihood]\nkind = 'dc'\ncomponents = 47",
        ),
        shape(
            "logarithms",
            [4, 6],
            "[[stage]]\nlayers = 2\n[likelihood]\nkind = 'dc'\nspace = 'log'\ncomponents = 9\nlower = 0.3\nupper = 40.0",
        ),
        shape(
            "logarithms, what is left",
            [5, 6],
            "stage = [{square = 3, units_per_pixel = 5, layers = 1}, {layers = 2}]\n[likelihood]\nkind = 'dc'\nspace = 'log'\ncomponents = 6\nlower = 0.4\n[input]\nunit = 20.0\nleft = 5\n[condition]\nnames = ['a', 'all']\ntotal = 'all'",
        ),
    ]
};

/// The paper's jets beside what this takes.
const LEFT: &str = "stage = [{square = 3, units_per_pixel = 5, layers = 5}, {layers = 5}]\n[likelihood]\nkind = 'dc'\nspace = 'log'\nunit = 0.02\nlower = 0.01\n[input]\nleft = 6\n[condition]\nnames = ['all']\ntotal = 'all'";

/// Cases of `kernels/sarm/sample.cu`.
pub fn cases(size: Size) -> Vec<Case> {
    match size {
        Size::Small => SMALL
            .into_iter()
            .map(|shape| Case {
                name: format!("sample/{}", shape.name),
                prepare: Box::new(move |device| drawn(device, &shape)),
            })
            .collect(),
        Size::Full => PAPER
            .iter()
            .flat_map(|paper| {
                [("", SHARED), ("/global history", LITTLE)].map(|place| (paper, place))
            })
            .map(|(paper, (place, shared))| Case {
                name: format!("sample/{}{place}", paper.name),
                prepare: Box::new(move |device| {
                    let model = paper.model().unwrap();
                    let plan = SamplingPlan::default();
                    let shared = device.properties().shared_per_block.min(shared);
                    let drawing = Drawing::within(device, &model, &plan, shared).unwrap();
                    let images = WAVES * drawing.wave();
                    launched(device, &model, drawing, images, paper.occupancy).0
                }),
            })
            .chain([Case {
                name: "sample/jets-dc, what is left".into(),
                prepare: Box::new(|device| {
                    let mut model = model(LEFT, 25, 25, 7, 0.1);
                    // Else every fifth pixel would take all that is left.
                    for stage in 0..model.stages.len() {
                        let values = model.index(stage, StageTensor::ValueBias);
                        let left = model.index(stage, StageTensor::LeftWeight);
                        let all = model.parameters[values].iter_mut().step_by(15);
                        all.for_each(|logit| *logit -= 9.0);
                        model.parameters[left].iter_mut().for_each(|w| *w *= 0.1);
                    }
                    let plan = SamplingPlan {
                        conditions: conditions(&model, 200, 9),
                        ..SamplingPlan::default()
                    };
                    let drawing = Drawing::new(device, &model, &plan).unwrap();
                    let images = WAVES * drawing.wave();
                    launched(device, &model, drawing, images, 0.1).0
                }),
            }])
            .collect(),
    }
}

/// The launches that draw `images` images, with where they come out.
fn launched(
    device: &Arc<dyn Device>,
    model: &Sarm,
    drawing: Drawing,
    images: usize,
    occupancy: f64,
) -> (Prepared, Arc<Rows>) {
    let pixels = model.pixels();
    let slots = Slots::new(device, images, pixels).unwrap();
    let rows = Arc::new(Rows::new(device, images, pixels).unwrap());
    let mut shown = drawing.shown(device, images).unwrap();
    drawing.show(&mut shown, FIRST, images).unwrap();
    let weights = sarm::bench::MultiplyAdds::of(model, occupancy).total();
    let mut launches = drawing.launches(FIRST, images, &shown, &slots).unwrap();
    launches.extend(slots.compact(images, &rows));
    let prepared = Prepared {
        launches,
        outputs: Vec::new(),
        demand: Demand {
            matrix_operations: 2.0 * weights * images as f64,
            bytes: 6.0 * occupancy * (pixels * images) as f64,
        },
        memory: vec![
            Box::new(drawing),
            Box::new(slots),
            Box::new(shown),
            Box::new(Arc::clone(&rows)),
        ],
    };
    (prepared, rows)
}

/// Above 2^32, and no multiple of anything.
const FIRST: u64 = (1 << 33) + 5;
const SEED: u64 = 11;

fn drawn(device: &Arc<dyn Device>, shape: &Shape) -> Prepared {
    let [height, width] = shape.size;
    let model = model(shape.toml, height, width, 7, 0.3);
    let conditions = conditions(&model, 3, 9);
    let plan = SamplingPlan {
        seed: SEED,
        conditions: conditions.clone(),
        ..SamplingPlan::default()
    };
    let drawing = Drawing::within(device, &model, &plan, shape.shared).unwrap();
    if let Some(tile) = shape.name.strip_suffix(" images") {
        assert_eq!(
            drawing.tile().to_string(),
            tile,
            "the case is of another kernel"
        );
    }
    let (images, pixels) = (shape.images, model.pixels());
    let (mut prepared, rows) = launched(device, &model, drawing, images, 0.3);

    let (limited, gates) = (model.total().is_some(), images * pixels);
    let read = Arc::clone(&rows);
    let wrong = move || {
        let starts = read.starts.to_vec().unwrap();
        let nonzeros = starts[images] as usize;
        let starts = starts.into_iter().map(u64::from).collect();
        let mut pixels = read.pixels.to_vec().unwrap();
        let mut values = read.values.to_vec().unwrap();
        pixels.truncate(nonzeros);
        values.truncate(nonzeros);
        let drawn = SparseImages::from_csr(height, width, starts, pixels, values).unwrap();
        let report = check(&Drawn {
            model: &model,
            seed: SEED,
            conditions: &conditions,
            first: FIRST,
            images: &drawn,
        });
        report.wrong.iter().for_each(|what| eprintln!("{what}"));
        // Where a total is spent there is nothing to decide.
        let all = if limited { gates } else { report.gates };
        vec![report.wrong.len() as f64, all as f64]
    };
    let expected = vec![0.0, gates as f64];
    prepared.outputs.push(Output {
        name: "wrong decisions, and all",
        read: Box::new(wrong),
        exact: expected.clone(),
        naive: expected,
        differences: Vec::new(),
    });
    let (starts, found) = (Arc::clone(&rows), Arc::clone(&rows));
    prepared.outputs.extend([
        any("starts", images + 1, move || {
            starts.starts.to_vec().unwrap()
        }),
        any("pixels", images * pixels, move || {
            found.pixels.to_vec().unwrap()
        }),
        any("values", images * pixels, move || {
            rows.values.to_vec().unwrap()
        }),
    ]);
    prepared
}

/// Any numbers, if they are the same in every run.
fn any<T: Number>(name: &'static str, count: usize, read: impl Fn() -> Vec<T> + 'static) -> Output {
    Output {
        name,
        read: Box::new(move || read().into_iter().map(T::number).collect()),
        exact: vec![0.0; count],
        naive: vec![f64::INFINITY; count],
        differences: Vec::new(),
    }
}
