//! What the numbers of a file mean: units, thresholds, weights, names of classes; and which rows were never written.

use super::attributes;
use super::columns::Column;
use super::showers;
use super::source::Source;
use super::table::{Data, Part, Table};
use super::units;
use crate::data::calochallenge::INCIDENT;
use crate::data::{About, DataError, ReadOptions, Run, SparseImages, Unit, grouped};

/// Ends of the names of columns that look like event weights: `weight`, `mc_weight`, `evt_wgt`.
const WEIGHTS: [&str; 4] = ["weight", "weights", "wgt", "wgts"];

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
        let is_weight = |name: &&str| {
            let name = name.to_ascii_lowercase();
            WEIGHTS.iter().any(|end| name.ends_with(end))
        };
        if named.is_none()
            && let Some(name) = source.beside().iter().find(|n| is_weight(&n.as_str()))
        {
            about.unused_weights.push(format!(
                "every image counts once, though '{}' has a data set '{name}' (weights are used only where they are named); give --weights {name} to use it",
                source.path.display()
            ));
        }
        return Ok(None);
    };
    // Of classes, numbers would be made.
    let table = source.table(name)?;
    if !table.is_numeric() || table.shape.iter().product::<usize>() != count {
        let (shape, kind) = (&table.shape, table.type_name());
        return Err(source.fail(
            name,
            format!("its shape is {shape:?}, of {kind}, and the file has {count} images"),
            "weights are one number an image",
        ));
    }
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
    /// Their data set.
    name: String,
    pub factor: f64,
    threshold: f32,
}

/// The factor by the options or else by what the file says of its unit.
pub(super) fn pixels(
    source: &Source,
    table: &Table,
    options: &ReadOptions,
    about: &mut About,
) -> Result<Pixels, DataError> {
    let path = source.path.display();
    let said = match options.file.scale {
        Some(_) => None,
        None => units::of_pixels(source, table)?
            .or_else(|| showers::unit(source, &table.name).map(String::from)),
    };
    let factor = match (options.file.scale, said) {
        (Some(scale), _) => {
            let conditions = match options.columns.as_slice() {
                [] => String::new(),
                names => format!(
                    "; {} is not, but for what its own units say",
                    names.join(", ")
                ),
            };
            about.remarks.push(format!(
                "pixels of '{path}' are multiplied by {scale} to be GeV{conditions}"
            ));
            // The factor of the pixels is no word on the energies beside them.
            if showers::unit(source, &table.name).is_some()
                && units::of_data_set(&source.table(INCIDENT)?)?.is_none()
            {
                about.remarks.push(format!(
                    "'{INCIDENT}' of '{path}' are taken as MeV: --scale is that of the pixels"
                ));
            }
            scale
        }
        (None, None) => {
            about.unit_assumed = true;
            1.0
        }
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
    Ok(Pixels {
        name: table.name.clone(),
        factor,
        threshold: options.file.threshold.unwrap_or(0.0),
    })
}

impl Pixels {
    /// The threshold in the file's numbers.
    pub fn threshold_as_stored(&self) -> f32 {
        (f64::from(self.threshold) / self.factor) as f32
    }

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
                &self.name,
                format!(
                    "a pixel times {} is above the range of float32",
                    self.factor
                ),
                "choose another --scale",
            ));
        };
        if below > 0 {
            about.remarks.push(format!(
                "{} of {} nonzero pixels of '{}' lie below {} {} and are set to zero",
                grouped(below as u64),
                grouped(before as u64),
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
    let file = source.file.as_ref()?;
    let text = |name: &str| attributes::text(file, &source.heaps, &[name]);
    // Before any text, which takes a pass over the file.
    if number("count")? != count as u64 {
        return None;
    }
    // The second does not depend on where the run ends; it is there where the first does.
    let conditions = text("drawn_sha256").or_else(|| text("condition_sha256"))?;
    let of = [
        format!("model {}", text("model_sha256")?),
        format!("seed {}", number("seed")?),
        format!("conditions {conditions}"),
        format!("arithmetic {}", text("arithmetic")?),
    ];
    let first = number("first_image")?;
    first.checked_add(count as u64)?;
    Some(Run {
        of: of.join(", "),
        first,
    })
}

/// Rows of `table`, first and last, of which HDF5 has not stored a single chunk.
///
/// # Errors
/// A source of a virtual data set that does not open any more.
pub(super) fn unwritten(table: &Table) -> Result<Vec<[u64; 2]>, DataError> {
    let count = table.shape.first().copied().unwrap_or(0);
    let mut found: Vec<[u64; 2]> = Vec::new();
    let mut add = |first: u64, last: u64| match found.last_mut() {
        Some([_, end]) if *end + 1 == first => *end = last,
        _ => found.push([first, last]),
    };
    match &table.data {
        _ if count == 0 => {}
        Data::Chunks(chunks) => {
            let rows = chunks.rows_of_chunk();
            let written = chunks.written();
            for (band, _) in written.iter().enumerate().filter(|(_, written)| !**written) {
                add(
                    (band * rows) as u64,
                    ((band + 1) * rows).min(count) as u64 - 1,
                );
            }
        }
        Data::Library(_) if table.chunk.is_none() && table.stored == 0 => add(0, count as u64 - 1),
        // Raw data and numpy's arrays are there, or do not open.
        Data::Library(_) | Data::Flat(_) => {}
        Data::Parts(parts) => {
            for parts in parts.chunk_by(Part::same_source) {
                let gaps = unwritten(&parts[0].open()?)?;
                for part in parts {
                    let (from, per_row) = (part.from as u64, part.per_row as u64);
                    let end = from + (part.count * part.per_row) as u64;
                    for [first, last] in &gaps {
                        // A row here is written when one of its rows there is.
                        let first = first.max(&from).saturating_sub(from).div_ceil(per_row);
                        let last = ((last + 1).min(end).saturating_sub(from)) / per_row;
                        if first < last {
                            add(part.to as u64 + first, part.to as u64 + last - 1);
                        }
                    }
                }
            }
        }
    }
    Ok(found)
}
