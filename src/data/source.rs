//! Where a set is: a path, the folder that `DDIM_DATA` names, the user's cache, or its address.
//!
//! A file that is found is read as it is, and its checksum is not compared with the published one:
//! copies with other bytes exist and are useful, and every result states the hash of the images it
//! saw. What is downloaded must have the published checksum.

use std::{
    ffi::OsStr,
    io::Read,
    path::{Path, PathBuf},
};

use crate::data::file;
use crate::data::{
    Error, Fit, ImageSet, Missing, Result, Split, ValueRange, array, celeba,
    cifar10::{self, Exclusions},
    decode,
    download::{Checksum, Downloader, Watch},
    folder, idx,
};

/// A file at its published address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Name of the file.
    pub file: &'static str,
    /// The folder of the address, with a slash at its end.
    pub base: &'static str,
    /// The published checksum.
    pub checksum: Checksum<'static>,
}

impl Remote {
    /// The address.
    pub fn url(&self) -> String {
        format!("{}{}", self.base, self.file)
    }
}

/// A set that is known by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The name on the command line and in metadata, and the folder in the cache.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Folder of the set where torchvision keeps it.
    torchvision: Option<&'static str>,
    train: Remote,
    test: Remote,
}

const CIFAR10: Remote = Remote {
    file: "cifar-10-binary.tar.gz",
    base: "https://www.cs.toronto.edu/~kriz/",
    checksum: Checksum::Md5("c32a1d4ab5d03f1284b67883e8d87530"),
};
const MNIST: &str = "https://ossci-datasets.s3.amazonaws.com/mnist/";
const FASHION: &str = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/";
const TRAIN: &str = "train-images-idx3-ubyte.gz";
const TEST: &str = "t10k-images-idx3-ubyte.gz";

/// The sets known by name.
pub const KNOWN: [Known; 3] = [
    Known {
        name: "cifar10",
        about: "CIFAR-10: 50,000 + 10,000 colour images of 32 x 32",
        torchvision: None,
        train: CIFAR10,
        test: CIFAR10,
    },
    Known {
        name: "mnist",
        about: "MNIST: 60,000 + 10,000 grey images of 28 x 28, digits",
        torchvision: Some("MNIST/raw"),
        train: Remote {
            file: TRAIN,
            base: MNIST,
            checksum: Checksum::Md5("f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        },
        test: Remote {
            file: TEST,
            base: MNIST,
            checksum: Checksum::Md5("9fb629c4189551a2d022fa330f9573f3"),
        },
    },
    Known {
        name: "fashion-mnist",
        about: "Fashion-MNIST: 60,000 + 10,000 grey images of 28 x 28, clothes",
        torchvision: Some("FashionMNIST/raw"),
        train: Remote {
            file: TRAIN,
            base: FASHION,
            checksum: Checksum::Md5("8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        },
        test: Remote {
            file: TEST,
            base: FASHION,
            checksum: Checksum::Md5("bef4ecab320f06d8554ea6380940ec79"),
        },
    },
];

impl Known {
    /// The file that holds a split's images.
    pub fn remote(&self, split: Split) -> Remote {
        match split {
            Split::Train => self.train,
            Split::Test => self.test,
        }
    }

    /// The file or folder of a split on this machine, or how to get it.
    ///
    /// # Errors
    /// A set that is not here, or no folder that it could be put into.
    pub fn locate(&self, split: Split, places: &Places) -> Result<PathBuf> {
        if let Some(path) = places.find(self, split) {
            return Ok(path);
        }
        let remote = self.remote(split);
        Err(Box::new(Missing {
            name: self.name,
            looked: places.looked(),
            url: remote.url(),
            checksum: remote.checksum,
            destination: places.destination(self.name, remote)?,
            elsewhere: places.elsewhere(),
        })
        .into())
    }

    /// The file or folder of a split, downloaded into the cache if it is not on this machine.
    ///
    /// # Errors
    /// A download that fails, or no folder to download to.
    pub fn fetch(&self, split: Split, places: &Places, watch: &mut Watch<'_>) -> Result<PathBuf> {
        if let Some(path) = places.find(self, split) {
            return Ok(path);
        }
        let remote = self.remote(split);
        let destination = places.destination(self.name, remote)?;
        Downloader::from_env().fetch(&remote.url(), remote.checksum, &destination, watch)?;
        Ok(destination)
    }

    fn is_cifar10(&self) -> bool {
        self.train == CIFAR10
    }

    /// The set below a folder of sets, as a path that its reader takes.
    pub fn below(&self, root: &Path, split: Split) -> Option<PathBuf> {
        if self.is_cifar10() {
            return [root.to_path_buf(), root.join(self.name)]
                .into_iter()
                .find(|path| cifar10::is_at(path));
        }
        let mut folders = vec![root.join(self.name)];
        folders.extend(self.torchvision.map(|folder| root.join(folder)));
        if root.file_name() == Some(OsStr::new(self.name)) {
            folders.push(root.to_path_buf());
        }
        folders.iter().find_map(|folder| idx_file(folder, split))
    }
}

/// The idx file of a split's images in a folder.
fn idx_file(folder: &Path, split: Split) -> Option<PathBuf> {
    let plain = folder.join(idx::images_file(split));
    let zipped = folder.join(format!("{}.gz", idx::images_file(split)));
    [plain, zipped].into_iter().find(|path| path.is_file())
}

/// The folders that hold data sets on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// What `DDIM_DATA` names.
    pub data: Option<PathBuf>,
    /// The user's cache, `$XDG_CACHE_HOME/ddim` or `~/.cache/ddim`.
    pub cache: Option<PathBuf>,
}

impl Places {
    /// As the environment has them.
    pub fn from_env() -> Self {
        let folder =
            |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = folder("XDG_CACHE_HOME")
            // The XDG specification has relative paths ignored.
            .filter(|path| path.is_absolute())
            .or_else(|| folder("HOME").map(|home| home.join(".cache")))
            .filter(|path| path.is_absolute());
        Self { data: folder("DDIM_DATA"), cache: cache.map(|cache| cache.join("ddim")) }
    }

    fn find(&self, known: &Known, split: Split) -> Option<PathBuf> {
        let roots = [&self.data, &self.cache];
        roots.into_iter().flatten().find_map(|root| known.below(root, split))
    }

    /// Where a file is downloaded to.
    pub(super) fn destination(&self, name: &'static str, remote: Remote) -> Result<PathBuf> {
        let root = self.cache.as_ref().or(self.data.as_ref()).ok_or(Error::NoCache { name })?;
        Ok(root.join(name).join(remote.file))
    }

    pub(super) fn elsewhere(&self) -> &'static str {
        if self.data.is_some() { "" } else { "; DDIM_DATA may name a folder that has it" }
    }

    pub(super) fn looked(&self) -> String {
        let data = self.data.as_ref().map_or_else(
            || "DDIM_DATA (not set)".to_owned(),
            |path| format!("DDIM_DATA ({})", path.display()),
        );
        match &self.cache {
            Some(cache) => format!("{data} and {}", cache.display()),
            None => data,
        }
    }
}

/// Which images, and what is done to them.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// A name of [`KNOWN`], or a path.
    pub data: &'a str,
    /// The split that was asked for.
    pub split: Option<Split>,
    /// The split where none was asked for and there are several.
    pub default_split: Split,
    /// An exclusion list of CIFAR-10.
    pub exclude: Option<&'a Path>,
    /// The most images to read, counted from the first.
    pub limit: Option<usize>,
    /// Their size and channels.
    pub fit: Fit,
    /// The values of black and white in a float array; none is -1 to 1.
    pub value_range: Option<ValueRange>,
    /// Whether what is missing is downloaded.
    pub download: bool,
}

/// Finds an image set, whose images are read part by part when they are asked for.
///
/// What can be known without them is checked: headers, lengths, sizes, the checksums of packed data,
/// and the range of floats.
///
/// # Errors
/// A set that is not here or not known, images that cannot be read or do not belong together, or a
/// download that fails.
pub fn load(request: &Request<'_>, places: &Places, watch: &mut Watch<'_>) -> Result<ImageSet> {
    let path = Path::new(request.data);
    let set = if let Some(known) = KNOWN.iter().find(|known| known.name == request.data) {
        let split = request.split.unwrap_or(request.default_split);
        let path = if request.download {
            known.fetch(split, places, watch)?
        } else {
            known.locate(split, places)?
        };
        if known.is_cifar10() {
            cifar10(request, &path, split)?
        } else {
            ImageSet {
                split: split.name().to_owned(),
                ..idx(request, &path, known.name.to_owned())?
            }
        }
    } else if request.data == celeba::NAME {
        return celeba_by_name(request, places);
    } else if path.is_dir() {
        return in_folder(request, path);
    } else if path.is_file() {
        return in_file(request, path);
    } else {
        return Err(unknown(request.data));
    };
    finish(request, set)
}

fn celeba_by_name(request: &Request<'_>, places: &Places) -> Result<ImageSet> {
    no_exclusions(request)?;
    let roots = [&places.data, &places.cache].into_iter().flatten();
    let Some(folder) = roots.clone().find_map(|root| celeba::below(root)) else {
        let root = places.data.as_ref().or(places.cache.as_ref());
        let root = root.ok_or(Error::NoCache { name: celeba::NAME })?;
        return Err(Error::NoCeleba {
            looked: places.looked(),
            destination: root.join(celeba::NAME),
        });
    };
    let split = request.split.unwrap_or(request.default_split);
    let images = celeba::open(&folder, split, request.limit, request.fit)?;
    let set = ImageSet::of(images, format!("{}{}", celeba::NAME, request.fit));
    Ok(ImageSet { split: split.name().to_owned(), ..set })
}

fn finish(request: &Request<'_>, set: ImageSet) -> Result<ImageSet> {
    request.fit.apply(set.first(request.limit.unwrap_or(usize::MAX)))
}

fn cifar10(request: &Request<'_>, path: &Path, split: Split) -> Result<ImageSet> {
    let exclude = request.exclude.map(Exclusions::read).transpose()?;
    Ok(cifar10::open(path, split, exclude.as_ref())?)
}

fn idx(request: &Request<'_>, path: &Path, name: String) -> Result<ImageSet> {
    no_exclusions(request)?;
    let (images, classes) = idx::open(path)?;
    Ok(ImageSet { classes, ..ImageSet::of(images, name) })
}

fn no_exclusions(request: &Request<'_>) -> Result<()> {
    match request.exclude {
        Some(_) => Err(Error::NoExclusions { what: request.data.to_owned() }),
        None => Ok(()),
    }
}

fn no_splits(request: &Request<'_>) -> Result<()> {
    match request.split {
        Some(_) => Err(Error::NoSplits { path: request.data.into() }),
        None => Ok(()),
    }
}

/// The last part of a path; what a path is relative to stays out of committed files.
fn name_of(path: &Path) -> String {
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    whole.file_name().map_or_else(|| "images".to_owned(), |name| name.to_string_lossy().into())
}

fn in_folder(request: &Request<'_>, path: &Path) -> Result<ImageSet> {
    let split = request.split.unwrap_or(request.default_split);
    if cifar10::is_at(path) {
        return finish(request, cifar10(request, path, split)?);
    }
    if [Split::Train, Split::Test].into_iter().any(|split| idx_file(path, split).is_some()) {
        let file = idx_file(path, split).ok_or_else(|| Error::Empty {
            path: path.to_path_buf(),
            problem: format!(
                "has no {} (.gz or not), the images of its {} split",
                idx::images_file(split),
                split.name()
            ),
        })?;
        let set = idx(request, &file, name_of(path))?;
        return finish(request, ImageSet { split: split.name().to_owned(), ..set });
    }
    if ["train", "test", "meta"].iter().all(|file| path.join(file).is_file()) {
        let problem = "holds `train`, `test` and `meta`, CIFAR-100's Python version, which is not \
                       read: save its images as PNG files or as a .npy array of uint8";
        return Err(Error::Empty { path: path.to_path_buf(), problem: problem.to_owned() });
    }
    no_exclusions(request)?;
    no_splits(request)?;
    // Each is resized on its own, whatever size it has.
    let folder::Folder { images, notes } = folder::open(path, request.limit, request.fit)?;
    let set = ImageSet::of(images, format!("{}{}", name_of(path), request.fit));
    Ok(ImageSet { notes, ..set })
}

fn in_file(request: &Request<'_>, path: &Path) -> Result<ImageSet> {
    if cifar10::is_at(path) {
        let split = request.split.unwrap_or(request.default_split);
        return finish(request, cifar10(request, path, split)?);
    }
    if decode::is_image(path) {
        no_exclusions(request)?;
        no_splits(request)?;
        let images = folder::Files::new(vec![path.to_path_buf()], request.fit)?;
        return Ok(ImageSet::of(images, format!("{}{}", name_of(path), request.fit)));
    }
    let refuse = |problem: String| Error::Format { path: path.to_path_buf(), problem };
    no_exclusions(request)?;
    no_splits(request)?;
    let set = if array::is_array(path) {
        let (images, note) = array::open(path, request.value_range)?;
        ImageSet { notes: note.into_iter().collect(), ..ImageSet::of(images, name_of(path)) }
    } else if looks_like_idx(path) {
        idx(request, path, name_of(path))?
    } else {
        return Err(refuse(format!(
            "it is no set of images: expected a folder of image files or one of them ({}), a .npy \
             or .npz array, an idx file, or CIFAR-10's .tar.gz",
            decode::FORMATS
        )));
    };
    finish(request, set)
}

/// By the name that the published files have, or by the first bytes of an unpacked one.
fn looks_like_idx(path: &Path) -> bool {
    let mut start = [0; 3];
    let read = file::open(path).and_then(|mut file| file.read_exact(&mut start));
    name_of(path).contains("ubyte") || (read.is_ok() && start == [0, 0, 8])
}

fn unknown(name: &str) -> Error {
    let known: Vec<&str> = KNOWN.iter().map(|known| known.name).chain([celeba::NAME]).collect();
    let nearest = known
        .iter()
        .map(|known| (strsim::normalized_damerau_levenshtein(name, known), *known))
        .filter(|(likeness, _)| *likeness > 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    Error::Unknown {
        name: name.to_owned(),
        nearest: nearest.map(|(_, name)| name),
        known: known.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, ops::ControlFlow};

    use tempfile::TempDir;

    use super::*;
    use crate::data::{Images, Resize};

    fn request(data: &str) -> Request<'_> {
        Request {
            data,
            split: None,
            default_split: Split::Test,
            exclude: None,
            limit: None,
            fit: Fit::default(),
            value_range: None,
            download: false,
        }
    }

    fn load_from(request: &Request<'_>, places: &Places) -> Result<ImageSet> {
        load(request, places, &mut |_| ControlFlow::Break(()))
    }

    fn write_idx(path: &Path, n: u8) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut bytes = vec![0, 0, 8, 3, 0, 0, 0, n, 0, 0, 0, 2, 0, 0, 0, 2];
        bytes.extend(vec![n; 4 * usize::from(n)]);
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn ddim_data_comes_before_the_cache_and_torchvision_folders_are_known() {
        let (data, cache) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let places = Places { data: Some(data.path().into()), cache: Some(cache.path().into()) };
        write_idx(&cache.path().join("mnist/t10k-images-idx3-ubyte"), 3);
        let set = load_from(&request("mnist"), &places).unwrap();
        assert_eq!((set.len(), set.name.as_str(), set.split.as_str()), (3, "mnist", "test"));
        write_idx(&data.path().join("MNIST/raw/t10k-images-idx3-ubyte"), 5);
        assert_eq!(load_from(&request("mnist"), &places).unwrap().len(), 5);
        // Another set with files of the same names is not taken for it.
        assert!(load_from(&request("fashion-mnist"), &places).is_err());
        let only = Places { data: Some(data.path().join("MNIST/raw")), cache: None };
        assert!(load_from(&request("mnist"), &only).is_err());
    }

    #[test]
    fn a_missing_set_says_what_to_fetch_from_where_and_where_to_put_it() {
        let cache = TempDir::new().unwrap();
        let places = Places { data: None, cache: Some(cache.path().into()) };
        let error = load_from(&request("fashion-mnist"), &places).unwrap_err().to_string();
        for part in [
            "DDIM_DATA (not set)",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-images-idx3-ubyte.gz",
            "md5 bef4ecab320f06d8554ea6380940ec79",
            "fashion-mnist/t10k-images-idx3-ubyte.gz",
        ] {
            assert!(error.contains(part), "{error}");
        }
        let error = load_from(&request("cifar10"), &Places::default()).unwrap_err();
        assert!(matches!(error, Error::NoCache { .. }), "{error}");
    }

    #[test]
    fn the_nearest_known_name_is_offered_if_there_is_one() {
        for (name, nearest) in [
            ("cifar-10", Some("cifar10")),
            ("fashion_mnist", Some("fashion-mnist")),
            ("minst", Some("mnist")),
            ("imagenet", None),
        ] {
            let error = load_from(&request(name), &Places::default()).unwrap_err();
            assert!(matches!(error, Error::Unknown { nearest: n, .. } if n == nearest), "{error}");
        }
    }

    #[test]
    fn paths_are_told_apart_by_what_they_hold() {
        let dir = TempDir::new().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        write_idx(&dir.path().join("digits/train-images-idx3-ubyte"), 4);
        let folder = at("digits");
        let train = Request { split: Some(Split::Train), ..request(&folder) };
        let set = load_from(&train, &Places::default()).unwrap();
        assert_eq!((set.name.as_str(), set.split.as_str()), ("digits", "train"));
        let error = load_from(&request(&folder), &Places::default()).unwrap_err().to_string();
        assert!(error.contains("has no t10k-images-idx3-ubyte"), "{error}");
        // The file alone has no splits.
        let file = at("digits/train-images-idx3-ubyte");
        let set = load_from(&request(&file), &Places::default()).unwrap();
        assert_eq!(set.split, "all");
        let error = load_from(&Request { data: &file, ..train }, &Places::default()).unwrap_err();
        assert!(matches!(error, Error::NoSplits { .. }), "{error}");
        fs::create_dir(dir.path().join("hundred")).unwrap();
        for name in ["train", "test", "meta"] {
            fs::write(dir.path().join("hundred").join(name), b"\x80\x02}.").unwrap();
        }
        let error = load_from(&request(&at("hundred")), &Places::default()).unwrap_err();
        assert!(error.to_string().contains("CIFAR-100's Python version"), "{error}");
        fs::write(dir.path().join("notes.txt"), "text").unwrap();
        let error = load_from(&request(&at("notes.txt")), &Places::default()).unwrap_err();
        assert!(error.to_string().contains("it is no set of images"), "{error}");
    }

    #[test]
    fn a_limit_takes_the_first_images_before_they_are_resized() {
        let dir = TempDir::new().unwrap();
        write_idx(&dir.path().join("x-ubyte"), 9);
        let path = dir.path().join("x-ubyte").display().to_string();
        let fit = Fit { resize: Resize::Pad(4), rgb: true, ..Fit::default() };
        let request = Request { limit: Some(2), fit, ..request(&path) };
        let set = load_from(&request, &Places::default()).unwrap();
        assert_eq!((set.images.shape(), set.name.as_str()), ([2, 3, 4, 4], "x-ubyte pad:4 rgb"));
        assert!(set.images.read(1..2).unwrap().iter().all(|byte| [0, 9].contains(byte)));
    }
}
