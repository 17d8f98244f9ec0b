//! Root attributes: where a file comes from and how it is laid out.

use std::collections::BTreeMap;

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(untagged)]
pub enum Attribute {
    /// A sentence, a name, a hash.
    Text(String),
    /// A number that is never negative: a seed, a count.
    Unsigned(u64),
    /// An integer.
    Integer(i64),
    /// A float.
    Real(f64),
}

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Attribute::Text(text.to_string())
    }
}

impl From<String> for Attribute {
    fn from(text: String) -> Self {
        Attribute::Text(text)
    }
}

impl From<u64> for Attribute {
    fn from(value: u64) -> Self {
        Attribute::Unsigned(value)
    }
}

impl From<f64> for Attribute {
    fn from(value: f64) -> Self {
        Attribute::Real(value)
    }
}

impl std::fmt::Display for Attribute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Attribute::Text(v) => v.fmt(f),
            Attribute::Unsigned(v) => v.fmt(f),
            Attribute::Integer(v) => v.fmt(f),
            Attribute::Real(v) => v.fmt(f),
        }
    }
}

/// Where a written file comes from: root attributes by name.
///
/// The writer adds `layout`, `format_version`, `height`, `width`, `units`, `axes`, `program` and
/// `version`; attributes given here under one of these names give way.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Provenance {
    /// Attributes by name.
    pub attributes: BTreeMap<String, Attribute>,
}

impl Provenance {
    /// No attributes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with one more attribute.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Attribute>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }
}
