//! What the values of a float array mean.
//!
//! A float array does not say whether black is -1 or 0, and a wrong guess gives distances that look
//! like distances. So the range is stated ([`ValueRange`], `--value-range`), or it is [-1, 1], and
//! the distribution of the values must look like it (samples of a model are not clamped):
//!
//! - at most 1 % beyond [-1.5, 1.5] and at most 10 % beyond [-1, 1]: not 0 to 255, nor normalised by
//!   a mean and a standard deviation;
//! - at least 5 % below -0.1: not [0, 1], clamped or not;
//! - at least 1 % beyond [-0.55, 0.55]: not [-0.5, 0.5].
//!
//! Images that are very bright or very flat may fail this; stating the range lets them in. Where a
//! range is stated, at least half of the values must lie in it.

use std::{fmt, str::FromStr};

use ndarray::ArrayView4;

/// Why values are not taken for those of images.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RangeError {
    /// A value is NaN or infinite.
    #[error("image {image} holds {value}: leave out samples that diverged")]
    NotFinite {
        /// The image, from 0.
        image: usize,
        /// The value.
        value: f32,
    },
    /// Bytes, and another range than theirs is stated.
    #[error("it holds bytes, whose range is {}, not {stated} as stated", ValueRange::BYTES)]
    Bytes {
        /// The range that is stated.
        stated: ValueRange,
    },
    /// Most of the values lie beyond the range that is stated.
    #[error(
        "its values are {seen}, and {share} of them lie beyond {stated}, the range that is stated"
    )]
    Beyond {
        /// Ends and quantiles, in words.
        seen: String,
        /// How many of them, in words.
        share: String,
        /// The range that is stated.
        stated: ValueRange,
    },
    /// None is stated, and by their mass they are not in [-1, 1].
    #[error("its values are {seen}: {problem}")]
    Unlikely {
        /// Ends and quantiles, in words.
        seen: String,
        /// What speaks against [-1, 1], and what they may be.
        problem: String,
        /// What they may be.
        likely: Likely,
    },
}

/// What values that are not in [-1, 1] may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likely {
    /// 0 to 255.
    Bytes,
    /// 0 to 1.
    Unit,
    /// -0.5 to 0.5.
    Half,
    /// Normalised by a mean and a standard deviation.
    Normalised,
}

/// The values of black and white.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ValueRange {
    low: f32,
    high: f32,
}

impl ValueRange {
    /// -1 to 1.
    pub const SIGNED: Self = Self { low: -1.0, high: 1.0 };
    /// 0 to 255, that of bytes.
    pub const BYTES: Self = Self { low: 0.0, high: 255.0 };
}

impl FromStr for ValueRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ends = text.split_once(',').and_then(|(low, high)| {
            Some((low.trim().parse::<f32>().ok()?, high.trim().parse::<f32>().ok()?))
        });
        match ends {
            Some((low, high)) if low < high && (high - low).is_finite() => Ok(Self { low, high }),
            _ => Err(format!(
                "`{text}` is not LOW,HIGH, the values of black and white (as -1,1 or 0,1 or 0,255)"
            )),
        }
    }
}

impl fmt::Display for ValueRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {}]", self.low, self.high)
    }
}

impl ValueRange {
    /// A value of this range in [-1, 1].
    pub(super) fn to_signed(self, x: f32) -> f32 {
        if self == Self::SIGNED { x } else { 2.0 * (x - self.low) / (self.high - self.low) - 1.0 }
    }

    fn excludes(self, x: f32) -> bool {
        x < self.low || x > self.high
    }
}

/// What the values of images are, which are shown part by part.
pub(super) struct Survey {
    stated: Option<ValueRange>,
    images: usize,
    /// How many values there will be, and how many were shown.
    total: usize,
    shown: usize,
    least: f32,
    most: f32,
    /// Every n-th value: enough for two digits of the 0.1 % quantile.
    some: Vec<f32>,
    beyond: usize,
    far: usize,
    bright: usize,
    negative: usize,
    wide: usize,
}

impl Survey {
    /// Of so many values, taken as those of the range that is stated, if one is.
    pub(super) fn new(total: usize, stated: Option<ValueRange>) -> Self {
        Self {
            stated,
            images: 0,
            total,
            shown: 0,
            least: f32::INFINITY,
            most: f32::NEG_INFINITY,
            some: vec![],
            beyond: 0,
            far: 0,
            bright: 0,
            negative: 0,
            wide: 0,
        }
    }

    /// Shows the next images, `[n, C, H, W]`.
    ///
    /// # Errors
    /// A value that is not finite.
    pub(super) fn show(&mut self, images: ArrayView4<'_, f32>) -> Result<(), RangeError> {
        /// Values that are kept, at the least.
        const ENOUGH: usize = 1 << 20;
        let every = self.total.div_ceil(ENOUGH).max(1);
        let range = self.stated.unwrap_or(ValueRange::SIGNED);
        for image in images.outer_iter() {
            if let Some(&value) = image.iter().find(|x| !x.is_finite()) {
                return Err(RangeError::NotFinite { image: self.images, value });
            }
            self.images += 1;
            for &x in image {
                if self.shown.is_multiple_of(every) {
                    self.some.push(x);
                }
                self.shown += 1;
                self.least = self.least.min(x);
                self.most = self.most.max(x);
                self.beyond += usize::from(range.excludes(x));
                self.far += usize::from(x.abs() > 1.5);
                self.bright += usize::from(x > 1.5);
                self.negative += usize::from(x < -0.1);
                self.wide += usize::from(x.abs() > 0.55);
            }
        }
        Ok(())
    }

    /// The range that they are in, with a line on what was found; or what they are instead.
    ///
    /// # Errors
    /// Values that are not those of the range that is stated, or where none is stated, not in [-1, 1] by
    /// their mass.
    pub(super) fn verdict(mut self) -> Result<(ValueRange, String), RangeError> {
        self.some.sort_unstable_by(f32::total_cmp);
        let range = self.stated.unwrap_or(ValueRange::SIGNED);
        let beyond = self.share(self.beyond);
        if self.stated.is_some() {
            if beyond > 0.5 {
                let (seen, share) = (self.seen(), percent(beyond));
                return Err(RangeError::Beyond { seen, share, stated: range });
            }
        } else if let Some((likely, problem)) = self.other_than_signed(beyond) {
            return Err(RangeError::Unlikely { seen: self.seen(), problem, likely });
        }
        let beyond = match beyond {
            0.0 => String::new(),
            share => format!("; {} lie beyond", percent(share)),
        };
        Ok((range, format!("values {}, taken as {range}{beyond}", self.seen())))
    }

    /// What values may be that are not in [-1, 1] by their mass, and what speaks for it.
    fn other_than_signed(&self, beyond: f64) -> Option<(Likely, String)> {
        let (far, negative) = (self.share(self.far), self.share(self.negative));
        let wide = self.share(self.wide);
        if negative < 0.05 {
            return Some(if self.share(self.bright) > 0.01 {
                (Likely::Bytes, "0 to 255?".to_owned())
            } else {
                (Likely::Unit, format!("{} below -0.1, so [0, 1]?", percent(negative)))
            });
        }
        if far > 0.01 || beyond > 0.10 {
            let problem = format!(
                "{} beyond [-1, 1] and {} beyond [-1.5, 1.5], so normalised by a mean and a standard \
                 deviation?",
                percent(beyond),
                percent(far)
            );
            return Some((Likely::Normalised, problem));
        }
        (wide < 0.01).then(|| {
            (Likely::Half, format!("{} beyond [-0.55, 0.55], so [-0.5, 0.5]?", percent(wide)))
        })
    }

    fn share(&self, count: usize) -> f64 {
        count as f64 / self.shown as f64
    }

    /// Ends and quantiles of the values, in words.
    fn seen(&self) -> String {
        let (least, most, some) = (self.least, self.most, &self.some);
        let last = some.len() - 1;
        let (low, median, high) = (some[last / 1000], some[last / 2], some[last - last / 1000]);
        format!(
            "from {least:.4} to {most:.4} (0.1 % below {low:.4}, median {median:.4}, 0.1 % above \
             {high:.4})"
        )
    }
}

fn percent(share: f64) -> String {
    match 100.0 * share {
        x if x > 0.0 && x < 0.1 => "< 0.1 %".to_owned(),
        x => format!("{x:.1} %"),
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array4, s};

    use super::*;

    /// What is found of images that are shown in one part or in several, and they in [-1, 1].
    fn signed(
        images: &Array4<f32>,
        stated: Option<ValueRange>,
    ) -> Result<(Array4<f32>, String), RangeError> {
        let survey = |parts: &[ArrayView4<'_, f32>]| {
            let mut survey = Survey::new(images.len(), stated);
            parts.iter().try_for_each(|part| survey.show(*part))?;
            survey.verdict()
        };
        let at_once = survey(&[images.view()]);
        let in_parts = [images.slice(s![..1, .., .., ..]), images.slice(s![1.., .., .., ..])];
        assert_eq!(survey(&in_parts), at_once);
        let (range, note) = at_once?;
        Ok((images.mapv(|x| range.to_signed(x)), note))
    }

    /// 4096 normal values of a mean and a deviation, by their quantiles.
    fn normal(mean: f64, deviation: f64) -> Array4<f32> {
        use statrs::distribution::{ContinuousCDF, Normal};
        let normal = Normal::new(mean, deviation).unwrap();
        #[allow(clippy::cast_possible_truncation, reason = "values of a test")]
        let value = |i: usize| normal.inverse_cdf((i as f64 + 0.5) / 4096.0) as f32;
        Array4::from_shape_fn((4, 1, 32, 32), |(n, _, y, x)| value(n * 1024 + y * 32 + x))
    }

    fn said_of(images: &Array4<f32>, stated: Option<&str>) -> String {
        let stated = stated.map(|range| range.parse().unwrap());
        match signed(images, stated) {
            Ok((_, note)) => note,
            Err(problem) => format!("refused: {problem}"),
        }
    }

    /// Values mirrored into an interval, as images fill one.
    fn folded(low: f32, high: f32) -> Array4<f32> {
        normal(f64::midpoint(low.into(), high.into()), f64::from(high - low) / 4.0)
            .mapv(|x| x.clamp(low, high))
    }

    #[test]
    fn samples_in_minus_one_to_one_may_overshoot() {
        for images in [folded(-1.0, 1.0), folded(-1.05, 1.1), normal(0.1, 0.5), normal(0.3, 0.5)] {
            let said = said_of(&images, None);
            assert!(said.contains("taken as [-1, 1]"), "{said}");
        }
        // Dark images, as digits on black.
        let mut dark = Array4::from_elem((2, 1, 32, 32), -0.99);
        dark.slice_mut(ndarray::s![.., .., 10..13, ..]).fill(1.02);
        let said = said_of(&dark, None);
        assert!(said.ends_with("taken as [-1, 1]; 9.4 % lie beyond"), "{said}");
    }

    #[test]
    fn what_is_not_in_minus_one_to_one_by_its_mass_is_refused_as_what_it_may_be() {
        for (images, expected) in [
            (folded(0.0, 1.0), Likely::Unit),
            (folded(-0.02, 1.03), Likely::Unit),
            (normal(0.5, 0.2), Likely::Unit),
            (Array4::zeros((1, 1, 4, 4)), Likely::Unit),
            (folded(0.0, 255.0), Likely::Bytes),
            (folded(0.0, 255.0).mapv(|x| if x < 200.0 { 0.0 } else { x }), Likely::Bytes),
            (normal(0.0, 1.0), Likely::Normalised),
            (normal(-0.8, 0.9), Likely::Normalised),
            (folded(-2.1, 2.6), Likely::Normalised),
            (folded(-128.0, 127.0), Likely::Normalised),
            (folded(-0.5, 0.5), Likely::Half),
        ] {
            match signed(&images, None) {
                Err(RangeError::Unlikely { likely, .. }) => assert_eq!(likely, expected),
                other => panic!("{expected:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_stated_is_taken_unless_it_cannot_be() {
        let (images, note) = signed(&folded(0.0, 1.0), Some("0,1".parse().unwrap())).unwrap();
        assert!(note.ends_with("taken as [0, 1]"), "{note}");
        assert!(images.iter().any(|x| *x <= -1.0) && images.iter().any(|x| *x >= 1.0));
        let bytes = Array4::from_elem((1, 1, 2, 2), 255.0);
        assert!(signed(&bytes, Some(ValueRange::BYTES)).unwrap().0.iter().all(|x| *x >= 1.0));
        // An unclamped one keeps its overshoot, which is counted.
        let said = said_of(&normal(0.5, 0.3), Some("0,1"));
        assert!(said.contains("9.6 % lie beyond"), "{said}");
        let said = said_of(&folded(0.0, 255.0), Some("0,1"));
        assert!(said.contains("lie beyond [0, 1], the range that is stated"), "{said}");
        for text in ["1,0", "0", "a,b", "0,0", "0,inf", "nan,1"] {
            assert!(text.parse::<ValueRange>().is_err(), "{text}");
        }
    }
}
