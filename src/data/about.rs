//! What files say of their numbers: units, names of classes; and what was read in another way than it stands there.

use std::collections::BTreeMap;

use super::{DataError, Dataset, Unit};

/// What files say of a data set's numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct About {
    /// Unit of the pixels.
    pub unit: Unit,
    /// Whether nothing said so, and GeV were assumed.
    pub unit_assumed: bool,
    /// Columns that a file holds as texts: the names, in the order of the numbers 0, 1, .. that they are read as.
    pub names: BTreeMap<String, Vec<String>>,
    /// What was read in another way than it stands in a file, a sentence each.
    pub remarks: Vec<String>,
    /// What a user should know before these images are learnt from or compared, a sentence each.
    pub warnings: Vec<String>,
    /// The same of weights that nobody asked for, where images are counted by their weights.
    pub unused_weights: Vec<String>,
}

impl About {
    /// Take over what is said of more images of the same data set.
    pub(super) fn extend(&mut self, other: About) {
        for (all, more) in [
            (&mut self.remarks, other.remarks),
            (&mut self.warnings, other.warnings),
            (&mut self.unused_weights, other.unused_weights),
        ] {
            for sentence in more {
                if !all.contains(&sentence) {
                    all.push(sentence);
                }
            }
        }
    }
}

impl Dataset {
    /// Give the names of column `name` the numbers that `order` has for them.
    ///
    /// Nothing happens to a column that no file held as names.
    ///
    /// # Errors
    /// A name that `order` does not have.
    pub fn rename(&mut self, name: &str, order: &[String]) -> Result<(), DataError> {
        let Some(names) = self.about.names.get(name) else {
            return Ok(());
        };
        if names == order {
            return Ok(());
        }
        let places: Vec<Option<usize>> = (names.iter())
            .map(|n| order.iter().position(|o| o == n))
            .collect();
        let column = self.columns.get_mut(name);
        // A name of rows that were not selected need not be known.
        for value in column.into_iter().flatten() {
            // A number that stands for no name, or for one that is not known here.
            let number = (*value >= 0.0 && value.fract() == 0.0).then_some(*value as usize);
            let place = number.and_then(|n| places.get(n).copied().flatten());
            let Some(place) = place else {
                let found = number.and_then(|n| names.get(n).cloned());
                return Err(DataError::Name {
                    column: name.to_string(),
                    found: found.unwrap_or_else(|| value.to_string()),
                    known: order.join(", "),
                });
            };
            *value = place as f32;
        }
        self.about.names.insert(name.into(), order.to_vec());
        Ok(())
    }

    /// Make names of both data sets stand for the same numbers: those of all their names in order.
    ///
    /// # Errors
    /// Columns that one of the two holds as names and the other as numbers: the others agree all the same, and the error is of
    /// all such columns.
    pub fn agree(&mut self, other: &mut Dataset) -> Result<(), DataError> {
        let columns: Vec<String> = (self.columns.keys())
            .filter(|c| other.columns.contains_key(*c))
            .cloned()
            .collect();
        let mut unlike: Vec<(String, String)> = Vec::new();
        for column in columns {
            let union = match (
                self.about.names.get(&column),
                other.about.names.get(&column),
            ) {
                (None, None) => continue,
                (Some(a), Some(b)) if a == b => continue,
                (Some(a), Some(b)) => {
                    let mut union: Vec<String> = a.iter().chain(b).cloned().collect();
                    union.sort();
                    union.dedup();
                    union
                }
                (a, b) => {
                    let names = a.or(b).map(|n| n.join(", ")).unwrap_or_default();
                    unlike.push((column, names));
                    continue;
                }
            };
            self.rename(&column, &union)?;
            other.rename(&column, &union)?;
            let said = numbered(&union);
            (self.about.remarks).push(format!("'{column}' of all files: {said}"));
        }
        if unlike.is_empty() {
            return Ok(());
        }
        let (columns, names): (Vec<_>, Vec<_>) = unlike.into_iter().unzip();
        Err(DataError::NamesAndNumbers {
            column: columns.join("', '"),
            names: names.join("; "),
        })
    }
}

/// `QCD is read as 0, W as 1`.
pub(super) fn numbered(names: &[String]) -> String {
    let each = names.iter().enumerate().map(|(i, name)| match i {
        0 => format!("'{name}' is read as 0"),
        _ => format!("'{name}' as {i}"),
    });
    each.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_that_cannot_agree_leaves_the_others() {
        let of = |names: &[(&str, &[&str])]| {
            let mut dataset = Dataset::default();
            for column in ["channel", "signal"] {
                dataset.columns.insert(column.into(), vec![0.0]);
            }
            for (column, list) in names {
                let list = list.iter().map(ToString::to_string).collect();
                dataset.about.names.insert(column.to_string(), list);
            }
            dataset
        };
        let mut truth = of(&[("channel", &["e", "mu"]), ("signal", &["W"])]);
        let mut generated = of(&[("signal", &["QCD"])]);
        let error = truth.agree(&mut generated).unwrap_err();
        assert!(matches!(error, DataError::NamesAndNumbers { column, .. } if column == "channel"));
        assert_eq!(truth.columns["signal"], [1.0]);
        assert_eq!(generated.columns["signal"], [0.0]);
    }
}
