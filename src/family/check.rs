//! Whether images and conditions are of a model.

use std::borrow::Cow;
use std::sync::Arc;

use super::{DrawConditions, EngineError, Model, SamplingPlan};
use crate::conditions::{ConditionedImages, Conditions, Total};

/// Standard deviations from its mean beyond which a condition is taken for a mistake.
const FARTHEST: f32 = 1e4;

/// Check that given conditions are `model`'s: as many numbers as it has names, each finite and not absurd.
///
/// # Errors
/// [`EngineError::Mismatch`] for rows of another width, none where the model has conditions, another total, a value that is
/// not finite or more than 10 000 standard deviations off, a negative total.
pub fn check_given(model: &dyn Model, conditions: &Conditions) -> Result<(), EngineError> {
    check_rows(&model.conditions().names, total(model), conditions)
}

fn total(model: &dyn Model) -> Option<Total> {
    model.conditions().total_over(model.image().pixels())
}

/// The same for a model with these conditions.
fn check_rows(
    names: &[String],
    total: Option<Total>,
    conditions: &Conditions,
) -> Result<(), EngineError> {
    if conditions.width() != names.len() || (conditions.rows() == 0 && !names.is_empty()) {
        return Err(EngineError::Mismatch(format!(
            "the model has {} conditions ({}), given are {} rows of {}",
            names.len(),
            names.join(", "),
            conditions.rows(),
            conditions.width()
        )));
    }
    if conditions.rule() != total.as_ref() {
        return Err(EngineError::Mismatch(
            "the conditions say another total than the model's".into(),
        ));
    }
    for row in 0..conditions.rows() as u64 {
        for (name, z) in names.iter().zip(conditions.row(row)) {
            if !z.is_finite() || z.abs() > FARTHEST {
                return Err(EngineError::Mismatch(format!(
                    "condition '{name}' of row {row} lies {z:e} standard deviations from the mean of the training images; at most {FARTHEST:e} are allowed"
                )));
            }
        }
        if let (Some(total), Some(told)) = (conditions.rule(), conditions.total(row))
            && told < -total.error()
        {
            return Err(EngineError::Mismatch(format!(
                "condition '{}' of row {row} is {told}, the sum of an image's pixels; it must not be negative",
                names[total.condition]
            )));
        }
    }
    Ok(())
}

/// What the images of a plan are told, checked to be a model's.
#[derive(Debug)]
pub(crate) struct Told {
    names: Vec<String>,
    total: Option<Total>,
    /// Of all images, where nothing is drawn.
    table: Conditions,
    drawn: Option<Arc<dyn DrawConditions>>,
}

impl Told {
    /// What `plan` tells the images of `model`.
    ///
    /// # Errors
    /// As [`check_given`], of what is not drawn.
    pub fn new(model: &dyn Model, plan: &SamplingPlan) -> Result<Self, EngineError> {
        if plan.drawn.is_none() {
            check_given(model, &plan.conditions)?;
        }
        Ok(Self {
            names: model.conditions().names.clone(),
            total: total(model),
            table: plan.conditions.clone(),
            drawn: plan.drawn.clone(),
        })
    }

    /// Conditions of an image.
    pub fn width(&self) -> usize {
        self.names.len()
    }

    /// Whether one of them is a total.
    pub fn has_total(&self) -> bool {
        self.total.is_some()
    }

    /// Different rows that `images` images have at the most.
    pub fn rows_of(&self, images: usize) -> usize {
        match &self.drawn {
            Some(_) => images,
            None => self.table.rows().min(images),
        }
    }

    /// What images `first .. first + count` are told.
    ///
    /// # Errors
    /// As [`DrawConditions::of`]; as [`check_given`], of what is drawn.
    pub fn of(&self, first: u64, count: usize) -> Result<Cow<'_, Conditions>, EngineError> {
        match &self.drawn {
            Some(drawn) if count > 0 => {
                let conditions = drawn.of(first, count)?;
                check_rows(&self.names, self.total, &conditions)?;
                Ok(Cow::Owned(conditions))
            }
            _ => Ok(Cow::Borrowed(&self.table)),
        }
    }
}

/// Check that images and their conditions are `model`'s: size, one row of conditions an image.
///
/// # Errors
/// [`EngineError::Mismatch`] for images of another size, what [`check_given`] refuses, more or fewer rows of
/// conditions than images, a total that is not the sum of its image.
pub fn check_images(model: &dyn Model, data: &ConditionedImages) -> Result<(), EngineError> {
    let size = model.image();
    let found = (data.images.height(), data.images.width());
    if found != (size.height, size.width) {
        return Err(EngineError::Mismatch(format!(
            "the images have {} x {} pixels, the model {} x {}",
            found.0, found.1, size.height, size.width
        )));
    }
    check_given(model, &data.conditions)?;
    if data.conditions.width() > 0 && data.conditions.rows() != data.images.len() {
        return Err(EngineError::Mismatch(format!(
            "{} images but {} rows of conditions",
            data.images.len(),
            data.conditions.rows()
        )));
    }
    if let Some(total) = total(model) {
        for (row, sum) in data.images.totals().into_iter().enumerate() {
            let told = data.conditions.total(row as u64).unwrap_or(0.0);
            if !total.covers(sum, told) {
                return Err(EngineError::Mismatch(format!(
                    "the pixels of image {row} add up to {sum} (its condition '{}' says {told}); it must be their sum",
                    model.conditions().names[total.condition]
                )));
            }
        }
    }
    Ok(())
}
