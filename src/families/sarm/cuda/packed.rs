//! A model's weights in the order in which the sampler reads them (`kernels/sarm/sample_network.cuh`).
//!
//! Weights are bfloat16 in *fragments* of 16 rows by 16 columns, 16 bytes for each of 32 lanes, as `mma.m16n8k16` takes
//! its first operand. Only what is not masked is there: of a block of pixels the columns of earlier blocks, block by
//! block; of a pixel's numbers those of its own block too. What is left, the triangle inside a block, is *pushed*:
//! pairs of weights to rows r and r + 8, for each source of the block.

use half::bf16;

use super::ops::sample::{Blocks, FRAGMENT, LEVEL_GROUP};
use crate::families::sarm::{Sarm, StageTensor};

/// A fragment: 32 lanes of four words.
type Fragment = [[u32; 4]; 32];

/// Logit of a level that is not there: without mass beside any number, and beside none.
const NO_LEVEL: f32 = f32::NEG_INFINITY;

/// One stage's weights, packed.
pub struct PackedStage {
    /// How it is cut.
    pub blocks: Blocks,
    /// Of each block: fragments of its input rows (context, then earlier blocks), of each further layer, of its gates.
    pub rows: Vec<[u32; 4]>,
    /// Of each pixel and 16 of its numbers: a fragment for each block up to its own.
    pub values: Vec<[u32; 4]>,
    /// Of each pixel: what its value and then its units add to the rows of its block.
    pub pushes: Vec<u32>,
    /// `[blocks, layers + 1, 16]`, gates last.
    pub row_bias: Vec<f32>,
    /// `[pixels, 16 tiles]`
    pub value_bias: Vec<f32>,
    /// D+D: `[latents + 1, groups, 32, 4]`, the bias first; lane l has the levels from 4 groups l on.
    pub map: Vec<f32>,
    /// `[pixels, 1 + values, functions]`: weights of what is left; empty where pixels are not shown it.
    pub left: Vec<f32>,
}

/// Two bfloat16 in a word, as a lane holds them.
fn pair(low: f32, high: f32) -> u32 {
    let bits = |v: f32| u32::from(bf16::from_f32(v).to_bits());
    bits(low) | bits(high) << 16
}

/// The fragment of the matrix `at(row, column)`: registers as PTX documents them for the first operand.
fn fragment(at: impl Fn(usize, usize) -> f32) -> Fragment {
    std::array::from_fn(|lane| {
        let (row, column) = (lane / 4, lane % 4 * 2);
        let register = |row, column| pair(at(row, column), at(row, column + 1));
        [
            register(row, column),
            register(row + 8, column),
            register(row, column + 8),
            register(row + 8, column + 8),
        ]
    })
}

/// A matrix with its bias, or none of it.
struct Matrix<'a> {
    weight: &'a [f32],
    bias: &'a [f32],
    columns: usize,
}

impl Matrix<'_> {
    /// Its weight, 0 where there is no such row or column.
    fn at(&self, row: Option<usize>, column: Option<usize>) -> f32 {
        match (row, column) {
            (Some(row), Some(column)) => self.weight[row * self.columns + column],
            _ => 0.0,
        }
    }
}

impl PackedStage {
    /// Stage `stage` of `model`.
    pub fn new(model: &Sarm, stage: usize) -> Self {
        let shape = model.stages[stage];
        let blocks = Blocks { shape };
        let (u, layers, context) = (shape.units_per_pixel, blocks.layers(), shape.context());
        let matrix = |weight, bias| Matrix {
            weight: model.parameter(stage, weight),
            bias: model.parameter(stage, bias),
            columns: model.tensors[model.index(stage, weight)].columns(),
        };
        // What makes the rows of a block: the input layer, hidden layers, gates.
        let mut makers = vec![matrix(StageTensor::InputWeight, StageTensor::InputBias)];
        makers.extend(
            (0..shape.layers)
                .map(|l| matrix(StageTensor::HiddenWeight(l), StageTensor::HiddenBias(l))),
        );
        makers.push(matrix(StageTensor::GateWeight, StageTensor::GateBias));
        let values = matrix(StageTensor::ValueWeight, StageTensor::ValueBias);
        let tiles = shape.values.div_ceil(FRAGMENT);

        // Number `i` of a block's 16 pixels or units, where there is one.
        let pixel = |block: usize, i: usize| {
            let range = blocks.pixels_of(block);
            (i < range.len()).then(|| range.start + i)
        };
        let unit = |block: usize, i: usize| {
            let range = blocks.pixels_of(block);
            (i < range.len() * u).then(|| range.start * u + i)
        };
        let row_of = |maker: usize, block, i| match maker == layers {
            true => pixel(block, i),
            false => unit(block, i),
        };
        // Columns that a maker reads of a block: channel by channel of its pixels, or its units.
        let channels = shape.channels;
        let sources = |maker: usize| if maker == 0 { channels } else { 1 };
        let column_of = |maker: usize, source: usize, block, i| match maker {
            0 => pixel(block, i).map(|p| context + channels * p + source),
            _ => unit(block, i),
        };

        let mut packed = Self {
            blocks,
            rows: Vec::new(),
            values: Vec::new(),
            pushes: Vec::new(),
            row_bias: Vec::new(),
            value_bias: Vec::new(),
            map: packed_map(model, stage),
            left: match model.left() {
                Some(_) => model.parameter(stage, StageTensor::LeftWeight).to_vec(),
                None => Vec::new(),
            },
        };
        for block in 0..blocks.count() {
            for (m, maker) in makers.iter().enumerate() {
                let row = |i| row_of(m, block, i);
                if m == 0 {
                    for step in 0..blocks.context_steps() {
                        let column = |k| Some(step * FRAGMENT + k).filter(|c| *c < context);
                        packed
                            .rows
                            .extend(fragment(|r, k| maker.at(row(r), column(k))));
                    }
                }
                for earlier in 0..block {
                    for source in 0..sources(m) {
                        let column = |k| column_of(m, source, earlier, k);
                        packed
                            .rows
                            .extend(fragment(|r, k| maker.at(row(r), column(k))));
                    }
                }
                let bias = (0..FRAGMENT).map(|i| row(i).map_or(0.0, |r| maker.bias[r]));
                packed.row_bias.extend(bias);
            }
            for (q, p) in blocks.pixels_of(block).enumerate() {
                for tile in 0..tiles {
                    let number = |i: usize| {
                        Some(tile * FRAGMENT + i)
                            .filter(|n| *n < shape.values)
                            .map(|n| p * shape.values + n)
                    };
                    for earlier in 0..=block {
                        let column = |k| unit(earlier, k);
                        packed
                            .values
                            .extend(fragment(|r, k| values.at(number(r), column(k))));
                    }
                    let bias = (0..FRAGMENT).map(|i| number(i).map_or(0.0, |n| values.bias[n]));
                    packed.value_bias.extend(bias);
                }
                // The channels to the input layer's rows, then the units of each layer to those of the next.
                for (m, maker) in makers.iter().enumerate() {
                    for j in 0..if m == 0 { channels } else { u } {
                        let source = match m {
                            0 => column_of(0, j, block, q),
                            _ => column_of(m, 0, block, q * u + j),
                        };
                        let weight = |i| maker.at(row_of(m, block, i), source);
                        let words = (0..8).map(|r| pair(weight(r), weight(r + 8)));
                        packed.pushes.extend(words);
                    }
                }
            }
        }
        packed
    }

    /// Bytes on the device.
    pub fn bytes(blocks: &Blocks) -> u64 {
        let shape = &blocks.shape;
        let (count, layers) = (blocks.count() as u64, blocks.layers() as u64);
        let triangle = count * count.saturating_sub(1) / 2;
        let rows =
            blocks.context_steps() as u64 * count + (shape.channels as u64 + layers) * triangle;
        let tiles = shape.values.div_ceil(FRAGMENT) as u64;
        let mut values = 0;
        for block in 0..blocks.count() {
            values += tiles * (blocks.pixels_of(block).len() * (block + 1)) as u64;
        }
        let pushes = (shape.pixels * blocks.push_words()) as u64;
        let biases = count * (layers + 1) * 16 + shape.pixels as u64 * tiles * 16;
        let groups = shape.levels.div_ceil(LEVEL_GROUP);
        let map = match groups {
            0 => 0,
            groups => ((shape.values + 1) * groups * LEVEL_GROUP) as u64,
        };
        let left = (shape.pixels * (1 + shape.values) * shape.left) as u64;
        512 * (rows + values) + 4 * (pushes + biases + map + left)
    }
}

/// D+D's shared map as a warp reads it; empty for D+C.
fn packed_map(model: &Sarm, stage: usize) -> Vec<f32> {
    let shape = model.stages[stage];
    let groups = shape.levels.div_ceil(LEVEL_GROUP);
    if groups == 0 {
        return Vec::new();
    }
    let weight = model.parameter(stage, StageTensor::LevelsWeight);
    let bias = model.parameter(stage, StageTensor::LevelsBias);
    let mut map = Vec::with_capacity((shape.values + 1) * groups * LEVEL_GROUP);
    for row in 0..=shape.values {
        for group in 0..groups {
            for i in 0..LEVEL_GROUP {
                let level = i / 4 * 4 * groups + 4 * group + i % 4;
                map.push(match (level < shape.levels, row) {
                    (true, 0) => bias[level],
                    (true, row) => weight[level * shape.values + row - 1],
                    (false, 0) => NO_LEVEL,
                    (false, _) => 0.0,
                });
            }
        }
    }
    map
}
