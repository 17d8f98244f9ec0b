//! The distribution of conditions in a checkpoint: an entry of the metadata and a few tensors.

use std::collections::BTreeMap;

use super::Prior;
use crate::checkpoint::CheckpointError;
use crate::checkpoint::tensors::{Named, Numbers, Tensors};

/// The metadata entry that describes it, and what its tensors' names start with.
const PRIOR: &str = "prior";

/// What the names of density number `density`'s tensors start with.
fn prefix(density: usize) -> String {
    format!("{PRIOR}.{density}.")
}

impl Prior {
    /// Its tensors. They are never packed: they are few.
    pub fn tensors(&self) -> Vec<Named<'_>> {
        let densities = self.densities.iter().enumerate();
        densities
            .flat_map(|(i, density)| {
                let tensors = density.model.tensors.iter().zip(&density.model.parameters);
                tensors.map(move |(spec, values)| Named {
                    name: format!("{}{}", prefix(i), spec.name),
                    shape: spec.shape.clone(),
                    values: Numbers::F32(values),
                })
            })
            .collect()
    }

    /// Put its entry into a file's metadata.
    pub fn describe(&self, metadata: &mut BTreeMap<String, String>) {
        metadata.insert(PRIOR.into(), self.header().unwrap_or_default());
    }

    /// The distribution of the conditions `names` in `file`; `None` if it has none.
    ///
    /// # Errors
    /// [`CheckpointError::Damaged`] where it does not make sense.
    pub fn read(file: &Tensors, names: &[String]) -> Result<Option<Self>, CheckpointError> {
        let Ok(header) = file.metadata(PRIOR) else {
            return Ok(None);
        };
        let wrong = |why| file.damaged(format!("its distribution of the conditions: {why}"));
        let mut prior = Self::from_header(header, names).map_err(wrong)?;
        for (i, density) in prior.densities.iter_mut().enumerate() {
            let model = &mut density.model;
            for (spec, values) in model.tensors.iter().zip(&mut model.parameters) {
                let name = format!("{}{}", prefix(i), spec.name);
                *values = file.tensor(&name, &spec.shape)?;
                if spec.row_beyond_mask(values).is_some() {
                    return Err(
                        file.damaged(format!("tensor '{name}' has a masked weight that is not 0"))
                    );
                }
            }
        }
        Ok(Some(prior))
    }
}
