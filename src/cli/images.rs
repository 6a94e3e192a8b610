//! The flags for which images are read, and how.

use std::{ops::Range, path::PathBuf};

use clap::{Args, ValueEnum};

use crate::cli::{Talk, fetch};
use crate::{
    data::{self, Filter, Fit, ImageSet, Places, Request, Resize, Split, ValueRange},
    error::{Error, Result},
};

/// Which images of a set are read, and how they are changed.
#[derive(Debug, Args)]
pub(super) struct Images {
    /// CSV file of images to leave out (CIFAR-10)
    #[arg(long, value_name = "FILE")]
    exclude: Option<PathBuf>,

    /// Read only the first N images
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,

    /// Read only images A to B - 1, counted from 0
    #[arg(long, value_name = "A..B", conflicts_with = "limit")]
    range: Option<String>,

    /// How images are resized: none, pad:SIDE (black margins), center-crop:SIDE, resize-crop:SIDE (as
    /// the official code reads LSUN), celeba:SIDE (the official code's crop of CelebA), or squash:SIDE
    #[arg(long, default_value = "none", value_name = "MODE")]
    resize: Resize,

    /// Resampling filter, with the same bytes as Pillow's [default: bilinear for resize-crop and
    /// celeba, otherwise lanczos]
    #[arg(long, value_enum, value_name = "NAME")]
    filter: Option<FilterName>,

    /// Give grey images three equal channels
    #[arg(long)]
    rgb: bool,

    /// Values of black and white in a float array, for instance 0,1 or 0,255; without it, the array's
    /// values must look like [-1, 1]
    #[arg(long, value_name = "A,B", allow_hyphen_values = true)]
    value_range: Option<ValueRange>,

    /// Download missing image sets, and the `inception` weights, into the cache
    #[arg(long)]
    download: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum SplitName {
    Train,
    Test,
}

impl SplitName {
    fn split(self) -> Split {
        match self {
            Self::Train => Split::Train,
            Self::Test => Split::Test,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FilterName {
    Lanczos,
    Bicubic,
    Bilinear,
    Box,
    Nearest,
}

impl FilterName {
    fn filter(self) -> Filter {
        match self {
            Self::Lanczos => Filter::Lanczos,
            Self::Bicubic => Filter::Bicubic,
            Self::Bilinear => Filter::Bilinear,
            Self::Box => Filter::Box,
            Self::Nearest => Filter::Nearest,
        }
    }
}

impl Images {
    /// Whether images are used as stored.
    pub(super) fn as_stored(&self) -> bool {
        self.resize == Resize::None && !self.rgb && self.exclude.is_none()
    }

    /// The positions to read; none means all of them.
    pub(super) fn positions(&self) -> Result<Option<Range<usize>>> {
        let Some(text) = &self.range else { return Ok(None) };
        let ends = text.split_once("..");
        let range = ends.and_then(|(a, b)| Some(a.trim().parse().ok()?..b.trim().parse().ok()?));
        match range {
            Some(range) if range.start < range.end => Ok(Some(range)),
            _ => Err(Error::input(format!(
                "--range {text}: give two positions, the second larger, for instance 0..64"
            ))),
        }
    }

    /// The number of images to read at most, from the first.
    pub(super) fn limit(&self) -> Option<usize> {
        self.limit.map(|n| usize::try_from(n).unwrap_or(usize::MAX))
    }

    /// The error for a range that a set does not have.
    pub(super) fn beyond(range: &Range<usize>, name: &str, n: usize) -> Error {
        let Range { start, end } = range;
        Error::input(format!("--range {start}..{end}: {name} has {n} images, counted from 0"))
    }

    /// The values of black and white in a float array.
    pub(super) fn value_range(&self) -> Option<ValueRange> {
        self.value_range
    }

    /// Finds the whole of a set by its name or path, resized as the flags say.
    pub(super) fn load_whole(
        &self,
        data: &str,
        default_split: Split,
        talk: &Talk,
    ) -> Result<ImageSet> {
        read(&Request { exclude: None, ..self.request(data, default_split) }, talk)
    }

    /// Finds a set by its name or path.
    pub(super) fn load(
        &self,
        data: &str,
        split: Option<SplitName>,
        default_split: Split,
        talk: &Talk,
    ) -> Result<ImageSet> {
        let range = self.positions()?;
        let split = split.map(SplitName::split);
        let limit = match &range {
            Some(range) => Some(range.end),
            None => self.limit(),
        };
        let mut set = read(&Request { split, limit, ..self.request(data, default_split) }, talk)?;
        if let Some(range) = range {
            if range.end > set.len() {
                return Err(Self::beyond(&range, &set.name, set.len()));
            }
            set = set.range(range);
        }
        Ok(set)
    }

    fn request<'a>(&'a self, data: &'a str, default_split: Split) -> Request<'a> {
        Request {
            data,
            split: None,
            default_split,
            exclude: self.exclude.as_deref(),
            limit: None,
            fit: Fit {
                resize: self.resize,
                filter: self.filter.map(FilterName::filter),
                rgb: self.rgb,
            },
            value_range: self.value_range,
            download: self.download,
        }
    }

    /// Downloads the weights of features known by name, with `--download`.
    pub(super) fn fetch_features(&self, features: &str, talk: &Talk) -> Result<()> {
        if self.download { fetch::features(features, talk) } else { Ok(()) }
    }
}

/// Finds a set and prints its notes.
fn read(request: &Request<'_>, talk: &Talk) -> Result<ImageSet> {
    let places = Places::from_env();
    let set = fetch::shown(talk, |watch| data::load(request, &places, watch))?;
    set.notes.iter().for_each(|note| talk.say(|| note.clone()));
    talk.note(|| {
        let excluded: usize = set.excluded.values().sum();
        format!("found {} images ({excluded} left out)", set.len())
    });
    Ok(set)
}
