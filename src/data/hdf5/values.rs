//! What the numbers of a file mean: units, thresholds, weights, names of classes; and which rows were never written.

use super::attributes;
use super::columns::Column;
use super::showers;
use super::source::Source;
use crate::data::calochallenge::SHOWERS;
use crate::data::{About, DataError, ReadOptions, Run, SparseImages, Unit};

/// Names of columns that look like event weights.
const WEIGHTS: [&str; 10] = [
    "weight",
    "weights",
    "event_weight",
    "event_weights",
    "eventweight",
    "mc_weight",
    "mcweight",
    "gen_weight",
    "genweight",
    "wgt",
];

/// Say how `column`, called `name` here, is read, and keep the names that its numbers stand for.
pub(super) fn describe(source: &Source, name: &str, column: &Column, about: &mut About) {
    about.remarks.extend(column.remark(source));
    let names =
        (column.names().map(<[String]>::to_vec)).or_else(|| attributes::names_of(source, name));
    if let Some(names) = names {
        about.names.insert(name.to_string(), names);
    }
}

/// The weights in `rows`, where some are asked for; a warning where there are some and nobody asked.
pub(super) fn weights(
    source: &Source,
    count: usize,
    options: &ReadOptions,
    rows: &[u64],
    about: &mut About,
) -> Result<Option<Vec<f32>>, DataError> {
    let named = options.file.weights.as_ref();
    let Some(name) = named.filter(|name| !options.file.where_present || source.has(name)) else {
        let is_weight = |name: &&str| WEIGHTS.contains(&name.to_ascii_lowercase().as_str());
        if named.is_none()
            && let Some(name) = source.names().find(is_weight)
        {
            about.warnings.push(format!(
                "every image counts once, though '{}' has a data set '{name}' (weights are used only where they are named); give --weights {name} to use it",
                source.path.display()
            ));
        }
        return Ok(None);
    };
    let values = Column::open(source, name, count, false)?.gather(source, rows)?;
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(Some(values)),
        Some(at) => Err(DataError::Value {
            path: source.path.clone(),
            name: name.clone(),
            row: rows[at],
            value: values[at],
        }),
    }
}

/// How stored pixels become those that are worked with.
pub(super) struct Pixels {
    factor: f64,
    threshold: f32,
}

/// The factor by the options or else by what the file says of its unit.
pub(super) fn pixels(
    source: &Source,
    set: &hdf5::Dataset,
    options: &ReadOptions,
    about: &mut About,
) -> Pixels {
    let path = source.path.display();
    let said = (attributes::unit_text(source, set))
        .or_else(|| attributes::unit_text(source, &source.file))
        .or_else(|| showers::unit(source, SHOWERS).map(String::from));
    let factor = match (options.file.scale, said) {
        (Some(scale), _) => {
            about.remarks.push(format!(
                "pixels of '{path}' are multiplied by {scale} to be GeV"
            ));
            scale
        }
        (None, None) => 1.0,
        (None, Some(text)) => match Unit::parse(&text) {
            Some((unit, factor)) => {
                if factor != 1.0 {
                    about.remarks.push(format!(
                        "pixels of '{path}' are in {text}: they are multiplied by {factor} to be GeV"
                    ));
                } else if !unit.is_gev() {
                    about.remarks.push(format!(
                        "pixels of '{path}' are in {unit}, which is no energy: they stay as they are"
                    ));
                }
                about.unit = unit;
                factor
            }
            None => {
                about.warnings.push(format!(
                    "the attribute 'units' of '{path}' names no unit (pixels are taken as GeV); give --scale 1 if they are"
                ));
                1.0
            }
        },
    };
    Pixels {
        factor,
        threshold: options.file.threshold.unwrap_or(0.0),
    }
}

impl Pixels {
    /// The images that stored ones stand for.
    pub fn of(
        &self,
        source: &Source,
        images: SparseImages,
        about: &mut About,
    ) -> Result<SparseImages, DataError> {
        if self.factor == 1.0 && self.threshold <= 0.0 {
            return Ok(images);
        }
        let before = images.nonzeros();
        let Some((images, below)) = images.scaled(self.factor, self.threshold) else {
            return Err(source.fail(
                "image",
                format!(
                    "a pixel times {} is above the range of float32",
                    self.factor
                ),
                "choose another --scale",
            ));
        };
        if below > 0 {
            about.remarks.push(format!(
                "{below} of {before} nonzero pixels of '{}' lie below {} {} and are set to zero",
                source.path.display(),
                self.threshold,
                about.unit
            ));
        }
        Ok(images)
    }
}

/// Which generated images a file of `count` images holds, if it says so and holds all of them.
pub(super) fn run(source: &Source, count: usize) -> Option<Run> {
    let number = |name: &str| attributes::read_size(source, name).map(|n| n as u64);
    let text = |name: &str| attributes::text(source, &source.file, &[name]);
    // Before any text, which takes a pass over the file.
    if number("count")? != count as u64 {
        return None;
    }
    let of = [
        format!("model {}", text("model_sha256")?),
        format!("seed {}", number("seed")?),
        format!("conditions {}", text("condition_sha256")?),
        format!("arithmetic {}", text("arithmetic")?),
    ];
    let first = number("first_image")?;
    first.checked_add(count as u64)?;
    Some(Run {
        of: of.join(", "),
        first,
    })
}

/// Rows, first and last, of which HDF5 has not stored a single chunk.
pub(super) fn unwritten(set: &hdf5::Dataset, count: usize) -> Vec<[u64; 2]> {
    let shape = set.shape();
    // Rows of a sparse file are no rows of its data sets.
    if shape.first() != Some(&count) || count == 0 {
        return Vec::new();
    }
    let Some(rows) = set
        .chunk()
        .and_then(|c| c.first().copied())
        .filter(|r| *r > 0)
    else {
        return match set.storage_size() {
            0 => vec![[0, count as u64 - 1]],
            _ => Vec::new(),
        };
    };
    let mut written = vec![false; count.div_ceil(rows)];
    let visited = set.chunks_visit(|info| {
        let first = info.offset.first().map_or(0, |at| *at as usize);
        if let Some(written) = written.get_mut(first / rows) {
            *written = true;
        }
        0
    });
    if visited.is_err() {
        return Vec::new();
    }
    let mut found: Vec<[u64; 2]> = Vec::new();
    for (chunk, _) in written.iter().enumerate().filter(|(_, written)| !**written) {
        let first = (chunk * rows) as u64;
        let last = ((chunk + 1) * rows).min(count) as u64 - 1;
        match found.last_mut() {
            Some([_, end]) if *end + 1 == first => *end = last,
            _ => found.push([first, last]),
        }
    }
    found
}
