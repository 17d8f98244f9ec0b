//! Numbers and names as they stand on a page.

use crate::data::grouped;

/// Text as HTML.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

/// "120 000": groups of three, which no line break parts.
pub(super) fn thousands(n: usize) -> String {
    grouped(n as u64).replace(' ', "\u{202f}")
}

/// "0.143 ± 0.021": the error with two digits, the value to the same place.
pub(super) fn value_with_error(value: f64, error: Option<f64>) -> String {
    let scale = error.filter(|e| *e > 0.0).unwrap_or(value.abs());
    let digits = if scale > 0.0 && scale.is_finite() {
        (1.0 - scale.log10().floor()).clamp(0.0, 9.0) as usize
    } else {
        2
    };
    match error {
        Some(error) => format!("{value:.digits$} ± {error:.digits$}"),
        None => format!("{value:.digits$}"),
    }
}

/// [`value_with_error`] of a value that may be absent.
pub(super) fn number(value: Option<f64>, error: Option<f64>) -> String {
    value.map_or("–".to_string(), |v| value_with_error(v, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_the_page() {
        assert_eq!(escape("a<b>&\"c\".h5"), "a&lt;b&gt;&amp;&quot;c&quot;.h5");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(value_with_error(0.14321, Some(0.0213)), "0.143 ± 0.021");
        assert_eq!(value_with_error(0.0, Some(0.0)), "0.00 ± 0.00");
        assert_eq!(value_with_error(12.3, None), "12");
    }
}
