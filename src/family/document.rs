//! A configuration file and the settings that change it, read so that every mistake is told at once, with its place.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::config::{Mistakes, line_at};
use super::{ConfigError, Setting};
use crate::data::slip;

/// More mistakes than this are not told: the first ones will do.
const MOST: usize = 20;

/// What a configuration is read from: a file, and settings that change it.
pub struct Source<'t> {
    text: &'t str,
    settings: &'t [Setting],
    /// Where each setting's value starts: places behind the text, as if it went on with them.
    starts: Vec<usize>,
    /// The settings' values, each at its place.
    padded: Vec<String>,
}

impl<'t> Source<'t> {
    /// The file `text`, to be changed by `settings`, the later ones last.
    pub fn new(text: &'t str, settings: &'t [Setting]) -> Self {
        // Room for what a value stands behind.
        let mut next = text.len() + 2;
        let mut starts = Vec::new();
        let mut padded = Vec::new();
        for setting in settings {
            let value = setting.padded(next);
            starts.push(next);
            next = value.len() + 2;
            padded.push(value);
        }
        Self {
            text,
            settings,
            starts,
            padded,
        }
    }
}

/// The TOML of a configuration, settings put in.
pub struct Document<'s> {
    source: &'s Source<'s>,
    root: DeTable<'s>,
}

impl<'s> Document<'s> {
    /// Read TOML, and no more.
    ///
    /// # Errors
    /// All that is no TOML, with its lines; a setting that finds no place.
    pub fn parse(source: &'s Source<'s>) -> Result<Self, ConfigError> {
        let (root, errors) = DeTable::parse_recoverable(source.text);
        let mut mistakes = Mistakes::default();
        for error in errors.iter().take(MOST) {
            mistakes.add(ConfigError::syntax(source.text, error));
        }
        mistakes.end()?;
        let mut root = root.into_inner();
        let mut mistakes = Mistakes::default();
        for (setting, padded) in source.settings.iter().zip(&source.padded) {
            mistakes.note(setting.put_into(&mut root, padded));
        }
        mistakes.end()?;
        Ok(Document { source, root })
    }

    /// The text at `path`, where there is one.
    pub fn text_at(&self, path: [&str; 2]) -> Option<&str> {
        let table = self.root.get(path[0])?.get_ref().as_table()?;
        table.get(path[1])?.get_ref().as_str()
    }

    /// Read the whole; `check` says what is wrong with the values.
    ///
    /// # Errors
    /// Every mistake there is: unknown keys, wrong types, values that make no sense.
    pub fn read<T: DeserializeOwned>(
        &self,
        check: impl FnOnce(&T) -> Result<(), ConfigError>,
    ) -> Result<T, ConfigError> {
        let mut mistakes = Mistakes::default();
        let mut rest = self.root.clone();
        // Each mistake is taken out, to find the next one.
        let mut tables = Vec::new();
        let mut told = std::collections::BTreeSet::new();
        let value = loop {
            let document = Spanned::new(0..self.source.text.len(), rest.clone());
            match T::deserialize(toml::de::Deserializer::from(document)) {
                Ok(value) => break Some(value),
                Err(error) => {
                    let at = error.span().unwrap_or(0..0);
                    let mistake = self.syntax(&at, error.message());
                    // The same again where what was taken out was not all of it.
                    if told.insert(mistake.to_string()) {
                        mistakes.add(mistake);
                    }
                    match take_out(&mut rest, at.start) {
                        Some(table) if mistakes.len() < MOST => tables.push(table),
                        _ => break None,
                    }
                }
            }
        };
        let checked = value.as_ref().map_or(Ok(()), check);
        for mistake in checked.err().into_iter().flat_map(ConfigError::each) {
            // What was taken out may be all that is wrong with the rest of its table.
            let table = mistake.key().split(['.', '[']).next().unwrap_or_default();
            if !tables.iter().any(|t| t == table) {
                mistakes.add(self.placed(mistake));
            }
        }
        mistakes.end()?;
        // Without a value there was a mistake.
        value.ok_or_else(|| ConfigError::in_line(self.source.text, 0, "no configuration".into()))
    }

    /// The setting whose value lies at `place`.
    fn setting_at(&self, place: usize) -> Option<&Setting> {
        let after = self.source.starts.partition_point(|start| *start <= place);
        self.source.settings.get(after.checked_sub(1)?)
    }

    fn syntax(&self, at: &Range<usize>, message: &str) -> ConfigError {
        let why = explained(message);
        // What is wrong inside [likelihood] is said of the whole table, whoever put it there.
        let mut settings = self.source.settings.iter();
        let put_in = settings.find(|setting| Some(setting.key()) == unknown(message));
        match put_in.or_else(|| self.setting_at(at.start)) {
            Some(setting) => ConfigError::Setting {
                typed: setting.typed().into(),
                why,
            },
            None => ConfigError::in_line(self.source.text, at.start, why),
        }
    }

    /// The same mistake, with the place of its key where that is in the file or among the settings.
    fn placed(&self, mistake: ConfigError) -> ConfigError {
        let Some(at) = self.place_of(mistake.key()) else {
            return mistake;
        };
        let place = match self.setting_at(at) {
            Some(setting) => format!("--set {}", setting.typed()),
            None => format!("line {}", line_at(self.source.text, at)),
        };
        ConfigError::At {
            place,
            mistake: Box::new(mistake),
        }
    }

    /// Where the value of `key` starts, as `stage[1].layers`.
    fn place_of(&self, key: &str) -> Option<usize> {
        let mut table = &self.root;
        let mut steps = key.split('.').peekable();
        loop {
            let step = steps.next()?;
            let (name, number) = match step.split_once('[') {
                Some((name, number)) => (name, number.strip_suffix(']')?.parse::<usize>().ok()),
                None => (step, None),
            };
            let mut value = table.get(name)?;
            if let Some(number) = number {
                value = value.get_ref().get(number)?;
            }
            match steps.peek() {
                None => return Some(value.span().start),
                Some(_) => table = value.get_ref().as_table()?,
            }
        }
    }
}

/// Take the innermost entry that lies at `at` out of `table`: the name of the outermost table that it was in.
fn take_out(table: &mut DeTable<'_>, at: usize) -> Option<String> {
    let names: Vec<String> = table.keys().map(|key| key.get_ref().to_string()).collect();
    for name in names {
        let (key, value) = table.get_key_value(name.as_str())?;
        let here = key.span().contains(&at) || value.span().contains(&at);
        let inside = match table.get_mut(name.as_str())?.get_mut() {
            DeValue::Table(inner) => take_out(inner, at).is_some(),
            DeValue::Array(list) => (list.iter_mut()).any(|element| match element.get_mut() {
                DeValue::Table(inner) => take_out(inner, at).is_some(),
                _ => false,
            }),
            _ => false,
        };
        if here && !inside {
            table.remove(name.as_str());
        }
        if here || inside {
            return Some(name);
        }
    }
    None
}

/// The key that the parser does not know, where that is its message.
fn unknown(message: &str) -> Option<&str> {
    let (name, _) = message.strip_prefix("unknown field `")?.split_once('`')?;
    Some(name)
}

/// The parser's message in the words of this program, with a near name for one that is unknown.
fn explained(message: &str) -> String {
    let Some(name) = unknown(message) else {
        return message.trim().replace('\n', "; ");
    };
    let names: Vec<&str> = message.split('`').skip(3).step_by(2).collect();
    let near = near(name, names.iter().copied());
    let hint = near.map_or(String::new(), |near| format!(" ('{near}' is near)"));
    format!(
        "unknown field '{name}'{hint}; choose one of: {}",
        names.join(", ")
    )
}

/// The one of `names` that a slip of the hand makes into `name`.
pub(super) fn near<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let slips = names.filter_map(|other| Some((slip(name, other)?, other)));
    slips
        .min_by_key(|(steps, _)| *steps)
        .map(|(_, other)| other)
}

#[cfg(test)]
mod tests {
    use crate::families::configuration_with;
    use crate::family::Setting;

    fn said(text: &str, settings: &[&str]) -> String {
        let settings: Vec<Setting> = settings.iter().map(|s| s.parse().unwrap()).collect();
        match configuration_with(text, &settings) {
            Ok(config) => config.to_toml(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_mistake_is_told_at_once_with_its_line() {
        let text = "colour = 1\n[[stage]]\nunits_per_pixel = 0\n[input]\nunit = 'GeV'\n[train]\nbatchs = 3\nepochs = 'x'\n[condition]\nnames = ['a', 'a']\n";
        let error = said(text, &[]);
        for words in [
            "6 mistakes: ",
            "line 1, 'colour = 1': unknown field 'colour'",
            "line 3: 'stage[0].units_per_pixel' is 0",
            "line 5, 'unit = 'GeV'': invalid type",
            "line 7, 'batchs = 3': unknown field 'batchs' ('batch' is near)",
            "line 10: 'condition.names' is a",
        ] {
            assert!(error.contains(words), "{words}: {error}");
        }
        // What may follow from a mistake that is told is not told.
        let error = said(
            "[train]\nvalidation = 'none'\npatience = 3\nbatch = 0\n",
            &[],
        );
        assert!(error.starts_with("line 2"), "{error}");
        let error = said("a = \nb = 3 4\n", &[]);
        assert!(
            error.contains("line 1") && error.contains("line 2"),
            "{error}"
        );
    }

    #[test]
    fn settings_change_the_file() {
        let text = "[[stage]]\nsquare = 3\n[[stage]]\n[train]\nepochs = 3\n";
        let toml = said(
            text,
            &[
                "train.epochs=7",
                "train.schedule=cosine",
                "stage.1.layers=2",
                "stage[0].units_per_pixel = 4",
                "input.also=[{transform = 'log1p', unit = 0.5}]",
                "input.also.0.scale=0.25",
                "likelihood = {kind = 'dd', levels = 30}",
                "condition.names=[\"signal\"]",
            ],
        );
        for words in [
            "epochs = 7",
            "schedule = \"cosine\"",
            "layers = 2",
            "units_per_pixel = 4",
            "scale = 0.25",
            "levels = 30",
            "names = [\"signal\"]",
        ] {
            assert!(toml.contains(words), "{words}: {toml}");
        }
        assert!(said("", &["train.epochs=7"]).contains("epochs = 7"));
        for (setting, words) in [
            (
                "train.epoch=7",
                "--set train.epoch=7: unknown field 'epoch' ('epochs' is near)",
            ),
            ("trian.epochs=7", "('train' is near)"),
            ("train.epochs=many", "--set train.epochs=many: invalid type"),
            (
                "train.epochs=0",
                "--set train.epochs=0: 'train.epochs' is 0",
            ),
            ("stage.2.layers=1", "there are 2"),
            ("stage.first.layers=1", "is a list"),
            ("train.epochs.more=1", "is no table"),
            (
                "likelihood.latents=3",
                "--set likelihood.latents=3: missing field `kind`",
            ),
            (
                "input.also=[{unit = 1.0, size = 2}]",
                "unknown field 'size'",
            ),
        ] {
            let error = said(text, &[setting]);
            assert!(error.contains(words), "{setting}: {error}");
        }
        for wrong in [
            "epochs",
            "=3",
            "a..b=3",
            "train.epochs=",
            "train.epochs=3 4",
            "stage[x=3",
        ] {
            assert!(wrong.parse::<Setting>().is_err(), "{wrong}");
        }
    }
}
