//! Choosing rows of a data file by their per-row quantities.

use std::fmt;
use std::str::FromStr;

/// Rows whose quantity `name` lies in `low ..= high`.
///
/// Parsed from `NAME=VALUE` (exactly that value) or `NAME=LOW..HIGH`. **Both ends belong to the
/// range**: `signal=0..1` takes both classes and `jet_pt=250..300` is the closed interval. An end
/// left out is open: `jet_pt=250..`. A value that is no number is a name: `signal=W`. Ends compare in the precision of the data set, so
/// `tau_21=0.1` finds a float32 `0.1`.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// Per-row data set.
    pub name: String,
    /// Lowest value taken.
    pub low: f64,
    /// Highest value taken.
    pub high: f64,
    /// The name taken, of a data set that holds names; `low` and `high` mean nothing then.
    pub text: Option<String>,
}

impl Selection {
    /// Whether `value` is taken; `single` says that it was stored in 32 bits or fewer.
    pub fn takes(&self, value: f64, single: bool) -> bool {
        if single {
            (self.low as f32) as f64 <= value && value <= (self.high as f32) as f64
        } else {
            self.low <= value && value <= self.high
        }
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Selection {
            name, low, high, ..
        } = self;
        if let Some(text) = &self.text {
            return write!(f, "{name}={text}");
        }
        if low == high {
            return write!(f, "{name}={low}");
        }
        write!(f, "{name}=")?;
        if low.is_finite() {
            write!(f, "{low}")?;
        }
        write!(f, "..")?;
        if high.is_finite() {
            write!(f, "{high}")?;
        }
        Ok(())
    }
}

/// Why a selection could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bad selection '{text}' ({why}); write NAME=VALUE or NAME=LOW..HIGH, both ends included")]
pub struct SelectionError {
    text: String,
    why: String,
}

impl FromStr for Selection {
    type Err = SelectionError;

    fn from_str(text: &str) -> Result<Self, SelectionError> {
        let fail = |why: String| SelectionError {
            text: text.to_string(),
            why,
        };
        let number = |part: &str| {
            part.trim()
                .parse::<f64>()
                .ok()
                .filter(|v| v.is_finite())
                .ok_or_else(|| fail(format!("'{part}' is not a finite number")))
        };
        let (name, range) = text
            .split_once('=')
            .ok_or_else(|| fail("it has no '='".into()))?;
        let name = name.trim();
        if name.is_empty() {
            return Err(fail("it names no data set".into()));
        }
        let word = range.trim();
        if !word.is_empty() && !word.contains("..") && word.parse::<f64>().is_err() {
            return Ok(Selection {
                name: name.to_string(),
                low: f64::NAN,
                high: f64::NAN,
                text: Some(word.to_string()),
            });
        }
        let (low, high) = match range.split_once("..") {
            None => {
                let value = number(range)?;
                (value, value)
            }
            Some((low, high)) => {
                let end = |part: &str, open| match part.trim() {
                    "" => Ok(open),
                    _ => number(part),
                };
                (end(low, f64::NEG_INFINITY)?, end(high, f64::INFINITY)?)
            }
        };
        if low > high {
            return Err(fail(format!("{low} is above {high}")));
        }
        Ok(Selection {
            name: name.to_string(),
            low,
            high,
            text: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Selection {
        text.parse().unwrap()
    }

    #[test]
    fn values_and_ranges() {
        let one = parse("signal=1");
        assert_eq!((one.low, one.high), (1.0, 1.0));
        let range = parse("jet_eta = -1.5 .. 2e0");
        assert_eq!((range.low, range.high), (-1.5, 2.0));
        assert_eq!(range.name, "jet_eta");
        assert!(range.takes(2.0, false) && range.takes(-1.5, false) && !range.takes(2.1, false));
        assert!(!range.takes(f64::NAN, true));
        assert!(parse("m=..3").takes(-1e30, false) && parse("m=3..").takes(1e30, false));
        assert!(
            parse("t=0.1").takes(0.1f32 as f64, true)
                && !parse("t=0.1").takes(0.1f32 as f64, false)
        );
        let named = parse("signal = W+ jets");
        assert_eq!(named.text.as_deref(), Some("W+ jets"));
        assert!(!named.takes(0.0, false) && !named.takes(f64::NAN, false));
        for text in [
            "signal=1",
            "m=..3",
            "m=3..",
            "jet_pt=250..300",
            "signal=QCD",
        ] {
            assert_eq!(parse(text).to_string(), text);
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, why) in [
            ("signal", "no '='"),
            ("=1", "no data set"),
            ("signal=", "finite number"),
            ("signal=x..", "'x'"),
            ("m=nan", "finite"),
            ("m=inf..", "finite"),
            ("m=3..2", "3 is above 2"),
        ] {
            let message = text.parse::<Selection>().unwrap_err().to_string();
            assert!(
                message.contains(why) && message.contains(text),
                "{text}: {message}"
            );
        }
    }
}
