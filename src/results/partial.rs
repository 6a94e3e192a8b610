//! The finished batches of a cell that is not finished, in files that only grow.
//!
//! A run has one file for each cell it has begun, and so has each of its shards. A file is a header and
//! records, each with a checksum:
//!
//! | part | what |
//! |---|---|
//! | header | `ddim rows 2\n`, then u64: numbers a row, batch, samples; the cell's key; SHA-256 of these |
//! | record | u64: kind, first sample, rows, model calls, threads, start; f64: seconds, those of sampling; the rows in f32; SHA-256 |
//!
//! All numbers are little-endian. A record's checksum covers that of the record before it, or the header's:
//! none can be lost, swapped, or come from another cell. A record of kind 1 says in words that a sample
//! diverged, and ends the cell.
//!
//! A file is read up to its last whole batch before the first byte that is not as it was written. What
//! follows is discarded and drawn again, to the same bytes, since noise is keyed by sample.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom, Write},
    ops::Range,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use ndarray::{Array2, ArrayView2, s};
use sha2::{Digest, Sha256};

use crate::results::{
    listing::{self, KEY},
    record::ResultsError,
    shard::Shard,
};

/// The parts of a file's name around the start of its cell's key, and the shard that follows it.
pub(crate) const NAME: [&str; 2] = ["partial-", ".f32"];

const MAGIC: &[u8; 12] = b"ddim rows 2\n";

/// Bytes of a checksum.
const SUM: usize = 32;

/// Bytes of a header in front of the key.
const FIXED: usize = MAGIC.len() + 3 * 8;

/// Bytes of a record in front of its rows.
const FRONT: usize = 8 * 8;

/// The kinds of records.
const NUMBERS: u64 = 0;
const DIVERGED: u64 = 1;

/// The longest text of a divergence.
const TEXT: usize = 1000;

/// What decides which rows a cell's files may hold.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a> {
    /// The cell's key, in hexadecimal digits.
    pub key: &'a str,
    /// Numbers of a row.
    pub width: usize,
    /// Samples of a batch.
    pub batch: usize,
    /// Samples of the cell.
    pub samples: usize,
}

impl Layout<'_> {
    /// The number of batches, the last of which may be smaller.
    pub fn batches(&self) -> usize {
        self.samples.div_ceil(self.batch)
    }

    /// Where the batch of a sample ends.
    fn end_after(&self, sample: usize) -> usize {
        (sample - sample % self.batch).saturating_add(self.batch).min(self.samples)
    }

    fn header(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for number in [self.width, self.batch, self.samples] {
            bytes.extend((number as u64).to_le_bytes());
        }
        bytes.extend(self.key.as_bytes());
        let sum = Sha256::digest(&bytes);
        bytes.extend(sum);
        bytes
    }
}

/// What a part of a cell took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Model calls of each sample; of several parts, the most.
    pub calls: u64,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// Those from noise to images.
    pub sampling: f64,
    /// When it started, in seconds of Unix time; of several parts, the first.
    pub started: u64,
    /// Threads that computed it; of several parts, those of the one that started first.
    pub threads: usize,
}

impl Work {
    fn add(&mut self, part: &Self) {
        if self.threads == 0 || part.started < self.started {
            (self.started, self.threads) = (part.started, part.threads);
        }
        self.calls = self.calls.max(part.calls);
        self.seconds += part.seconds;
        self.sampling += part.sampling;
    }
}

/// The finished batches of a cell, from all files of a folder.
#[derive(Debug)]
pub struct Rows {
    batch: usize,
    samples: usize,
    width: usize,
    /// Of all samples, those not drawn being zero; none if only their being there is asked for.
    numbers: Option<Array2<f32>>,
    done: Vec<bool>,
    work: Work,
    diverged: Option<String>,
    remarks: Vec<String>,
}

impl Rows {
    /// Reads every file of a cell, and changes none. The rows themselves are kept if `keep`.
    ///
    /// # Errors
    /// A file that cannot be read; one that is damaged is a remark.
    pub fn read(folder: &Path, layout: Layout<'_>, keep: bool) -> Result<Self, ResultsError> {
        let mut rows = Self::none(layout, keep);
        for (path, _) in files(folder, layout.key) {
            rows.take(&path, layout)?;
        }
        Ok(rows)
    }

    fn none(layout: Layout<'_>, keep: bool) -> Self {
        let Layout { width, batch, samples, .. } = layout;
        Self {
            batch,
            samples,
            width,
            numbers: keep.then(|| Array2::zeros((samples, width))),
            done: vec![false; layout.batches()],
            work: Work::default(),
            diverged: None,
            remarks: vec![],
        }
    }

    /// Which batches are there.
    pub fn done(&self) -> &[bool] {
        &self.done
    }

    /// The samples of the given batches that are not there, in ranges as long as they can be.
    pub fn missing(&self, batches: Range<usize>) -> Vec<Range<usize>> {
        let mut missing: Vec<Range<usize>> = vec![];
        for batch in batches.filter(|&batch| !self.done[batch]) {
            let first = batch * self.batch;
            let samples = first..first.saturating_add(self.batch).min(self.samples);
            match missing.last_mut() {
                Some(last) if last.end == samples.start => last.end = samples.end,
                _ => missing.push(samples),
            }
        }
        missing
    }

    /// Whether nothing is left to draw.
    pub fn is_complete(&self) -> bool {
        self.diverged.is_some() || self.done.iter().all(|&done| done)
    }

    /// What diverged, if a sample did.
    pub fn diverged(&self) -> Option<&str> {
        self.diverged.as_deref()
    }

    /// What the batches took together.
    pub fn work(&self) -> &Work {
        &self.work
    }

    /// Lines about files that are not as they were written.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// The numbers of all samples, `[samples, width]`.
    ///
    /// # Panics
    /// If they were not kept.
    pub fn numbers(&self) -> ArrayView2<'_, f32> {
        self.numbers.as_ref().expect("the rows were read to be counted alone").view()
    }

    /// Takes what a file holds, up to where it is damaged; returns how far that is, and the checksum there.
    fn take(&mut self, path: &Path, layout: Layout<'_>) -> Result<(u64, [u8; SUM]), ResultsError> {
        let error = |source| ResultsError::Io { path: path.into(), action: "read", source };
        let nothing = (0, [0; SUM]);
        let mut file = match File::open(path) {
            Ok(file) => BufReader::new(file),
            Err(missing) if missing.kind() == ErrorKind::NotFound => return Ok(nothing),
            Err(source) => return Err(error(source)),
        };
        let expected = layout.header();
        let found = up_to(&mut file, expected.len()).map_err(error)?;
        if found.is_empty() {
            return Ok(nothing);
        }
        if found != expected {
            let problem = about_header(&found, &expected);
            self.remarks.push(format!("{}: {problem}; it is not used", path.display()));
            return Ok(nothing);
        }
        let mut sum = [0; SUM];
        sum.copy_from_slice(&expected[expected.len() - SUM..]);
        let mut good = (expected.len() as u64, sum);
        let mut at = good.0;
        // The parts of a batch that is not whole yet.
        let mut open: Vec<Record> = vec![];
        let damage = loop {
            let record = match Record::read(&mut file, layout, &sum).map_err(error)? {
                Next::End => break None,
                Next::Damaged => break Some(at),
                Next::Whole(record) => *record,
            };
            at += record.length;
            sum = record.sum;
            if let Some(text) = record.diverged {
                self.diverged.get_or_insert(text);
                good = (at, sum);
                continue;
            }
            let expected = open.last().map(|last| last.samples.end);
            let is_next = expected.map_or(record.samples.start % layout.batch == 0, |next| {
                record.samples.start == next
            });
            if !is_next {
                break Some(at - record.length);
            }
            let (batch, end) = (record.samples.start / layout.batch, record.samples.end);
            open.push(record);
            if end == layout.end_after(open[0].samples.start) {
                self.add(batch, &open, path);
                open.clear();
                good = (at, sum);
            }
        };
        if let Some(at) = damage {
            self.remarks.push(format!(
                "{}: damaged at byte {at}; what follows byte {} is not used",
                path.display(),
                good.0
            ));
        }
        Ok(good)
    }

    fn add(&mut self, batch: usize, parts: &[Record], path: &Path) {
        if self.done[batch] {
            let differs = |part: &Record| {
                let here = self.numbers.as_ref().map(|all| all.slice(s![part.samples.clone(), ..]));
                here.is_some_and(|here| {
                    here.iter().zip(&part.numbers).any(|(a, b)| a.to_bits() != b.to_bits())
                })
            };
            if parts.iter().any(differs) {
                self.remarks.push(format!(
                    "{}: its samples from {} on differ from those of another file, which count: were \
                     they drawn on another machine, or with another number of threads?",
                    path.display(),
                    batch * self.batch
                ));
            }
            return;
        }
        self.done[batch] = true;
        for part in parts {
            self.work.add(&part.work);
            if let Some(numbers) = &mut self.numbers {
                let into = numbers.slice_mut(s![part.samples.clone(), ..]);
                into.into_iter().zip(&part.numbers).for_each(|(into, from)| *into = *from);
            }
        }
    }
}

/// A cell's rows, and the file to which this process adds.
#[derive(Debug)]
pub struct Partial {
    path: PathBuf,
    file: File,
    /// The folder that the file was opened in.
    folder: (u64, u64),
    sum: [u8; SUM],
    rows: Rows,
    /// The end of the samples written of a batch that is not whole.
    open: Option<usize>,
}

impl Partial {
    /// The file of a cell, or of a shard of it.
    pub fn path(folder: &Path, key: &str, shard: Option<Shard>) -> PathBuf {
        let shard = shard.map_or_else(String::new, |shard| format!("-{}", shard.tag()));
        folder.join(NAME.join(&format!("{}{shard}", &key[..KEY])))
    }

    /// Reads every file of a cell, and opens that of this process to add to it: what is damaged in it is
    /// cut off. A shard needs no rows but to know which are there.
    ///
    /// Only a process that has the folder to itself hears of the damages of other files: a shard may see one
    /// while it is written.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub fn open(
        folder: &Path,
        layout: Layout<'_>,
        shard: Option<Shard>,
    ) -> Result<Self, ResultsError> {
        let mut rows = Rows::none(layout, shard.is_none());
        let path = Self::path(folder, layout.key, shard);
        let (length, sum) = rows.take(&path, layout)?;
        let own = rows.remarks.len();
        for (other, _) in files(folder, layout.key).into_iter().filter(|(other, _)| *other != path)
        {
            rows.take(&other, layout)?;
        }
        if shard.is_some() {
            rows.remarks.truncate(own);
        }
        let error = |source| ResultsError::Io { path: path.clone(), action: "write", source };
        let file =
            OpenOptions::new().create(true).read(true).write(true).truncate(false).open(&path);
        let mut file = file.map_err(error)?;
        file.set_len(length).and_then(|()| file.seek(SeekFrom::End(0))).map_err(error)?;
        let folder = identity(folder).map_err(error)?;
        let mut partial = Self { path, file, folder, sum, rows, open: None };
        if length == 0 {
            let header = layout.header();
            partial.write(&header)?;
            partial.sum.copy_from_slice(&header[header.len() - SUM..]);
        }
        Ok(partial)
    }

    /// What is there.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Adds a batch or the next part of one: its samples, their numbers, and what they took.
    ///
    /// # Errors
    /// A file that cannot be written.
    ///
    /// # Panics
    /// If the rows are not as long as the others, or not those of the samples.
    pub fn append(
        &mut self,
        samples: &Range<usize>,
        numbers: &Array2<f32>,
        work: Work,
    ) -> Result<(), ResultsError> {
        assert_eq!(numbers.dim(), (samples.len(), self.rows.width), "rows of another shape");
        let batch = samples.start / self.rows.batch;
        assert_eq!(samples.start, self.open.unwrap_or(batch * self.rows.batch), "parts in order");
        let mut bytes = front(NUMBERS, samples.start, samples.len(), &work);
        bytes.extend(numbers.iter().flat_map(|value| value.to_le_bytes()));
        self.record(bytes)?;
        self.rows.work.add(&work);
        if let Some(all) = &mut self.rows.numbers {
            all.slice_mut(s![samples.clone(), ..]).assign(numbers);
        }
        let end = (batch * self.rows.batch).saturating_add(self.rows.batch).min(self.rows.samples);
        self.open = (samples.end < end).then_some(samples.end);
        self.rows.done[batch] = self.open.is_none();
        Ok(())
    }

    /// Notes down that a sample diverged, with which the cell ends.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn diverge(&mut self, text: &str, work: Work) -> Result<(), ResultsError> {
        let cuts = (0..=text.len().min(TEXT)).rev();
        let end = cuts.into_iter().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        let mut bytes = front(DIVERGED, 0, end, &work);
        bytes.extend(&text.as_bytes()[..end]);
        self.record(bytes)?;
        self.rows.diverged = Some(text[..end].to_owned());
        Ok(())
    }

    fn record(&mut self, mut bytes: Vec<u8>) -> Result<(), ResultsError> {
        let sum = chained(&self.sum, &bytes);
        bytes.extend(sum);
        self.write(&bytes)?;
        self.sum = sum;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ResultsError> {
        let written = self.file.write_all(bytes).and_then(|()| self.file.sync_data());
        written.and_then(|()| self.revive()).map_err(|source| ResultsError::Io {
            path: self.path.clone(),
            action: "write",
            source,
        })
    }

    /// Writes the file again if somebody deleted it: this process still has what was in it. Not into another
    /// folder of that name, nor over another file.
    fn revive(&mut self) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let is_gone = self.file.metadata()?.nlink() == 0;
        if !is_gone || identity(folder).ok() != Some(self.folder) {
            return Ok(());
        }
        let file = OpenOptions::new().create_new(true).read(true).write(true).open(&self.path);
        let mut file = match file {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
            file => file?,
        };
        self.file.rewind()?;
        io::copy(&mut self.file, &mut file)?;
        file.sync_data()?;
        self.file = file;
        Ok(())
    }
}

/// What a folder is, whatever its name.
fn identity(folder: &Path) -> io::Result<(u64, u64)> {
    let found = fs::metadata(folder)?;
    Ok((found.dev(), found.ino()))
}

/// Deletes all files of a finished cell.
///
/// # Errors
/// A file that cannot be deleted; one that is gone already is none.
pub fn remove(folder: &Path, key: &str) -> Result<(), ResultsError> {
    files(folder, key).into_iter().try_for_each(|(path, _)| listing::delete(path))
}

/// Whether there is a file of a cell, given by its key or the start of one.
pub(crate) fn is_begun(folder: &Path, key: &str) -> bool {
    !files(folder, key).is_empty()
}

/// The files of a cell, sorted by their shards; that of a run without shards is the first.
fn files(folder: &Path, key: &str) -> Vec<(PathBuf, Option<Shard>)> {
    let of_cell = all(folder).filter(|file| key.starts_with(&file.key));
    let mut files: Vec<_> = of_cell.map(|Found { path, shard, .. }| (path, shard)).collect();
    files.sort_by_key(|(_, shard)| *shard);
    files
}

/// A file of rows, by its name.
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    /// The start of its cell's key.
    pub(crate) key: String,
    pub(crate) shard: Option<Shard>,
}

/// All files of rows in a folder, in no order.
pub(crate) fn all(folder: &Path) -> impl Iterator<Item = Found> {
    listing::between(folder, NAME).filter_map(|(name, path)| {
        let (key, shard) = match name.split_once('-') {
            Some((key, tag)) => (key, Some(Shard::of_tag(tag)?)),
            None => (name.as_str(), None),
        };
        listing::is_key(key).then(|| Found { path, key: key.to_owned(), shard })
    })
}

/// A record as it stands in a file.
struct Record {
    samples: Range<usize>,
    numbers: Vec<f32>,
    diverged: Option<String>,
    work: Work,
    length: u64,
    sum: [u8; SUM],
}

enum Next {
    End,
    Damaged,
    Whole(Box<Record>),
}

impl Record {
    fn read(file: &mut impl Read, layout: Layout<'_>, before: &[u8; SUM]) -> io::Result<Next> {
        let mut bytes = up_to(file, FRONT)?;
        if bytes.is_empty() {
            return Ok(Next::End);
        }
        if bytes.len() < FRONT {
            return Ok(Next::Damaged);
        }
        let word = |at: usize| <[u8; 8]>::try_from(&bytes[8 * at..8 * at + 8]).unwrap_or_default();
        let number = |at: usize| u64::from_le_bytes(word(at));
        let size = |at: usize| usize::try_from(number(at)).unwrap_or(usize::MAX);
        let seconds = |at: usize| f64::from_le_bytes(word(at));
        let (kind, first, rows) = (number(0), size(1), size(2));
        let work = Work {
            calls: number(3),
            threads: size(4),
            started: number(5),
            seconds: seconds(6),
            sampling: seconds(7),
        };
        // Sizes are checked before anything of them is read.
        let samples = first..first.saturating_add(rows);
        let length = match kind {
            NUMBERS
                if rows > 0 && first < layout.samples && samples.end <= layout.end_after(first) =>
            {
                rows * layout.width * 4
            }
            DIVERGED if first == 0 && rows <= TEXT => rows,
            _ => return Ok(Next::Damaged),
        };
        bytes.extend(up_to(file, length)?);
        let sum = up_to(file, SUM)?;
        if bytes.len() < FRONT + length || sum != chained(before, &bytes) {
            return Ok(Next::Damaged);
        }
        let payload = &bytes[FRONT..];
        let (numbers, diverged) = if kind == DIVERGED {
            (vec![], Some(String::from_utf8_lossy(payload).into_owned()))
        } else {
            let of = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            (payload.chunks_exact(4).map(of).collect(), None)
        };
        Ok(Next::Whole(Box::new(Self {
            samples,
            numbers,
            diverged,
            work,
            length: (bytes.len() + SUM) as u64,
            sum: chained(before, &bytes),
        })))
    }
}

/// The bytes of a record in front of its rows.
fn front(kind: u64, first: usize, rows: usize, work: &Work) -> Vec<u8> {
    let Work { calls, seconds, sampling, started, threads } = *work;
    let numbers = [kind, first as u64, rows as u64, calls, threads as u64, started];
    let numbers = numbers.into_iter().flat_map(u64::to_le_bytes);
    numbers.chain([seconds, sampling].into_iter().flat_map(f64::to_le_bytes)).collect()
}

fn chained(before: &[u8; SUM], bytes: &[u8]) -> [u8; SUM] {
    Sha256::new().chain_update(before).chain_update(bytes).finalize().into()
}

/// As many bytes as are asked for, or all that there are.
fn up_to(file: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    file.take(length as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What is wrong with a header.
fn about_header(found: &[u8], expected: &[u8]) -> String {
    if !found.starts_with(&MAGIC[..MAGIC.len().min(found.len())]) {
        return "it has no header that this version knows (an older one wrote none)".to_owned();
    }
    if found.len() < expected.len() {
        return "its header is cut off".to_owned();
    }
    let (body, sum) = found.split_at(found.len() - SUM);
    if Sha256::digest(body)[..] != *sum {
        return "its header is damaged".to_owned();
    }
    let field = |bytes: &[u8], at: usize| {
        let word = bytes[MAGIC.len() + 8 * at..].first_chunk().copied().unwrap_or_default();
        u64::from_le_bytes(word)
    };
    let fields = ["numbers a row", "samples a batch", "samples"];
    let differs = |&at: &usize| field(found, at) != field(expected, at);
    if let Some(at) = (0..fields.len()).find(differs) {
        let (there, here) = (field(found, at), field(expected, at));
        return format!("it has {there} {}, and the cell has {here}", fields[at]);
    }
    let key = String::from_utf8_lossy(&found[FIXED..found.len() - SUM]);
    format!("it is of another cell, of key {key}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CELL: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn layout() -> Layout<'static> {
        Layout { key: CELL, width: 2, batch: 4, samples: 10 }
    }

    /// Numbers that tell every sample apart.
    fn numbers(samples: &Range<usize>) -> Array2<f32> {
        Array2::from_shape_fn((samples.len(), 2), |(row, k)| (2 * (samples.start + row) + k) as f32)
    }

    fn work(calls: u64) -> Work {
        Work { calls, seconds: 1.5, sampling: 1.0, started: 100 + calls, threads: 2 }
    }

    /// Draws some batches into a file, each in parts of at most `most` samples.
    fn draw(folder: &Path, shard: Option<Shard>, batches: Range<usize>, most: usize) -> Partial {
        let mut partial = Partial::open(folder, layout(), shard).unwrap();
        for missing in partial.rows().missing(batches) {
            let mut first = missing.start;
            while first < missing.end {
                let end = (first + most).min(layout().end_after(first));
                partial.append(&(first..end), &numbers(&(first..end)), work(7)).unwrap();
                first = end;
            }
        }
        partial
    }

    fn found(folder: &Path) -> Rows {
        Rows::read(folder, layout(), true).unwrap()
    }

    fn is_right(rows: &Rows) -> bool {
        let all = numbers(&(0..10));
        let right = |batch: usize| {
            let samples = s![4 * batch..(4 * batch + 4).min(10), ..];
            rows.numbers().slice(samples) == all.slice(samples)
        };
        (0..3).filter(|&batch| rows.done()[batch]).all(right)
    }

    fn count(rows: &Rows) -> usize {
        rows.done().iter().filter(|&&done| done).count()
    }

    #[test]
    fn what_is_appended_is_read_back_in_parts_as_well() {
        let dir = tempfile::tempdir().unwrap();
        draw(dir.path(), None, 0..2, 3);
        let rows = found(dir.path());
        assert_eq!((count(&rows), rows.missing(0..3).first()), (2, Some(&(8..10))));
        assert!(is_right(&rows) && rows.remarks().is_empty() && !rows.is_complete());
        let expected = Work { calls: 7, seconds: 6.0, sampling: 4.0, started: 107, threads: 2 };
        assert_eq!(*rows.work(), expected);
        let rest = draw(dir.path(), None, 0..3, 4);
        assert!(rest.rows().is_complete() && is_right(rest.rows()));
        assert!(found(dir.path()).is_complete());
        remove(dir.path(), CELL).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn batches_count_whichever_shards_drew_them() {
        let dir = tempfile::tempdir().unwrap();
        let shard = |number, count| Some(Shard::new(number, count).unwrap());
        draw(dir.path(), shard(2, 2), 1..2, 4);
        draw(dir.path(), shard(3, 3), 2..3, 4);
        let rows = found(dir.path());
        assert_eq!((count(&rows), rows.missing(0..3).first()), (2, Some(&(0..4))));
        let whole = draw(dir.path(), None, 0..3, 4);
        assert!(whole.rows().is_complete() && is_right(whole.rows()));
        assert_eq!(all(dir.path()).count(), 3);
    }

    #[test]
    fn a_file_is_cut_at_its_last_whole_batch_wherever_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        draw(dir.path(), None, 0..3, 4);
        let path = Partial::path(dir.path(), CELL, None);
        let bytes = fs::read(&path).unwrap();
        let mut seen = vec![];
        for length in 0..=bytes.len() {
            fs::write(&path, &bytes[..length]).unwrap();
            let partial = Partial::open(dir.path(), layout(), None).unwrap();
            let rows = partial.rows();
            assert!(is_right(rows), "{length}");
            // Between two records, nothing is wrong.
            seen.push((count(rows), rows.remarks().is_empty()));
            drop(partial);
            draw(dir.path(), None, 0..3, 4);
            assert!(fs::read(&path).unwrap() == bytes, "{length}");
        }
        seen.dedup();
        let [cut, whole] = [false, true];
        let each = [(0, whole), (0, cut)].into_iter();
        let rest = [(0, whole), (0, cut), (1, whole), (1, cut), (2, whole), (2, cut), (3, whole)];
        assert_eq!(seen, each.chain(rest).collect::<Vec<_>>());
    }

    #[test]
    fn every_flipped_bit_is_found_and_only_whole_batches_before_it_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        draw(dir.path(), None, 0..3, 3);
        let path = Partial::path(dir.path(), CELL, None);
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                fs::write(&path, &flipped).unwrap();
                let rows = found(dir.path());
                assert_eq!(rows.remarks().len(), 1, "bit {bit} of byte {at}");
                assert!(!rows.is_complete() && is_right(&rows), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn what_does_not_belong_there_is_not_used_and_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = Partial::path(dir.path(), CELL, None);
        let said = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            let partial = Partial::open(dir.path(), layout(), None).unwrap();
            let said = partial.rows().remarks().join("\n");
            (count(partial.rows()), said.replace(&path.display().to_string(), "FILE"))
        };
        draw(dir.path(), None, 0..2, 4);
        let right = fs::read(&path).unwrap();
        let end = right.len();
        let zeros = said(&[&right[..], &[0; 200]].concat());
        let damaged = format!("FILE: damaged at byte {end}; what follows byte {end} is not used");
        assert_eq!(zeros, (2, damaged.clone()));
        let record = end - (FRONT + 4 * 2 * 4 + SUM);
        // The same record once more, and one without that before it.
        assert_eq!(said(&[&right[..], &right[record..]].concat()), (2, damaged));
        let header = layout().header().len();
        assert_eq!(said(&[&right[..header], &right[record..]].concat()).0, 0);
        let (kept, older) = said(&[0; 400]);
        assert_eq!(kept, 0);
        assert_eq!(
            older,
            "FILE: it has no header that this version knows (an older one wrote none); it is not used"
        );
        let wider = said(&Layout { width: 3, ..layout() }.header()).1;
        assert_eq!(wider, "FILE: it has 3 numbers a row, and the cell has 2; it is not used");
        let key = format!("{}1{}", &CELL[..KEY], &CELL[KEY + 1..]);
        let other = said(&Layout { key: &key, ..layout() }.header()).1;
        assert_eq!(other, format!("FILE: it is of another cell, of key {key}; it is not used"));
        // Opening made each of them a file that can be added to.
        assert_eq!(found(dir.path()).remarks().len(), 0);
    }

    #[test]
    fn a_divergence_ends_the_cell() {
        let dir = tempfile::tempdir().unwrap();
        let shard = Shard::new(1, 2).unwrap();
        draw(dir.path(), Some(shard), 0..1, 4).diverge("sample 5: ddim diverged", work(1)).unwrap();
        let rows = found(dir.path());
        assert!(rows.is_complete() && rows.diverged() == Some("sample 5: ddim diverged"));
        // A long text is kept as far as there is room for it, and reads back.
        let dir = tempfile::tempdir().unwrap();
        let mut partial = Partial::open(dir.path(), layout(), Some(shard)).unwrap();
        partial.diverge(&"\u{e9}".repeat(TEXT), work(1)).unwrap();
        assert_eq!(found(dir.path()).diverged().map(str::len), Some(TEXT));
    }

    #[test]
    fn rows_that_differ_between_files_are_said() {
        let dir = tempfile::tempdir().unwrap();
        draw(dir.path(), None, 0..1, 4);
        let own = Partial::path(dir.path(), CELL, None);
        let kept = fs::read(&own).unwrap();
        fs::remove_file(&own).unwrap();
        let shard = Some(Shard::new(1, 3).unwrap());
        let mut other = Partial::open(dir.path(), layout(), shard).unwrap();
        other.append(&(0..4), &Array2::zeros((4, 2)), work(7)).unwrap();
        fs::write(&own, kept).unwrap();
        let rows = found(dir.path());
        assert!(is_right(&rows), "the first file counts");
        assert!(rows.remarks()[0].contains("its samples from 0 on differ"), "{:?}", rows.remarks());
    }
}
