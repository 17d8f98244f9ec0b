//! Axes: from values to places, ticks, frames.

use super::canvas::{Canvas, FAINT, INK, Tie};

/// One axis: values from `low` to `high` lie between two places on the canvas.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    log: bool,
    from: f64,
    to: f64,
}

impl Axis {
    /// Of equal steps. A range that is empty or not finite becomes one that can be drawn.
    pub(super) fn linear(low: f64, high: f64, from: f64, to: f64) -> Self {
        let (low, high) = if low < high && low.is_finite() && high.is_finite() {
            (low, high)
        } else if low.is_finite() && low.abs() < 1e300 {
            (low - 0.5 - low.abs() * 0.1, low + 0.5 + low.abs() * 0.1)
        } else {
            (0.0, 1.0)
        };
        Self {
            low,
            high,
            log: false,
            from,
            to,
        }
    }

    /// Of equal factors. A range that cannot be becomes `[0.1, 1]`.
    pub(super) fn log(low: f64, high: f64, from: f64, to: f64) -> Self {
        let fine = 0.0 < low && low < high && high.is_finite();
        let (low, high) = if fine { (low, high) } else { (0.1, 1.0) };
        Self {
            low,
            high,
            log: true,
            from,
            to,
        }
    }

    /// Whether values step by factors.
    pub(super) fn is_log(&self) -> bool {
        self.log
    }

    /// Place of a value; values outside lie on the nearer end.
    pub(super) fn at(&self, value: f64) -> f64 {
        let part = if self.log {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        let part = if part.is_nan() { 0.0 } else { part };
        self.from + (self.to - self.from) * part.clamp(0.0, 1.0)
    }

    /// How far along the axis a value lies, 0 to 1.
    pub(super) fn part(&self, value: f64) -> f64 {
        (self.at(value) - self.from) / (self.to - self.from)
    }

    /// Whether a value lies inside.
    pub(super) fn holds(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// Values to mark, with their labels (empty for small marks).
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        if self.log {
            return self.log_ticks();
        }
        // Labels of an upright axis need less room.
        let room = if self.to < self.from { 42.0 } else { 70.0 };
        let wanted = ((self.to - self.from).abs() / room).clamp(2.0, 8.0);
        let raw = (self.high - self.low) / wanted;
        let decade = 10f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0]
            .map(|s| s * decade)
            .into_iter()
            .find(|s| *s >= raw * 0.999)
            .unwrap_or(raw);
        let digits = (0..9)
            .find(|d| {
                let scaled = step * 10f64.powi(*d);
                (scaled - scaled.round()).abs() < 1e-6 * scaled
            })
            .unwrap_or(9) as usize;
        let (first, last) = ((self.low / step).ceil(), (self.high / step).floor());
        // Beyond 2^53 steps no longer separate values; the range then is marked at its ends.
        if !(last - first >= 0.0 && last - first < 50.0 && first.abs() < 1e15) {
            return vec![
                (self.low, label(self.low, 0)),
                (self.high, label(self.high, 0)),
            ];
        }
        (0..=(last - first) as i64)
            .map(|k| {
                let value = (first + k as f64) * step;
                (value, label(value, digits))
            })
            .collect()
    }

    /// [`ticks`](Self::ticks) with labels of at most `room` characters where that can be: if they are longer, in a power of
    /// ten, and what belongs behind the title then (" · 10³": labels are thousandths).
    pub(super) fn short_ticks(&self, room: usize) -> (Vec<(f64, String)>, String) {
        let ticks = self.ticks();
        let longest = ticks.iter().map(|(_, text)| text.chars().count()).max();
        let most = self.low.abs().max(self.high.abs());
        if self.log || longest.unwrap_or(0) <= room || most == 0.0 {
            return (ticks, String::new());
        }
        let power = most.log10().floor() as i32;
        let unit = 10f64.powi(power);
        let scaled = Self {
            low: self.low / unit,
            high: self.high / unit,
            ..self.clone()
        };
        let ticks = scaled.ticks().into_iter();
        (
            ticks.map(|(value, text)| (value * unit, text)).collect(),
            format!(" · {}", power_of_ten(-power)),
        )
    }

    fn log_ticks(&self) -> Vec<(f64, String)> {
        let (first, last) = (
            self.low.log10().floor() as i32,
            self.high.log10().ceil() as i32,
        );
        let every = ((last - first) as usize / 10 + 1) as i32;
        let mut out = Vec::new();
        for decade in first..=last {
            for digit in 1..10 {
                let value = f64::from(digit) * 10f64.powi(decade);
                // A little slack: powers are not exact.
                if value < self.low * 0.999_999 || value > self.high * 1.000_001 {
                    continue;
                }
                let labelled = digit == 1 && (decade - first) % every == 0;
                if labelled {
                    out.push((value, power_of_ten(decade)));
                } else if every == 1 || digit == 1 {
                    out.push((value, String::new()));
                }
            }
        }
        out
    }
}

fn label(value: f64, digits: usize) -> String {
    let value = if value == 0.0 { 0.0 } else { value };
    if value.abs() >= 1e6 {
        format!("{value:.1e}")
    } else {
        format!("{value:.digits$}").replace('-', "−")
    }
}

/// "10⁻³" and its like; small powers in full.
pub(super) fn power_of_ten(power: i32) -> String {
    match power {
        -1 => "0.1".to_string(),
        0 => "1".to_string(),
        1 => "10".to_string(),
        2 => "100".to_string(),
        _ => {
            let power = power.to_string();
            let digits = power.chars().map(|c| match c {
                '-' => '⁻',
                '1' => '¹',
                '2' => '²',
                '3' => '³',
                c => char::from_u32(0x2070 + c.to_digit(10).unwrap_or(0)).unwrap_or(c),
            });
            format!("10{}", digits.collect::<String>())
        }
    }
}

/// Which marks a frame carries.
pub(super) struct Frame<'a> {
    pub(super) x: &'a Axis,
    pub(super) y: &'a Axis,
    /// Title below; `None` leaves the numbers out too (an axis shared with the panel below).
    pub(super) x_title: Option<&'a str>,
    pub(super) y_title: &'a str,
    pub(super) grid: bool,
}

const TEXT: u32 = 12;
/// Characters of a label that end before the title begins.
const ROOM: usize = 5;

impl Frame<'_> {
    /// Faint lines at labelled ticks, to go under the data.
    pub(super) fn draw_grid(&self, canvas: &mut Canvas) {
        if self.grid {
            for (value, text) in self.y.short_ticks(ROOM).0 {
                if !text.is_empty() {
                    let y = self.y.at(value);
                    canvas.line((self.x.from, y), (self.x.to, y), FAINT, 0.8);
                }
            }
        }
    }

    /// Box, ticks, numbers and titles, to go over the data.
    pub(super) fn draw(&self, canvas: &mut Canvas) {
        let (left, right) = (self.x.from, self.x.to);
        let (bottom, top) = (self.y.from, self.y.to);
        for (value, text) in self.x.ticks() {
            let (x, length) = (self.x.at(value), if text.is_empty() { 3.0 } else { 6.0 });
            canvas.line((x, bottom), (x, bottom - length), INK, 1.0);
            canvas.line((x, top), (x, top + length), INK, 1.0);
            if self.x_title.is_some() {
                canvas.text((x, bottom + 17.0), Tie::Middle, TEXT, &text);
            }
        }
        let (ticks, power) = self.y.short_ticks(ROOM);
        for (value, text) in ticks {
            let (y, length) = (self.y.at(value), if text.is_empty() { 3.0 } else { 6.0 });
            canvas.line((left, y), (left + length, y), INK, 1.0);
            canvas.line((right, y), (right - length, y), INK, 1.0);
            canvas.text((left - 7.0, y + 4.0), Tie::End, TEXT, &text);
        }
        canvas.outline((left, top), (right, bottom), INK, 1.2);
        if let Some(title) = self.x_title {
            canvas.text((right, bottom + 38.0), Tie::End, 14, title);
        }
        let title = format!("{}{power}", self.y_title);
        canvas.upwards((left - 54.0, top), Tie::End, 14, &title);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        (axis.ticks().into_iter().map(|t| t.1))
            .filter(|t| !t.is_empty())
            .collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(
            labels(&Axis::linear(40.0, 120.0, 0.0, 420.0)),
            ["40", "60", "80", "100", "120"]
        );
        assert_eq!(
            labels(&Axis::linear(-0.1, 0.1, 0.0, 300.0)),
            ["−0.10", "−0.05", "0.00", "0.05", "0.10"]
        );
        assert_eq!(
            labels(&Axis::log(2e-4, 20.0, 0.0, 300.0)),
            ["10⁻³", "10⁻²", "0.1", "1", "10"]
        );
    }

    #[test]
    fn small_numbers_do_not_run_into_the_title() {
        for (low, high) in [
            (0.0, 0.00123),
            (-3.2e-5, 8e-5),
            (0.0, 4.5e7),
            (0.991, 0.99102),
        ] {
            let (ticks, power) = Axis::linear(low, high, 338.0, 34.0).short_ticks(ROOM);
            assert!(ticks.len() >= 2 && (high == 4.5e7 || !power.is_empty()));
            for (value, text) in &ticks {
                assert!((low - 1e-9..=high * 1.000_001).contains(value), "{value}");
                // Numbers that differ in their fifth digit need five.
                assert!(
                    low > 0.0 || text.chars().count() <= ROOM,
                    "'{text}' of {high}"
                );
            }
        }
        let (ticks, power) = Axis::linear(0.0, 0.00123, 338.0, 34.0).short_ticks(ROOM);
        assert_eq!((ticks[1].1.as_str(), power.as_str()), ("0.2", " · 10³"));
        let (ticks, power) = Axis::linear(0.0, 0.06, 338.0, 34.0).short_ticks(ROOM);
        assert_eq!((ticks[1].1.as_str(), power.as_str()), ("0.01", ""));
    }

    #[test]
    fn odd_ranges_can_be_drawn() {
        let ranges = [
            (1.0, 1.0),
            (0.0, 0.0),
            (f64::NAN, 1.0),
            (0.0, f64::INFINITY),
            (-3.4e38, 3.4e38),
            (1e20, 1e20 + 1e5),
            (3.0, 2.0),
        ];
        for (low, high) in ranges {
            for axis in [
                Axis::linear(low, high, 0.0, 100.0),
                Axis::log(low, high, 0.0, 100.0),
            ] {
                assert!(axis.ticks().len() < 400);
                for value in [low, high, f64::NAN, 0.0] {
                    assert!((0.0..=100.0).contains(&axis.at(value)));
                }
            }
        }
    }
}
