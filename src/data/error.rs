//! Why there are no images.

use std::{io, path::PathBuf};

use crate::{
    data::{RangeError, cifar10, download},
    limits,
};

/// The result of reading images.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with an image set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// CIFAR-10 or its exclusion list.
    #[error(transparent)]
    Cifar10(#[from] cifar10::Cifar10Error),
    /// A download.
    #[error(transparent)]
    Download(#[from] download::DownloadError),
    /// A file or folder cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not what its place or name says.
    #[error("{}: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and the remedy.
        problem: String,
    },
    /// The values of an array are not those of images.
    #[error("{}: {problem}", path.display())]
    Range {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        problem: RangeError,
    },
    /// A folder or a set without images.
    #[error("{} {problem}", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
        /// What was looked for, and what is there.
        problem: String,
    },
    /// Images of a folder that have different sizes.
    #[error(
        "{} is {} x {} (width x height), but {} is {} x {}: images of a set have one size",
        path.display(), found.0, found.1, first.display(), expected.0, expected.1
    )]
    Sizes {
        /// The first file of another size.
        path: PathBuf,
        /// Its width and height.
        found: (u32, u32),
        /// The first file of the folder.
        first: PathBuf,
        /// Its width and height.
        expected: (u32, u32),
    },
    /// Images that do not fit into the frame they should be padded to.
    #[error("pad:{side} cannot hold images of {width} x {height} (width x height)")]
    Pad {
        /// The frame.
        side: u32,
        /// The image.
        width: u32,
        /// The image.
        height: u32,
    },
    /// Images that are not CelebA's aligned ones.
    #[error(
        "celeba:SIDE cuts the face out of aligned CelebA images of 178 x 218 (width x \
         height), and one is {width} x {height}: give the folder img_align_celeba, or crop otherwise"
    )]
    Celeba {
        /// The image.
        width: u32,
        /// The image.
        height: u32,
    },
    /// An image that would be too large while it is resized.
    #[error(
        "resizing an image this narrow takes {width} x {height} pixels on the way, and at most {} \
         are held: take center-crop, or leave it out",
        limits::PIXELS
    )]
    TooLarge {
        /// The resampled image.
        width: u32,
        /// The resampled image.
        height: u32,
    },
    /// Neither a known name nor a path.
    #[error(
        "there is no data set or path `{name}`{}; data sets known by name: {known}",
        nearest.map_or_else(String::new, |nearest| format!(" (did you mean {nearest}?)"))
    )]
    Unknown {
        /// What was given.
        name: String,
        /// The known name most like it, if one is.
        nearest: Option<&'static str>,
        /// All known names.
        known: String,
    },
    /// A known set that is not on this machine.
    #[error(transparent)]
    Missing(#[from] Box<Missing>),
    /// There is no folder to download to.
    #[error(
        "there is no cache folder to download {name} to: neither XDG_CACHE_HOME nor HOME is an \
         absolute path; set DDIM_DATA to the folder that data sets go to"
    )]
    NoCache {
        /// The set.
        name: &'static str,
    },
    /// CelebA is not on this machine.
    #[error(
        "celeba is not on this machine: looked in {looked}; its authors give it out through Google \
         Drive, which is not fetched here: put img_align_celeba/ and list_eval_partition.txt into \
         {} (the folder that torchvision.datasets.CelebA makes)",
        destination.display()
    )]
    NoCeleba {
        /// The places, in words.
        looked: String,
        /// Where to put it.
        destination: PathBuf,
    },
    /// A split was asked for where there is none.
    #[error("{} has no splits", path.display())]
    NoSplits {
        /// The folder or file.
        path: PathBuf,
    },
    /// An exclusion list was given for a set it cannot describe.
    #[error("{what}: an exclusion list names batch files of CIFAR-10, and this is another layout")]
    NoExclusions {
        /// The set.
        what: String,
    },
}

/// A known set that is not on this machine, and how it gets there.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "{name} is not on this machine: looked in {looked}; fetch {url} ({checksum}) and put it at \
     {}{elsewhere}",
    destination.display()
)]
pub struct Missing {
    /// The set.
    pub name: &'static str,
    /// The places, in words.
    pub looked: String,
    /// What to fetch.
    pub url: String,
    /// Its published checksum.
    pub checksum: download::Checksum<'static>,
    /// Where to put it.
    pub destination: PathBuf,
    /// The variable that names another folder, in words.
    pub elsewhere: &'static str,
}

impl Missing {
    /// The message, with the command that fetches it too.
    pub fn or_let(&self, command: &str) -> String {
        let by_hand = Self { elsewhere: "", ..self.clone() };
        format!("{by_hand}, or let {command} do it{}", self.elsewhere)
    }
}
