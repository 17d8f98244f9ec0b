//! Mistakes of a configuration, each named with its key.

use crate::conditions::ConditionConfig;

/// A configuration that cannot be used, and what to change.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConfigError {
    /// Not TOML, an unknown key, a value of the wrong type.
    #[error("line {line}, '{text}': {why}")]
    Syntax {
        /// Line of the file, counted from 1.
        line: usize,
        /// What stands there.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// The same of a value given apart from the file.
    #[error("--set {typed}: {why}")]
    Setting {
        /// As it was typed.
        typed: String,
        /// What is wrong with it.
        why: String,
    },
    /// A value that makes no sense.
    #[error("'{key}' is {value} ({why})")]
    Value {
        /// Path of the key, as `stage[1].layers`.
        key: String,
        /// What was given.
        value: String,
        /// Why it cannot be, and what can.
        why: String,
    },
    /// A mistake and where it was made.
    #[error("{place}: {mistake}")]
    At {
        /// A line of the file, or a setting.
        place: String,
        /// The mistake.
        mistake: Box<ConfigError>,
    },
    /// More than one.
    #[error("{} mistakes: {}", .0.len(), joined(.0))]
    Several(Vec<ConfigError>),
}

fn joined(mistakes: &[ConfigError]) -> String {
    let each: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    each.join("; ")
}

impl ConfigError {
    /// The parser's error in one line; its own spreads over several.
    pub(super) fn syntax(text: &str, error: &toml::de::Error) -> Self {
        let why = error.message().trim().replace('\n', "; ");
        Self::in_line(text, error.span().map_or(0, |s| s.start), why)
    }

    /// `why`, of the line of `text` that holds the place `at`.
    pub(super) fn in_line(text: &str, at: usize, why: String) -> Self {
        let line = line_at(text, at);
        let shown = text.lines().nth(line - 1).unwrap_or("").trim();
        ConfigError::Syntax {
            line,
            text: shown.chars().take(80).collect(),
            why,
        }
    }

    /// Path of the key that it is about; empty where there is none.
    pub(super) fn key(&self) -> &str {
        match self {
            ConfigError::Value { key, .. } => key,
            ConfigError::At { mistake, .. } => mistake.key(),
            _ => "",
        }
    }

    /// The mistakes in it, one by one.
    pub(super) fn each(self) -> Vec<ConfigError> {
        match self {
            ConfigError::Several(mistakes) => mistakes,
            one => vec![one],
        }
    }
}

/// Line of the place `at`, counted from 1.
pub(super) fn line_at(text: &str, at: usize) -> usize {
    let before = &text.as_bytes()[..at.min(text.len())];
    1 + before.iter().filter(|b| **b == b'\n').count()
}

/// Mistakes found so far.
#[derive(Debug, Default)]
pub(crate) struct Mistakes(Vec<ConfigError>);

impl Mistakes {
    /// One more, or several.
    pub fn add(&mut self, mistake: ConfigError) {
        self.0.extend(mistake.each());
    }

    /// Whether `checked` is none.
    pub fn note(&mut self, checked: Result<(), ConfigError>) -> bool {
        let good = checked.is_ok();
        checked.err().into_iter().for_each(|e| self.add(e));
        good
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// An error if there are any.
    pub fn end(mut self) -> Result<(), ConfigError> {
        match self.0.len() {
            0 => Ok(()),
            1 => Err(self.0.remove(0)),
            _ => Err(ConfigError::Several(self.0)),
        }
    }
}

pub(crate) fn impossible(
    key: impl Into<String>,
    value: impl ToString,
    why: impl Into<String>,
) -> Result<(), ConfigError> {
    Err(ConfigError::Value {
        key: key.into(),
        value: value.to_string(),
        why: why.into(),
    })
}

pub(crate) fn within(key: &str, value: usize, low: usize, high: usize) -> Result<(), ConfigError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    impossible(key, value, format!("it must be {low} to {high}"))
}

pub(crate) fn positive(key: &str, value: f64) -> Result<(), ConfigError> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    impossible(key, value, "it must be a positive number")
}

/// A factor or divisor of pixels and conditions: far from where single precision ends.
pub(crate) fn factor(key: &str, value: f64) -> Result<(), ConfigError> {
    if (1e-15..=1e15).contains(&value) {
        return Ok(());
    }
    impossible(key, value, "it must be a positive number, 1e-15 to 1e15")
}

/// Check what every family's `[condition]` must be.
///
/// # Errors
/// The values that make no sense, named with their keys.
pub(crate) fn check_conditions(c: &ConditionConfig) -> Result<(), ConfigError> {
    let mut found = Mistakes::default();
    if !found.note(within("number of conditions", c.names.len(), 0, 256)) {
        return found.end();
    }
    for (i, name) in c.names.iter().enumerate() {
        if c.names[..i].contains(name) {
            found.note(impossible("condition.names", name, "it stands there twice"));
        }
        // Generated files hold the conditions under their names.
        let pixels = ["image", "indptr", "index", "value"];
        if name.is_empty() || name.contains(['/', '\0']) || pixels.contains(&name.as_str()) {
            let shown = format!("'{}'", name.replace('\0', "\\0"));
            found.note(impossible(
                "condition.names",
                shown,
                "it cannot name a per-row data set",
            ));
        }
    }
    if let Some(total) = &c.total
        && !c.names.contains(total)
    {
        found.note(impossible(
            "condition.total",
            total,
            "it must be one of condition.names",
        ));
    }
    for (i, name) in c.log.iter().enumerate() {
        if !c.names.contains(name) {
            let why = "each of them must be one of condition.names";
            impossible("condition.log", name, why)?;
        }
        if c.log[..i].contains(name) {
            impossible("condition.log", name, "it stands there twice")?;
        }
        if c.total.as_ref() == Some(name) {
            let why =
                "it is the total, which pixels are taken from in GeV, so it must not be there";
            impossible("condition.log", name, why)?;
        }
    }
    for (key, list) in [("condition.mean", &c.mean), ("condition.scale", &c.scale)] {
        if !list.is_empty() && list.len() != c.names.len() {
            found.note(impossible(
                key,
                format!("{} numbers", list.len()),
                format!("there are {} names", c.names.len()),
            ));
        }
        if let Some(bad) = list.iter().find(|v| !v.is_finite()) {
            found.note(impossible(key, bad, "it must be finite"));
        }
    }
    for scale in c.scale.iter().filter(|s| s.is_finite()) {
        found.note(factor("condition.scale", *scale));
    }
    found.end()
}
