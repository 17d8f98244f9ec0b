//! Small models that between them reach every branch of a sampler.

use sarm::families::sarm::Sarm;

/// Configuration, height, width.
pub const MODELS: &[(&str, usize, usize)] = &[
    // One stage; a pixel of degree 0 reads nothing but its bias.
    (
        "stage = [{layers = 0}]\n[likelihood]\nkind = 'dc'\ncomponents = 1",
        3,
        5,
    ),
    (
        "order = {kind = 'rows'}\nstage = [{units_per_pixel = 2, layers = 1}]\n[likelihood]\nkind = 'dc'\ncomponents = 7\nupper = 40.0",
        1,
        13,
    ),
    (
        "order = {kind = 'random', seed = 3}\nstage = [{units_per_pixel = 16, layers = 2}]\n[likelihood]\nkind = 'dc'\ncomponents = 5\n[input]\ntransform = 'log1p'\n[condition]\nnames = ['a', 'b']",
        3,
        3,
    ),
    (
        "stage = [{units_per_pixel = 1, layers = 7}]\n[likelihood]\nkind = 'dc'\ncomponents = 5\n[condition]\nnames = ['a']",
        4,
        7,
    ),
    // Two stages.
    (
        "stage = [{square = 3, units_per_pixel = 5, layers = 3}, {units_per_pixel = 2, layers = 2}]\n[likelihood]\nkind = 'dc'\ncomponents = 20\nupper = 25.0\nunit = 2.0\n[input]\ntransform = 'sqrt'\nunit = 4.0\n[condition]\nnames = ['signal']",
        5,
        7,
    ),
    (
        "order = {kind = 'random', seed = 8}\nstage = [{square = 2, units_per_pixel = 16, layers = 1}, {units_per_pixel = 1, layers = 6}]\n[likelihood]\nkind = 'dc'\ncomponents = 1\nupper = 15.0",
        5,
        5,
    ),
    // Three.
    (
        "order = {kind = 'reverse-spiral'}\nstage = [{square = 1, units_per_pixel = 5, layers = 0}, {square = 3, units_per_pixel = 2, layers = 2}, {layers = 3}]\n[likelihood]\nkind = 'dc'\ncomponents = 5\n[condition]\nnames = ['a', 'b', 'c']",
        5,
        6,
    ),
    // D+D.
    (
        "stage = [{units_per_pixel = 2, layers = 2}]\n[likelihood]\nkind = 'dd'\nlatents = 3\nlevels = 7\npower = 2.0",
        4,
        5,
    ),
    (
        "stage = [{square = 2, units_per_pixel = 5, layers = 2}, {units_per_pixel = 2, layers = 1}]\n[likelihood]\nkind = 'dd'\nlatents = 10\nlevels = 300\npower = 2.0\n[input]\ntransform = 'sqrt'\n[condition]\nnames = ['signal']",
        5,
        5,
    ),
    (
        "order = {kind = 'columns'}\nstage = [{square = 1, units_per_pixel = 16, layers = 1}, {square = 2, layers = 2}, {units_per_pixel = 5, layers = 1}]\n[likelihood]\nkind = 'dd'\nlatents = 40\nlevels = 300\n[input]\ntransform = 'log1p'\n[condition]\nnames = ['a', 'b']",
        3,
        4,
    ),
    // Several numbers shown of a pixel.
    (
        "stage = [{square = 3, units_per_pixel = 5, layers = 1}, {layers = 2}]\n[likelihood]\nkind = 'dc'\ncomponents = 5\nupper = 60.0\n[input]\nunit = 30.0\nalso = [{transform = 'log1p', unit = 0.5, scale = 0.3}]\n[condition]\nnames = ['a']",
        5,
        7,
    ),
    (
        "order = {kind = 'random', seed = 2}\nstage = [{square = 2, layers = 0}, {units_per_pixel = 2, layers = 3}]\n[likelihood]\nkind = 'dd'\nlatents = 4\nlevels = 20\n[input]\ntransform = 'sqrt'\nalso = [{}, {transform = 'log1p'}, {unit = 9.0}]",
        4,
        5,
    ),
    // Pixels that end with a total.
    (
        "stage = [{square = 3, units_per_pixel = 5, layers = 1}, {units_per_pixel = 2, layers = 2}]\n[likelihood]\nkind = 'dc'\ncomponents = 5\nunit = 2.0\nupper = 60.0\n[input]\nunit = 30.0\n[condition]\nnames = ['all', 'a']\ntotal = 'all'",
        5,
        6,
    ),
    // Logarithms of pixels: with an upper end, none, and with a total, of which two stages are shown what is left.
    (
        "stage = [{units_per_pixel = 2, layers = 1}]\n[likelihood]\nkind = 'dc'\nspace = 'log'\ncomponents = 3\nlower = 0.3\nupper = 40.0",
        3,
        6,
    ),
    (
        "stage = [{square = 2, units_per_pixel = 3, layers = 1}, {layers = 2}]\n[likelihood]\nkind = 'dc'\nspace = 'log'\ncomponents = 6\nlower = 0.5\n[input]\ntransform = 'log1p'\n[condition]\nnames = ['all']\ntotal = 'all'",
        5,
        5,
    ),
    (
        "stage = [{square = 3, units_per_pixel = 5, layers = 1}, {units_per_pixel = 2, layers = 2}]\n[likelihood]\nkind = 'dc'\nspace = 'log'\ncomponents = 4\nunit = 2.0\nlower = 0.4\nupper = 30.0\n[input]\nunit = 30.0\nleft = 6\n[condition]\nnames = ['a', 'all']\ntotal = 'all'",
        5,
        6,
    ),
    // The same beside pixels themselves, with all functions that there are and numbers that fill two tiles.
    (
        "stage = [{units_per_pixel = 3, layers = 1}]\n[likelihood]\nkind = 'dc'\ncomponents = 7\n[input]\ntransform = 'sqrt'\nleft = 8\n[condition]\nnames = ['all']\ntotal = 'all'",
        4,
        6,
    ),
];

/// Model number `i`, random, four pixels in ten of its images nonzero.
pub fn model(i: usize) -> Sarm {
    let (toml, height, width) = MODELS[i];
    crate::support::common::model(toml, height, width, 70 + i as u64, 0.4)
}
