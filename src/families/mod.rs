//! The model families, a folder each, and the list of them.

pub mod sarm;
pub mod vae;

use crate::checkpoint::tensors::Tensors;
use crate::checkpoint::{CheckpointError, FIRST_FAMILY, Header};
use crate::family::{ConfigError, Configuration, Document, Family, Model, Setting, Source};

/// All families. A file that does not say is of [`FIRST_FAMILY`].
pub const FAMILIES: &[&dyn Family] = &[&sarm::Family, &vae::Family];

/// The family called `name`.
pub fn named(name: &str) -> Option<&'static dyn Family> {
    FAMILIES.iter().copied().find(|f| f.name() == name)
}

fn names() -> String {
    let names: Vec<_> = FAMILIES.iter().map(|f| f.name()).collect();
    names.join(", ")
}

/// The configuration file `text`, of the family that its `[model] family` names.
///
/// # Errors
/// An unknown family; what [`Family::configuration`] says.
pub fn configuration(text: &str) -> Result<Box<dyn Configuration>, ConfigError> {
    configuration_with(text, &[])
}

/// The configuration file `text`, changed by `settings`.
///
/// # Errors
/// As [`configuration`]; a setting that finds no place.
pub fn configuration_with(
    text: &str,
    settings: &[Setting],
) -> Result<Box<dyn Configuration>, ConfigError> {
    let source = Source::new(text, settings);
    let document = Document::parse(&source)?;
    let name = document
        .text_at(["model", "family"])
        .unwrap_or(FIRST_FAMILY);
    match named(name) {
        Some(family) => family.configuration(&document),
        None => Err(ConfigError::Value {
            key: "model.family".into(),
            value: format!("'{name}'"),
            why: format!("there is no such family, choose one of: {}", names()),
        }),
    }
}

/// The configuration of somebody who gives none: that of an empty file.
pub fn default_configuration() -> Box<dyn Configuration> {
    Box::new(sarm::Config::default())
}

/// The model in `file`, of which `header` is the header; its parameters are not read yet.
///
/// # Errors
/// An unknown family; what [`Family::model`] says.
pub fn model(header: &Header, file: &Tensors) -> Result<Box<dyn Model>, CheckpointError> {
    match named(&header.family) {
        Some(family) => family.model(&header.config, file),
        None => Err(file.damaged(format!(
            "its model is of the family '{}', this program knows: {}",
            header.family,
            names()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_is_a_key_with_a_default() {
        let config = |text: &str| configuration(text).map(|c| c.to_toml());
        let plain = config("").unwrap();
        assert!(plain.contains("[model]\nfamily = \"sarm\""), "{plain}");
        assert_eq!(config("[model]\nfamily = 'sarm'").unwrap(), plain);
        assert_eq!(config(&plain).unwrap(), plain);
        for (text, words) in [
            ("[model]\nfamily = 'gan'", "'model.family' is 'gan'"),
            ("[model]\nfamily = 3", "line 2"),
            ("[model]\nfamilies = 'sarm'", "unknown field"),
            ("[model", "line 1"),
        ] {
            let error = config(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
