//! Cases of the masked linear layers: `kernels/sarm/masked_linear_*.cu`.

mod forward;
mod input;
mod layers;
mod weights;

use sarm::families::sarm::cuda::ops::linear::Tile;
use sarm::families::sarm::cuda::ops::mask::Mask;

use crate::kernels::case::{Case, Size};

/// All of them.
pub fn cases(size: Size) -> Vec<Case> {
    match size {
        Size::Small => [forward::small(), input::small(), weights::small()],
        Size::Full => [forward::full(), input::full(), weights::full()],
    }
    .into_iter()
    .flatten()
    .collect()
}

/// Batch sizes of the benches.
const BATCHES: [u32; 3] = [128, 1024, 8192];

/// Rows, columns and mask of a layer.
#[derive(Debug, Clone, Copy)]
struct Spec {
    rows: u32,
    columns: u32,
    mask: Mask,
}

const fn spec(rows: u32, columns: u32, mask: Mask) -> Spec {
    Spec {
        rows,
        columns,
        mask,
    }
}

/// Problems of one launch, ragged in every way: name, images, layers.
fn ragged() -> Vec<(&'static str, u32, Vec<Spec>)> {
    let nobody = Mask {
        base: 0,
        rows: 3,
        columns: 2,
    };
    let silent = Mask {
        base: 0,
        rows: 200,
        columns: 3,
    };
    vec![
        ("one", 1, vec![spec(1, 1, Mask::none(1))]),
        ("dense", 40, vec![spec(33, 70, Mask::none(70))]),
        ("input", 17, vec![spec(45, 9, Mask::input(0, 5, 1))]),
        // Whole tiles of rows that read nothing, but have a bias.
        ("silent", 5, vec![spec(260, 5, silent)]),
        ("context", 35, vec![spec(40, 47, Mask::input(7, 1, 1))]),
        ("channels", 19, vec![spec(20, 27, Mask::input(7, 2, 2))]),
        ("output", 33, vec![spec(144, 45, Mask::output(5, 16))]),
        // Nothing reads the last columns.
        ("unread", 9, vec![spec(20, 90, nobody)]),
        // More than one tile of any shape, in every direction.
        ("hidden", 130, vec![spec(150, 150, Mask::hidden(1))]),
        (
            "stages",
            33,
            vec![
                spec(45, 45, Mask::hidden(5)),
                spec(77, 77, Mask::hidden(1)),
                spec(30, 30, Mask::hidden(3)),
            ],
        ),
        // More than one launch takes.
        (
            "many",
            3,
            (0..18)
                .map(|i| spec(8 + i, 11 + i, Mask::hidden(1 + i % 3)))
                .collect(),
        ),
    ]
}

/// Two stages of the paper's jets network, D+C: units of a layer, pixels, units a pixel, earlier pixels.
fn jets_hidden() -> Vec<Spec> {
    vec![
        spec(616, 616, Mask::hidden(1)),
        spec(45, 45, Mask::hidden(5)),
    ]
}

fn jets_input() -> Vec<Spec> {
    vec![
        spec(616, 625, Mask::input(9, 1, 1)),
        spec(45, 9, Mask::input(0, 5, 1)),
    ]
}

fn jets_output() -> Vec<Spec> {
    vec![
        spec(9856, 616, Mask::output(1, 16)),
        spec(144, 45, Mask::output(5, 16)),
    ]
}

fn tile_name(tile: Tile) -> &'static str {
    match tile {
        Tile::Small => "small",
        Tile::Medium => "medium",
        Tile::Large => "large",
    }
}
