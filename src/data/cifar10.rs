//! CIFAR-10 in its official layouts, the binary one and Python's.
//!
//! A batch file is a sequence of records of 3073 bytes: the label, then 32 x 32 values of red, of
//! green and of blue, row by row. `data_batch_1.bin` to `data_batch_5.bin` are the training split,
//! `test_batch.bin` is the test split, 10,000 records each in the official set. In the Python version
//! the names have no ending, and each file pickles the same images in the same order. The folder of
//! these files, a folder that holds it (or the archive) under its official name, and the `.tar.gz`
//! itself are all read as they are; nothing is unpacked to disk. Records of the binary files are read where
//! they lie; of an archive and of the Python version one file at a time is in memory.
//!
//! Some copies of the set hold images that are not the official bytes. An exclusion list leaves
//! them out, and the number left out is kept with the images and reported wherever they are counted.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::{self, Read},
    ops::Range,
    path::{Path, PathBuf},
};

use ndarray::Array4;

use crate::data::file;
use crate::data::{
    ImageSet, Images, Result as DataResult, Split, cifar10_python,
    content::{Content, Packing},
    unfold,
};

/// Folder of the batch files in the official archive.
const FOLDER: &str = "cifar-10-batches-bin";
/// Name of the official archive.
const ARCHIVE: &str = "cifar-10-binary.tar.gz";
/// Both, of the Python version.
const PYTHON_FOLDER: &str = "cifar-10-batches-py";
const PYTHON_ARCHIVE: &str = "cifar-10-python.tar.gz";
const CHANNELS: usize = 3;
const SIDE: usize = 32;
const PIXELS: usize = CHANNELS * SIDE * SIDE;
const RECORD: usize = 1 + PIXELS;
/// Records of which the labels are read at once.
const AT_ONCE: usize = 1000;
const CLASSES: u8 = 10;

/// The two layouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    Binary,
    Python,
}

impl Layout {
    /// The name of a batch file, given that of the binary version.
    fn name(self, file: &'static str) -> &'static str {
        match self {
            Self::Binary => file,
            Self::Python => file.strip_suffix(".bin").unwrap_or(file),
        }
    }

    /// The records in the bytes of a file.
    fn records(self, path: &Path, bytes: Vec<u8>) -> Result<Vec<u8>, Cifar10Error> {
        match self {
            Self::Binary => Ok(bytes),
            Self::Python => cifar10_python::records(&bytes, PIXELS)
                .map_err(|problem| Cifar10Error::Python { path: path.to_path_buf(), problem }),
        }
    }
}

impl Split {
    fn files(self) -> &'static [&'static str] {
        match self {
            Self::Train => &[
                "data_batch_1.bin",
                "data_batch_2.bin",
                "data_batch_3.bin",
                "data_batch_4.bin",
                "data_batch_5.bin",
            ],
            Self::Test => &["test_batch.bin"],
        }
    }
}

/// What can go wrong with the set or with an exclusion list.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cifar10Error {
    /// Nothing that looks like the set.
    #[error(
        "no CIFAR-10 at {}: expected a folder with {file}, a folder with {FOLDER}/ or {ARCHIVE}, or \
         the archive itself, or those of the Python version; get \"CIFAR-10 binary version\" from \
         https://www.cs.toronto.edu/~kriz/cifar.html",
        path.display()
    )]
    NotFound {
        /// The path that was given.
        path: PathBuf,
        /// First file looked for.
        file: &'static str,
    },
    /// A batch file of the split is missing.
    #[error("{} lacks {file}: unpack or download the whole archive again", path.display())]
    MissingFile {
        /// Folder or archive.
        path: PathBuf,
        /// The file missing from it.
        file: &'static str,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// An archive is damaged or is not one.
    #[error(
        "cannot unpack {}: {source}; {}",
        path.display(),
        if source.kind() == unfold::TOO_LONG {
            "unpack it with tar if it is what it should be, and give its folder"
        } else {
            "it is damaged or no .tar.gz, download it again"
        }
    )]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What the decoder says.
        source: io::Error,
    },
    /// A batch file does not end at the end of a record.
    #[error(
        "{} has {bytes} bytes, which is not a whole number of {RECORD}-byte records (label and \
         {CHANNELS} x {SIDE} x {SIDE} pixels): it is truncated or not of CIFAR-10's binary version",
        path.display()
    )]
    Length {
        /// The batch file.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// A file that is not a batch of the Python version.
    #[error(
        "{} is not a batch of CIFAR-10's Python version: {problem}; unpack or download the archive \
         again",
        path.display()
    )]
    Python {
        /// The batch file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A label that CIFAR-10 does not have.
    #[error(
        "{} has label {label} at image {index}, where CIFAR-10 has 0 to 9: it is another set or \
         another layout",
        path.display()
    )]
    Label {
        /// The batch file.
        path: PathBuf,
        /// Image within the file, 0-based.
        index: usize,
        /// The label found.
        label: u8,
    },
    /// A line of an exclusion list cannot be read.
    #[error(
        "{}, line {line}: {problem}; expected columns file,index,label,source such as \
         data_batch_1.bin,4298,8,lossy",
        path.display()
    )]
    Exclusion {
        /// The list.
        path: PathBuf,
        /// Line, 1-based.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// An exclusion list does not belong to the images.
    #[error(
        "{}, line {line}: {file} has {found} at image {index}, not label {label}: the list was made \
         for another copy of the set",
        path.display()
    )]
    ExclusionMismatch {
        /// The list.
        path: PathBuf,
        /// Line, 1-based.
        line: u64,
        /// The batch file it names.
        file: String,
        /// The image it names.
        index: usize,
        /// The label it expects there.
        label: u8,
        /// What is there.
        found: String,
    },
}

/// Images to leave out, by batch file and 0-based index within it.
#[derive(Clone, Debug)]
pub struct Exclusions {
    path: PathBuf,
    entries: BTreeMap<(String, usize), Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    line: u64,
    label: u8,
    source: String,
}

#[derive(serde::Deserialize)]
struct Row {
    file: String,
    index: usize,
    label: u8,
    source: String,
}

impl Exclusions {
    /// Reads a list with the columns `file`, `index` (0-based within the file), `label` and
    /// `source`.
    ///
    /// # Errors
    /// A file that cannot be read, a line that does not parse, or one that names no batch file.
    pub fn read(path: &Path) -> Result<Self, Cifar10Error> {
        let file = file::open(path).map_err(|source| read_error(path, source))?;
        let mut reader = csv::Reader::from_reader(file);
        let mut entries = BTreeMap::new();
        let refuse =
            |line, problem| Cifar10Error::Exclusion { path: path.to_path_buf(), line, problem };
        let headers = reader.headers().map_err(|error| refuse(1, error.to_string()))?.clone();
        let mut record = csv::StringRecord::new();
        loop {
            let line = reader.position().line();
            if !reader.read_record(&mut record).map_err(|error| refuse(line, error.to_string()))? {
                break;
            }
            let row: Row = record
                .deserialize(Some(&headers))
                .map_err(|error| refuse(line, error.to_string()))?;
            if ![Split::Train, Split::Test].iter().any(|s| s.files().contains(&row.file.as_str())) {
                return Err(refuse(line, format!("`{}` is not a batch file", row.file)));
            }
            let entry = Entry { line, label: row.label, source: row.source };
            entries.insert((row.file, row.index), entry);
        }
        Ok(Self { path: path.to_path_buf(), entries })
    }

    /// Entries of a batch file by image index.
    fn of(&self, file: &str) -> BTreeMap<usize, &Entry> {
        self.entries.iter().filter(|((f, _), _)| f == file).map(|((_, i), e)| (*i, e)).collect()
    }
}

/// Opens a split, with its classes, in the folder of the batch files, a folder around it, or the
/// archive.
///
/// Any whole number of records per file is accepted, so that small sets of the same layout can
/// stand in for the real one: ask for the number of images rather than assume it.
///
/// # Errors
/// A path without the set, a file that is missing, truncated or of another layout, or an
/// exclusion list that does not fit the images.
pub fn open(
    path: &Path,
    split: Split,
    exclude: Option<&Exclusions>,
) -> Result<ImageSet, Cifar10Error> {
    let (place, files) = match locate(path, split)? {
        Source::Folder(folder, layout) => in_folder(&folder, layout, split)?,
        Source::Archive(archive) => in_archive(&archive, split)?,
    };
    let mut all = Collected::default();
    for (index, file) in files.iter().enumerate() {
        all.add(index, file, exclude)?;
    }
    let Collected { positions, classes, excluded } = all;
    let paths = files.into_iter().map(|file| file.path).collect();
    let images = Batches { place, paths, positions, held: RefCell::new(None) };
    let split = split.name().to_owned();
    let set = ImageSet::of(images, "cifar10".to_owned());
    Ok(ImageSet { classes, hashes_classes: true, split, excluded, ..set })
}

/// Whether a path is the set: a folder of its batch files, a folder around it, or an archive.
///
/// A file counts by its name's ending, `.tar.gz` or `.tgz`.
pub fn is_at(path: &Path) -> bool {
    if path.is_file() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        return [".tar.gz", ".tgz"].iter().any(|ending| name.ends_with(ending));
    }
    [Split::Train, Split::Test].into_iter().any(|split| locate(path, split).is_ok())
}

/// A batch file: its name in the binary version, its path, and the labels of its records.
struct BatchFile {
    name: &'static str,
    path: PathBuf,
    labels: Vec<u8>,
}

#[derive(Default)]
struct Collected {
    /// Of each image, the index of its file and that of its record.
    positions: Vec<(usize, usize)>,
    classes: Vec<u8>,
    excluded: BTreeMap<String, usize>,
}

impl Collected {
    fn add(
        &mut self,
        file: usize,
        BatchFile { name, path, labels }: &BatchFile,
        exclude: Option<&Exclusions>,
    ) -> Result<(), Cifar10Error> {
        let mut left_out = exclude.map(|list| list.of(name)).unwrap_or_default();
        let mismatch =
            |index: usize, entry: &Entry, found: String| Cifar10Error::ExclusionMismatch {
                path: exclude.map(|list| list.path.clone()).unwrap_or_default(),
                line: entry.line,
                file: (*name).to_owned(),
                index,
                label: entry.label,
                found,
            };
        for (index, &label) in labels.iter().enumerate() {
            if label >= CLASSES {
                return Err(Cifar10Error::Label { path: path.clone(), index, label });
            }
            if let Some(entry) = left_out.remove(&index) {
                if entry.label != label {
                    return Err(mismatch(index, entry, format!("label {label}")));
                }
                *self.excluded.entry(entry.source.clone()).or_default() += 1;
                continue;
            }
            self.classes.push(label);
            self.positions.push((file, index));
        }
        if let Some((&index, entry)) = left_out.first_key_value() {
            let records = labels.len();
            return Err(mismatch(index, entry, format!("only {records} images, none")));
        }
        Ok(())
    }
}

/// Where records are.
enum Place {
    /// In files of their own.
    Folder(Layout, Vec<Content>),
    /// In an archive's members, at these places in the order of the archive.
    Archive(PathBuf, Content, Vec<(usize, Layout)>),
}

/// The images of a split, which are read from their files each time.
struct Batches {
    place: Place,
    /// Of each file.
    paths: Vec<PathBuf>,
    /// Of each image, the index of its file and that of its record.
    positions: Vec<(usize, usize)>,
    /// The records of the last file that could not be read in part.
    held: RefCell<Option<(usize, Vec<u8>)>>,
}

impl Images for Batches {
    fn shape(&self) -> [usize; 4] {
        [self.positions.len(), CHANNELS, SIDE, SIDE]
    }

    fn read(&self, positions: Range<usize>) -> DataResult<Array4<u8>> {
        let wanted = &self.positions[positions];
        let mut pixels = Vec::with_capacity(wanted.len() * PIXELS);
        for of_file in wanted.chunk_by(|a, b| a.0 == b.0) {
            let ((file, first), (_, last)) = (of_file[0], of_file[of_file.len() - 1]);
            let records = self.records(file, first..last + 1)?;
            for (_, index) in of_file {
                let record = (index - first) * RECORD;
                pixels.extend_from_slice(&records[record + 1..record + RECORD]);
            }
        }
        Ok(Array4::from_shape_vec((wanted.len(), CHANNELS, SIDE, SIDE), pixels)
            .expect("invariant: a record of pixels for each image"))
    }
}

impl Batches {
    /// Some records of a file.
    fn records(&self, file: usize, records: Range<usize>) -> Result<Vec<u8>, Cifar10Error> {
        if let Place::Folder(Layout::Binary, files) = &self.place {
            return plain_records(&self.paths[file], &files[file], records);
        }
        let mut held = self.held.borrow_mut();
        if held.as_ref().is_none_or(|(other, _)| *other != file) {
            // Before the next one is read.
            *held = None;
            *held = Some((file, self.whole(file)?));
        }
        let whole = held.as_ref().map_or(&[][..], |(_, whole)| whole);
        Ok(whole[records.start * RECORD..records.end * RECORD].to_vec())
    }

    /// All records of a file.
    fn whole(&self, file: usize) -> Result<Vec<u8>, Cifar10Error> {
        let path = &self.paths[file];
        match &self.place {
            Place::Folder(layout, files) => layout.records(path, all_bytes(path, &files[file])?),
            Place::Archive(archive, content, members) => {
                let (at, layout) = members[file];
                let mut bytes = vec![];
                let mut unpacked = tar::Archive::new(content.reader());
                let read = unpacked.entries().and_then(|mut entries| {
                    let member = entries.nth(at).ok_or(io::ErrorKind::UnexpectedEof)?;
                    member?.read_to_end(&mut bytes)
                });
                let damaged = |source| Cifar10Error::Archive { path: archive.clone(), source };
                read.map_err(damaged)?;
                layout.records(path, bytes)
            }
        }
    }
}

/// Some records of a binary file.
fn plain_records(
    path: &Path,
    content: &Content,
    records: Range<usize>,
) -> Result<Vec<u8>, Cifar10Error> {
    let at = (records.start * RECORD) as u64;
    content.bytes(at, records.len() * RECORD).map_err(|source| read_error(path, source))
}

fn all_bytes(path: &Path, content: &Content) -> Result<Vec<u8>, Cifar10Error> {
    let mut bytes = vec![];
    content.reader().read_to_end(&mut bytes).map_err(|source| read_error(path, source))?;
    Ok(bytes)
}

/// The labels of records.
fn labels(records: &[u8]) -> impl Iterator<Item = u8> {
    records.iter().step_by(RECORD).copied()
}

/// Makes sure that a file holds whole records, and at least one.
fn check_length(path: &Path, bytes: u64) -> Result<(), Cifar10Error> {
    if bytes > 0 && bytes.is_multiple_of(RECORD as u64) {
        return Ok(());
    }
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    Err(Cifar10Error::Length { path: path.to_path_buf(), bytes })
}

enum Source {
    Folder(PathBuf, Layout),
    Archive(PathBuf),
}

fn locate(path: &Path, split: Split) -> Result<Source, Cifar10Error> {
    let file = split.files()[0];
    if path.is_file() {
        return Ok(Source::Archive(path.to_path_buf()));
    }
    for (layout, inner, archive) in
        [(Layout::Binary, FOLDER, ARCHIVE), (Layout::Python, PYTHON_FOLDER, PYTHON_ARCHIVE)]
    {
        for folder in [path.to_path_buf(), path.join(inner)] {
            if split.files().iter().any(|file| folder.join(layout.name(file)).is_file()) {
                return Ok(Source::Folder(folder, layout));
            }
        }
        let archive = path.join(archive);
        if archive.is_file() {
            return Ok(Source::Archive(archive));
        }
    }
    Err(Cifar10Error::NotFound { path: path.to_path_buf(), file })
}

fn in_folder(
    folder: &Path,
    layout: Layout,
    split: Split,
) -> Result<(Place, Vec<BatchFile>), Cifar10Error> {
    let (mut contents, mut files) = (vec![], vec![]);
    for &name in split.files() {
        let path = folder.join(layout.name(name));
        let content = match file::open(&path).and_then(Content::plain) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = layout.name(name);
                return Err(Cifar10Error::MissingFile { path: folder.to_path_buf(), file });
            }
            Err(source) => return Err(read_error(&path, source)),
        };
        let mut found = vec![];
        if layout == Layout::Binary {
            let length = content.length().map_err(|source| read_error(&path, source))?;
            check_length(&path, length)?;
            let n = usize::try_from(length).unwrap_or(usize::MAX) / RECORD;
            for first in (0..n).step_by(AT_ONCE) {
                let some = plain_records(&path, &content, first..(first + AT_ONCE).min(n))?;
                found.extend(labels(&some));
            }
        } else {
            let records = layout.records(&path, all_bytes(&path, &content)?)?;
            check_length(&path, records.len() as u64)?;
            found.extend(labels(&records));
        }
        contents.push(content);
        files.push(BatchFile { name, path, labels: found });
    }
    Ok((Place::Folder(layout, contents), files))
}

fn in_archive(path: &Path, split: Split) -> Result<(Place, Vec<BatchFile>), Cifar10Error> {
    let damaged = |source| Cifar10Error::Archive { path: path.to_path_buf(), source };
    let file = file::open(path).map_err(|source| read_error(path, source))?;
    let length = file.metadata().map_err(|source| read_error(path, source))?.len();
    let content =
        Content::part(file, 0, length, Packing::Gzip).map_err(|source| read_error(path, source))?;
    let mut found = BTreeMap::new();
    for (at, entry) in tar::Archive::new(content.reader()).entries().map_err(damaged)?.enumerate() {
        let mut entry = entry.map_err(damaged)?;
        let inner = entry.path().map_err(damaged)?.into_owned();
        let Some(name) = inner.file_name().and_then(|name| name.to_str()) else { continue };
        let of = |layout: Layout| {
            let file = split.files().iter().find(|file| layout.name(file) == name);
            file.map(|&file| (layout, file))
        };
        if let Some((layout, name)) = of(Layout::Binary).or_else(|| of(Layout::Python)) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(damaged)?;
            let path = path.join(inner);
            let records = layout.records(&path, bytes)?;
            check_length(&path, records.len() as u64)?;
            let labels = labels(&records).collect();
            found.insert(name, ((at, layout), BatchFile { name, path, labels }));
        }
    }
    let (mut members, mut files) = (vec![], vec![]);
    for &file in split.files() {
        let (member, batch) = found
            .remove(file)
            .ok_or_else(|| Cifar10Error::MissingFile { path: path.to_path_buf(), file })?;
        members.push(member);
        files.push(batch);
    }
    Ok((Place::Archive(path.to_path_buf(), content, members), files))
}

fn read_error(path: &Path, source: io::Error) -> Cifar10Error {
    Cifar10Error::Read { path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use std::fs;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tempfile::TempDir;

    use super::*;
    use crate::data::HeldSet;

    fn plane(i: usize) -> u8 {
        u8::try_from(i % 251).unwrap()
    }

    /// Two records: the label is the file's number plus the index, and marks every pixel.
    fn batch(number: u8) -> Vec<u8> {
        let record = |label: u8| {
            let pixels = (0..PIXELS).map(move |i| plane(i) ^ label);
            std::iter::once(label).chain(pixels)
        };
        record(number).chain(record(number + 1)).collect()
    }

    fn write_set(folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        for (number, file) in (0..).zip(Split::Train.files()) {
            fs::write(folder.join(file), batch(number)).unwrap();
        }
        fs::write(folder.join("test_batch.bin"), batch(7)).unwrap();
    }

    fn write_archive(path: &Path) {
        let mut tar =
            tar::Builder::new(GzEncoder::new(File::create(path).unwrap(), Compression::fast()));
        let unpacked = TempDir::new().unwrap();
        write_set(unpacked.path());
        tar.append_dir_all(FOLDER, unpacked.path()).unwrap();
        tar.into_inner().unwrap().finish().unwrap();
    }

    fn exclusions(folder: &Path, rows: &str) -> Result<Exclusions, Cifar10Error> {
        let path = folder.join("exclude.csv");
        fs::write(&path, format!("file,index,label,source\n{rows}")).unwrap();
        Exclusions::read(&path)
    }

    fn read(
        path: &Path,
        split: Split,
        exclude: Option<&Exclusions>,
    ) -> Result<HeldSet, Cifar10Error> {
        open(path, split, exclude).map(|set| set.held().unwrap())
    }

    #[test]
    fn folder_parent_folder_and_archive_hold_the_same_set() {
        let dir = TempDir::new().unwrap();
        let inner = dir.path().join(FOLDER);
        write_set(&inner);
        let elsewhere = TempDir::new().unwrap();
        let archive = elsewhere.path().join(ARCHIVE);
        write_archive(&archive);
        for split in [Split::Train, Split::Test] {
            let set = read(&inner, split, None).unwrap();
            for path in [dir.path(), &archive, elsewhere.path()] {
                let same = read(path, split, None).unwrap();
                assert_eq!((same.images, same.classes), (set.images.clone(), set.classes.clone()));
                // In any order, over the ends of files.
                let again = open(path, split, None).unwrap().images;
                let n = set.len();
                for positions in [n - 1..n, 0..1, n / 2..n, 1..n / 2 + 1] {
                    let expected = set.images.slice(ndarray::s![positions.clone(), .., .., ..]);
                    assert_eq!(again.read(positions).unwrap(), expected);
                }
            }
        }
    }

    #[test]
    fn batches_come_in_order_and_planes_are_channels() {
        let dir = TempDir::new().unwrap();
        write_set(dir.path());
        let set = read(dir.path(), Split::Train, None).unwrap();
        assert_eq!(set.classes, [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]);
        assert_eq!(set.images.dim(), (10, 3, 32, 32));
        assert_eq!(set.images[[3, 2, 5, 9]], plane(2 * 1024 + 5 * 32 + 9) ^ 2);
        assert!(set.excluded.is_empty());
    }

    #[test]
    fn excluded_images_are_left_out_and_counted() {
        let dir = TempDir::new().unwrap();
        write_set(dir.path());
        let rows =
            "data_batch_2.bin,0,1,lossy\ntest_batch.bin,1,8,lossy\ndata_batch_5.bin,1,5,gone\n";
        let list = exclusions(dir.path(), rows).unwrap();
        let set = read(dir.path(), Split::Train, Some(&list)).unwrap();
        assert_eq!(set.classes, [0, 1, 2, 2, 3, 3, 4, 4]);
        assert_eq!(set.len(), 8);
        assert_eq!(set.excluded, BTreeMap::from([("gone".into(), 1), ("lossy".into(), 1)]));
        let whole = read(dir.path(), Split::Train, None).unwrap();
        assert_eq!(
            set.images.index_axis(ndarray::Axis(0), 2),
            whole.images.index_axis(ndarray::Axis(0), 3)
        );
        assert_ne!(set.sha256().unwrap(), whole.sha256().unwrap());
    }

    #[test]
    fn the_hash_is_that_of_the_records() {
        let dir = TempDir::new().unwrap();
        write_set(dir.path());
        let set = read(dir.path(), Split::Test, None).unwrap();
        assert_eq!(set.sha256().unwrap(), crate::data::sha256(&batch(7)));
    }

    #[test]
    fn a_list_for_another_copy_is_refused() {
        let dir = TempDir::new().unwrap();
        write_set(dir.path());
        for (rows, found) in [
            (
                "data_batch_1.bin,0,3,lossy\n",
                "data_batch_1.bin has label 0 at image 0, not label 3",
            ),
            ("data_batch_1.bin,9,3,lossy\n", "has only 2 images, none at image 9, not label 3"),
        ] {
            let list = exclusions(dir.path(), rows).unwrap();
            let error = read(dir.path(), Split::Train, Some(&list)).unwrap_err().to_string();
            assert!(error.contains(found) && error.contains("exclude.csv, line 2"), "{error}");
        }
    }

    #[test]
    fn a_line_of_the_list_that_does_not_parse_is_named() {
        let dir = TempDir::new().unwrap();
        for rows in [
            "test_batch.bin,1,8,lossy\ntest_batch.bin,one,8,lossy\n",
            "test_batch.bin,1,8,lossy\ntest.bin,1,8,lossy\n",
        ] {
            let error = exclusions(dir.path(), rows).unwrap_err();
            assert!(matches!(error, Cifar10Error::Exclusion { line: 3, .. }), "{error}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let dir = TempDir::new().unwrap();
        let error = read(dir.path(), Split::Test, None).unwrap_err();
        assert!(matches!(error, Cifar10Error::NotFound { file: "test_batch.bin", .. }));
        write_set(dir.path());
        fs::remove_file(dir.path().join("data_batch_3.bin")).unwrap();
        let error = read(dir.path(), Split::Train, None).unwrap_err();
        assert!(matches!(error, Cifar10Error::MissingFile { file: "data_batch_3.bin", .. }));
    }

    #[test]
    fn truncated_foreign_and_damaged_files_are_told_apart() {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("test_batch.bin");
        let refusal = || read(dir.path(), Split::Test, None).unwrap_err();
        fs::write(&file, &batch(7)[..5000]).unwrap();
        assert!(matches!(refusal(), Cifar10Error::Length { bytes: 5000, .. }));
        fs::write(&file, vec![10; RECORD]).unwrap();
        assert!(matches!(refusal(), Cifar10Error::Label { index: 0, label: 10, .. }));
        fs::remove_file(&file).unwrap();
        fs::write(dir.path().join(ARCHIVE), "not an archive").unwrap();
        assert!(matches!(refusal(), Cifar10Error::Archive { .. }));
    }

    /// By hand, on a copy of the real set.
    #[test]
    #[ignore = "needs CIFAR-10: set CIFAR10 to its folder or archive, CIFAR10_EXCLUDE to a list"]
    fn the_real_set_has_its_known_counts() {
        let path = PathBuf::from(std::env::var_os("CIFAR10").unwrap());
        let list =
            std::env::var_os("CIFAR10_EXCLUDE").map(|p| Exclusions::read(Path::new(&p)).unwrap());
        for (split, n) in [(Split::Train, 50_000), (Split::Test, 10_000)] {
            let set = read(&path, split, None).unwrap();
            assert_eq!(set.len(), n);
            let mut counts = [0; 10];
            set.classes.iter().for_each(|&class| counts[usize::from(class)] += 1);
            assert_eq!(counts, [n / 10; 10]);
            let kept = read(&path, split, list.as_ref()).unwrap();
            assert_eq!(kept.len() + kept.excluded.values().sum::<usize>(), n);
            let hash = set.sha256().unwrap();
            eprintln!("{} {} {:?} {hash}", split.name(), kept.len(), kept.excluded);
            // The published mean of the training images: 0.4914, 0.4822, 0.4465 of 255.
            let mean = set.images.mapv(f64::from).mean_axis(ndarray::Axis(0)).unwrap() / 255.0;
            for (channel, expected) in mean.outer_iter().zip([0.4914, 0.4822, 0.4465]) {
                approx::assert_abs_diff_eq!(channel.mean().unwrap(), expected, epsilon = 4e-3);
            }
        }
    }
}
