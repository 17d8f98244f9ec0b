//! Mistakes of a configuration, each named with its key.

use crate::conditions::ConditionConfig;

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

/// Check what every family's `[condition]` must be.
///
/// # Errors
/// The first value that makes no sense, named with its key.
pub(crate) fn check_conditions(c: &ConditionConfig) -> Result<(), ConfigError> {
    within("number of conditions", c.names.len(), 0, 256)?;
    for (i, name) in c.names.iter().enumerate() {
        if c.names[..i].contains(name) {
            impossible("condition.names", name, "it stands there twice")?;
        }
        // Generated files hold the conditions under their names.
        let pixels = ["image", "indptr", "index", "value"];
        if name.is_empty() || name.contains(['/', '\0']) || pixels.contains(&name.as_str()) {
            let shown = format!("'{}'", name.replace('\0', "\\0"));
            impossible(
                "condition.names",
                shown,
                "it cannot name a per-row data set",
            )?;
        }
    }
    if let Some(total) = &c.total
        && !c.names.contains(total)
    {
        impossible(
            "condition.total",
            total,
            "it must be one of condition.names",
        )?;
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
            impossible(
                key,
                format!("{} numbers", list.len()),
                format!("there are {} names", c.names.len()),
            )?;
        }
        if let Some(bad) = list.iter().find(|v| !v.is_finite()) {
            impossible(key, bad, "it must be finite")?;
        }
    }
    for scale in &c.scale {
        factor("condition.scale", *scale)?;
    }
    Ok(())
}
