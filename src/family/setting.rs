//! One value of a configuration, given apart from its file: `train.learning_rate=1e-3`.

use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ConfigError;

/// A key and its value in TOML, as somebody typed them.
///
/// The key is a path: tables by their names, elements of lists by their numbers from 0 (`stage.0.layers`, also
/// `stage[0].layers`). A value that is one word may do without its quotes (`train.schedule=cosine`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    typed: String,
    path: Vec<String>,
    value: String,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = (text.split_once('='))
            .ok_or("give a key and its value, as train.learning_rate=1e-3")?;
        let value = value.trim();
        let path: Vec<String> = (key.trim().replace('[', ".").replace(']', ""))
            .split('.')
            .map(String::from)
            .collect();
        let is_name = |step: &String| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
            !step.is_empty() && step.chars().all(plain)
        };
        if !path.iter().all(is_name) || key.matches('[').count() != key.matches(']').count() {
            return Err(format!(
                "'{key}' is no key; give a path such as train.epochs or stage.0.layers"
            ));
        }
        let mut words = value.chars();
        let word = words.next().is_some_and(|c| c.is_ascii_alphabetic())
            && words.all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
        let value = match DeValue::parse(value) {
            Ok(_) => value.to_string(),
            Err(_) if word => format!("\"{value}\""),
            Err(e) => {
                let why = e.message().trim().replace('\n', "; ");
                return Err(format!(
                    "'{value}' is no value of TOML ({why}); give a number, true, false, [a list] or \"a text\""
                ));
            }
        };
        Ok(Self {
            typed: text.into(),
            path,
            value,
        })
    }
}

impl Setting {
    /// As it was typed.
    pub fn typed(&self) -> &str {
        &self.typed
    }

    /// The last step of its path.
    pub(super) fn key(&self) -> &str {
        self.path.last().map_or("", String::as_str)
    }

    /// A document of its value alone, behind so much space that it starts at the place `start`, which is 2 or more.
    pub(super) fn padded(&self, start: usize) -> String {
        format!("{:>start$}{}", "v=", self.value)
    }

    /// Put it into `root`, the value being [`padded`](Self::padded).
    ///
    /// # Errors
    /// A path that leads through something else than a table or a list, or beyond the end of a list.
    pub(super) fn put_into<'s>(
        &self,
        root: &mut DeTable<'s>,
        padded: &'s str,
    ) -> Result<(), ConfigError> {
        let wrong = |why: String| ConfigError::Setting {
            typed: self.typed.clone(),
            why,
        };
        let document = DeTable::parse(padded).map_err(|e| wrong(e.message().into()))?;
        let Some(value) = document.into_inner().remove("v") else {
            return Ok(());
        };
        let span = value.span();
        let Some((last, tables)) = self.path.split_last() else {
            return Ok(());
        };
        let key = |name: &str| Spanned::new(span.clone(), name.to_string().into());
        let mut here = root;
        let mut steps = tables.iter();
        let mut so_far = String::new();
        while let Some(step) = steps.next() {
            so_far += if so_far.is_empty() { "" } else { "." };
            so_far += step;
            let inner = (here.entry(key(step)))
                .or_insert_with(|| Spanned::new(span.clone(), DeValue::Table(DeTable::new())));
            let inner = match inner.get_mut() {
                DeValue::Array(list) => {
                    let number = steps.next();
                    let count = list.len();
                    let element = number.and_then(|n| n.parse::<usize>().ok());
                    let Some(element) = element else {
                        return Err(wrong(format!(
                            "'{so_far}' is a list; give the number of an element, from 0"
                        )));
                    };
                    so_far += &format!(".{element}");
                    match list.get_mut(element) {
                        Some(element) => element.get_mut(),
                        None => {
                            return Err(wrong(format!(
                                "there is no '{so_far}' (there are {count}, counted from 0); add it in a file"
                            )));
                        }
                    }
                }
                inner => inner,
            };
            let DeValue::Table(inner) = inner else {
                return Err(wrong(format!(
                    "'{so_far}' is no table; give a shorter path"
                )));
            };
            here = inner;
        }
        here.remove(last.as_str());
        here.insert(key(last), value);
        Ok(())
    }
}
