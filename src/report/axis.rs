//! One axis of a plot: it maps numbers to [0, 1] and chooses its ticks.

/// Maps the numbers of one axis to [0, 1].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub log: bool,
    /// Whether the axis is logarithmic.
    pub low: f64,
    pub high: f64,
}

impl Scale {
    pub fn over(values: impl Iterator<Item = f64>, log: bool, margin: f64) -> Self {
        let values = values.map(|value| if log { value.log10() } else { value });
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite()) {
            (low, high) = (low.min(value), high.max(value));
        }
        let mut room = margin * (high - low);
        if room <= 0.0 {
            // A single number: any scale is as good as another.
            room = if log { 0.1 } else { (0.1 * high.abs()).max(1e-6) };
        }
        Self { log, low: low - room, high: high + room }
    }

    pub fn at(&self, value: f64) -> f64 {
        let value = match self.log {
            true if value > 0.0 => value.log10(),
            true => self.low,
            false => value,
        };
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// Whether a number can be shown: a logarithmic axis has no zero.
    pub fn holds(&self, value: f64) -> bool {
        let value = if self.log { value.log10() } else { value };
        (self.low..=self.high).contains(&value)
    }

    /// Round numbers within the scale, with their labels.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let values = if self.log { self.log_ticks() } else { None };
        let values = values.unwrap_or_else(|| {
            let ends = if self.log {
                (10f64.powf(self.low), 10f64.powf(self.high))
            } else {
                (self.low, self.high)
            };
            linear_ticks(ends)
        });
        let plain = values.iter().all(|v| *v == 0.0 || (1e-3..1e5).contains(&v.abs()));
        values.into_iter().map(|v| (v, if plain { trim(v) } else { power(v) })).collect()
    }

    /// A few digits times powers of ten, fewer of them over more decades; none if fewer than three would
    /// be shown.
    fn log_ticks(&self) -> Option<Vec<f64>> {
        let digits: &[f64] = match self.high - self.low {
            decades if decades > 3.0 => &[1.0],
            decades if decades > 1.5 => &[1.0, 2.0, 5.0],
            _ => &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
        };
        let mut ticks = Vec::new();
        let mut exponent = self.low.floor();
        while exponent <= self.high {
            ticks.extend(digits.iter().map(|digit| digit * 10f64.powf(exponent)));
            exponent += 1.0;
        }
        ticks.retain(|tick| (self.low..=self.high).contains(&tick.log10()));
        (ticks.len() >= 3).then_some(ticks)
    }
}

/// About six round numbers between two numbers.
fn linear_ticks((low, high): (f64, f64)) -> Vec<f64> {
    let rough = (high - low) / 6.0;
    let power = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|m| m * power >= rough).unwrap_or(10.0) * power;
    let mut ticks = Vec::new();
    let mut i = (low / step).ceil();
    while i * step <= high {
        ticks.push(i * step);
        i += 1.0;
    }
    ticks
}

/// A number to six decimals, without zeros at the end.
pub(crate) fn trim(value: f64) -> String {
    let text = format!("{value:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.replace('-', "−") }
}

/// A number as a digit times a power of ten: `2·10⁻⁵`.
fn power(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let text = format!("{value:.1e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let digits = digits.trim_end_matches('0').trim_end_matches('.').replace('-', "−");
    let superscript: String = exponent
        .chars()
        .map(|c| match c.to_digit(10) {
            Some(digit) => ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'][digit as usize],
            None => '⁻',
        })
        .collect();
    if digits == "1" { format!("10{superscript}") } else { format!("{digits}·10{superscript}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers() {
        let ticks = |log, low: f64, high: f64| -> Vec<String> {
            Scale { log, low, high }.ticks().into_iter().map(|(_, label)| label).collect()
        };
        assert_eq!(ticks(false, -0.3, 1.1), ["−0.25", "0", "0.25", "0.5", "0.75", "1"]);
        assert_eq!(ticks(true, 0.9, 2.5), ["10", "20", "50", "100", "200"]);
        assert_eq!(ticks(true, -6.1, -1.9), ["10⁻⁶", "10⁻⁵", "10⁻⁴", "10⁻³", "10⁻²"]);
        assert_eq!(ticks(true, 1.6, 1.7), ["40", "42", "44", "46", "48", "50"]);
    }
}
