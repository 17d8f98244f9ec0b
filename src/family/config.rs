//! Mistakes of a configuration, each named with its key.

/// A configuration that cannot be used, and what to change.
#[derive(Debug, thiserror::Error)]
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
}

impl ConfigError {
    /// The parser's error in one line; its own spreads over several.
    pub(crate) fn syntax(text: &str, error: &toml::de::Error) -> Self {
        let start = error.span().map_or(0, |s| s.start.min(text.len()));
        let before = text.as_bytes()[..start]
            .iter()
            .filter(|b| **b == b'\n')
            .count();
        let shown: String = text.lines().nth(before).unwrap_or("").trim().into();
        ConfigError::Syntax {
            line: before + 1,
            text: shown.chars().take(80).collect(),
            why: error.message().trim().replace('\n', "; "),
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
