//! Checkpoints: the whole state of a training in one safetensors file, two of them kept.
//!
//! A file is written beside its name and renamed, so that it is whole or absent; the one before
//! stays until the next is there. Everything is tensors, counters and sums of the log as well:
//! numbers come back to the bit.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use sha2::{Digest as _, Sha256};
use tch::{Device, Kind, Tensor};

use crate::train::job::exam::Exam;
use crate::{
    backends::torch::first_line,
    error::{Error, Result},
    results::{record::Estimate, sink},
    train::{
        adam::Moments,
        importance::Importance,
        trainer::{Row, State},
    },
};

/// The key of the identity in the header.
const IDENTITY: &str = "identity";

/// The tensor that holds the hash of all others. Not in the header: of several keys there, the order
/// would differ from run to run.
const HASH: &str = "sha256";

/// How many are kept.
const KEPT: usize = 2;

/// What a training continues from.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    pub(crate) state: State,
    pub(crate) diary: Diary,
    /// The number of images at its end; none while a budget of minutes is not yet one of images.
    pub(crate) budget: Option<u64>,
    /// The seconds that training took so far.
    pub(crate) seconds: f64,
}

/// What was written down so far.
#[derive(Debug, Default)]
pub(crate) struct Diary {
    /// The rows of the log.
    pub(crate) rows: Vec<Row>,
    /// The looks at samples.
    pub(crate) exams: Vec<Exam>,
}

/// The checkpoints of a folder.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    /// What was trained on what: a checkpoint of anything else is refused.
    identity: String,
}

impl Store {
    pub(crate) fn new(folder: &Path, identity: String) -> Self {
        Self { folder: folder.join("checkpoints"), identity }
    }

    /// The files, the newest first.
    fn files(&self) -> Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
            Err(error) => return Err(unreadable(&self.folder, &error)),
        };
        let mut files: Vec<(u64, PathBuf)> = entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let seen = path.file_stem()?.to_str()?.parse().ok()?;
                (path.extension()? == "safetensors").then_some((seen, path))
            })
            .collect();
        files.sort_by(|a, b| b.cmp(a));
        Ok(files.into_iter().map(|(_, path)| path).collect())
    }

    /// Removes all.
    pub(crate) fn forget(&self) -> Result<()> {
        for path in self.files()? {
            fs::remove_file(&path).map_err(|error| {
                Error::input(format!("cannot remove {}: {error}", path.display()))
            })?;
        }
        Ok(())
    }

    /// The newest checkpoint that can be read, and what was wrong with newer ones.
    pub(crate) fn newest(&self) -> Result<(Option<Checkpoint>, Vec<String>)> {
        let mut broken = vec![];
        for path in self.files()? {
            match self.read(&path)? {
                Ok(checkpoint) => return Ok((Some(checkpoint), broken)),
                Err(problem) => broken
                    .push(format!("{}: {problem}; continuing from the one before", path.display())),
            }
        }
        Ok((None, broken))
    }

    fn read(&self, path: &Path) -> Result<std::result::Result<Checkpoint, String>> {
        let bytes = fs::read(path).map_err(|error| unreadable(path, &error))?;
        let (_, metadata) = match SafeTensors::read_metadata(&bytes) {
            Ok(metadata) => metadata,
            Err(error) => return Ok(Err(format!("it is damaged ({error})"))),
        };
        let text = |key: &str| metadata.metadata().as_ref().and_then(|map| map.get(key));
        let older = |what: &str| {
            Error::input(format!(
                "{} holds a training of an older version of this program, and nothing says whether \
                 it is {what}: finish it with that version, or give another --out, or --fresh to \
                 begin anew",
                self.folder.display()
            ))
        };
        // What versions up to 0.1.0 wrote: a hash of what no later one prints.
        if text("fingerprint").is_some() {
            return Err(older("this one"));
        }
        if text(IDENTITY) != Some(&self.identity) {
            return Err(Error::input(format!(
                "{} holds a training of another recipe or other images; give another --out, or \
                 --fresh to begin anew",
                self.folder.display()
            )));
        }
        let tensors = match SafeTensors::deserialize(&bytes) {
            Ok(tensors) => tensors,
            Err(error) => return Ok(Err(format!("it is damaged ({error})"))),
        };
        let Ok(stated) = tensors.tensor(HASH) else { return Err(older("undamaged")) };
        if stated.data() != self.hash(&tensors.tensors()) {
            return Ok(Err("it is damaged (its checksum is another)".to_owned()));
        }
        Ok(decode(&tensors).ok_or_else(|| "it is not a checkpoint of this program".to_owned()))
    }

    /// The SHA-256 of the identity and of every tensor's name, type, shape and bytes but [`HASH`]'s.
    fn hash<N: AsRef<str>>(&self, tensors: &[(N, TensorView<'_>)]) -> [u8; 32] {
        let tensors: BTreeMap<&str, &TensorView<'_>> =
            tensors.iter().map(|(name, view)| (name.as_ref(), view)).collect();
        let mut hash = Sha256::new();
        hash.update(self.identity.as_bytes());
        for (name, view) in tensors.into_iter().filter(|(name, _)| *name != HASH) {
            hash.update(format!("\n{name} {:?} {:?}\n", view.dtype(), view.shape()));
            hash.update(view.data());
        }
        hash.finalize().into()
    }

    /// Writes one, and removes those that are too many.
    pub(crate) fn write(
        &self,
        state: &State,
        diary: &Diary,
        (budget, seconds): (Option<u64>, f64),
    ) -> Result<()> {
        fs::create_dir_all(&self.folder).map_err(|error| {
            Error::input(format!("cannot create {}: {error}", self.folder.display()))
        })?;
        let mut floats = BTreeMap::from([
            ("weights".to_owned(), &state.weights),
            ("mean".to_owned(), &state.moments.mean),
            ("square".to_owned(), &state.moments.square),
        ]);
        floats.extend(state.average.as_ref().map(|average| ("average".to_owned(), average)));
        floats.extend(state.buffers.iter().map(|(name, x)| (format!("buffer.{name}"), x)));
        let mut all: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)> = BTreeMap::new();
        for (name, tensor) in floats {
            let bytes = bytes(tensor).map_err(|error| {
                Error::input(format!("cannot read weights back: {}", first_line(&error)))
            })?;
            let shape =
                tensor.size().iter().map(|&side| usize::try_from(side).unwrap_or(0)).collect();
            all.insert(name, (Dtype::F32, shape, bytes));
        }
        let Diary { rows, exams } = diary;
        let columns = rows.first().map_or(0, |row| row.means.len());
        let counters = [state.seen, budget.unwrap_or(0)].map(u64::to_le_bytes).concat();
        let seen: Vec<u8> = rows.iter().flat_map(|row| row.seen.to_le_bytes()).collect();
        let means = rows.iter().flat_map(|row| &row.means);
        let doubles = |values: Vec<f64>| -> Vec<u8> {
            values.iter().flat_map(|value| value.to_le_bytes()).collect()
        };
        let sums: Vec<f64> = state.sums.iter().flatten().copied().collect();
        all.extend([
            ("counters".to_owned(), (Dtype::U64, vec![2], counters)),
            ("seconds".to_owned(), (Dtype::F64, vec![1], doubles(vec![seconds]))),
            ("sums".to_owned(), (Dtype::F64, vec![state.sums.len(), 2], doubles(sums))),
            ("log.seen".to_owned(), (Dtype::U64, vec![rows.len()], seen)),
            ("exams".to_owned(), (Dtype::F64, vec![exams.len(), 5], doubles(numbers(exams)))),
            (
                "log.means".to_owned(),
                (Dtype::F64, vec![rows.len(), columns], doubles(means.copied().collect())),
            ),
        ]);
        if let Some(Importance { losses, counts }) = &state.importance {
            let counted = counts.iter().flat_map(|count| count.to_le_bytes()).collect();
            all.extend([
                (
                    "importance.losses".to_owned(),
                    (Dtype::F64, vec![losses.len()], doubles(losses.clone())),
                ),
                ("importance.counts".to_owned(), (Dtype::U64, vec![counts.len()], counted)),
            ]);
        }
        let view = |kind: Dtype, shape: &[usize], bytes| {
            TensorView::new(kind, shape.to_vec(), bytes).expect("invariant: bytes fit their shape")
        };
        let mut views: Vec<(&str, TensorView<'_>)> = all
            .iter()
            .map(|(name, (kind, shape, bytes))| (name.as_str(), view(*kind, shape, bytes)))
            .collect();
        let hash = self.hash(&views);
        views.push((HASH, view(Dtype::U8, &[hash.len()], &hash)));
        let metadata = [(IDENTITY.to_owned(), self.identity.clone())].into();
        let file = safetensors::serialize(views, Some(metadata))
            .expect("invariant: names and shapes serialise");
        sink::write_atomically(
            &self.folder.join(format!("{:012}.safetensors", state.seen)),
            &file,
        )?;
        for path in self.files()?.into_iter().skip(KEPT) {
            // One too many does no harm.
            let _ = fs::remove_file(path);
        }
        Ok(())
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::input(format!("cannot read {}: {error}", path.display()))
}

/// The numbers of an f32 tensor, in order.
fn bytes(tensor: &Tensor) -> std::result::Result<Vec<u8>, tch::TchError> {
    let values = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?;
    let mut bytes = vec![0; 4 * values.numel()];
    values.f_contiguous()?.f_copy_data_u8(&mut bytes, values.numel())?;
    Ok(bytes)
}

/// Exams as numbers, five each; an interval that is not there is NaN.
#[allow(clippy::cast_precision_loss)]
fn numbers(exams: &[Exam]) -> Vec<f64> {
    let of = |exam: &Exam| {
        let (low, high) = exam.estimate.interval.unwrap_or((f64::NAN, f64::NAN));
        [exam.seen as f64, exam.n as f64, exam.estimate.value, low, high]
    };
    exams.iter().flat_map(of).collect()
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // they were whole numbers
fn exam(numbers: &[f64]) -> Exam {
    let (low, high) = (numbers[3], numbers[4]);
    Exam {
        seen: numbers[0] as u64,
        n: numbers[1] as u64,
        estimate: Estimate { value: numbers[2], interval: (!low.is_nan()).then_some((low, high)) },
    }
}

/// None where something is missing or of another type or shape.
fn decode(file: &SafeTensors<'_>) -> Option<Checkpoint> {
    let numbers = |name: &str| file.tensor(name).ok();
    let float = |name: &str| {
        let view = numbers(name).filter(|view| view.dtype() == Dtype::F32)?;
        let shape: Vec<i64> = view.shape().iter().map(|&side| side.cast_signed() as i64).collect();
        Tensor::f_from_data_size(view.data(), &shape, Kind::Float).ok()
    };
    let wide = |name: &str, kind: Dtype| -> Option<Vec<[u8; 8]>> {
        let view = numbers(name).filter(|view| view.dtype() == kind)?;
        view.data().chunks(8).map(|bytes| bytes.try_into().ok()).collect()
    };
    let whole = |name: &str| -> Option<Vec<u64>> {
        Some(wide(name, Dtype::U64)?.into_iter().map(u64::from_le_bytes).collect())
    };
    let double = |name: &str| -> Option<Vec<f64>> {
        Some(wide(name, Dtype::F64)?.into_iter().map(f64::from_le_bytes).collect())
    };
    let &[seen, budget] = whole("counters")?.as_slice() else { return None };
    let columns = file.tensor("log.means").ok()?.shape().get(1).copied()?;
    let means = double("log.means")?;
    let rows = whole("log.seen")?.into_iter().enumerate().map(|(i, seen)| {
        Some(Row { seen, means: means.get(i * columns..(i + 1) * columns)?.to_vec() })
    });
    let buffers = file.names().into_iter().filter_map(|name| {
        let buffer = name.strip_prefix("buffer.")?;
        Some(Some((buffer.to_owned(), float(name)?)))
    });
    let importance = match (double("importance.losses"), whole("importance.counts")) {
        (None, None) => None,
        (losses, counts) => Some(Importance { losses: losses?, counts: counts? }),
    };
    Some(Checkpoint {
        state: State {
            seen,
            weights: float("weights")?,
            moments: Moments { mean: float("mean")?, square: float("square")? },
            average: float("average"),
            buffers: buffers.collect::<Option<_>>()?,
            sums: double("sums")?.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect(),
            importance,
        },
        diary: Diary {
            rows: rows.collect::<Option<_>>()?,
            exams: double("exams")?.chunks_exact(5).map(exam).collect(),
        },
        budget: (budget > 0).then_some(budget),
        seconds: *double("seconds")?.first()?,
    })
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn checkpoints_of_older_versions_are_refused_and_say_so() {
        let folder = TempDir::new().unwrap();
        let store = Store::new(folder.path(), "ab12".to_owned());
        assert!(store.newest().unwrap().0.is_none());
        fs::create_dir(&store.folder).unwrap();
        let file = |key: &str, value: &str| {
            let metadata = [(key.to_owned(), value.to_owned())].into();
            let tensors: [(&str, TensorView<'_>); 0] = [];
            let bytes = safetensors::serialize(tensors, Some(metadata)).unwrap();
            fs::write(store.folder.join("000000000008.safetensors"), bytes).unwrap();
            store.newest()
        };
        let error = file("fingerprint", "ab12").unwrap_err().to_string();
        assert!(error.contains("an older version of this program"), "{error}");
        let error = file(IDENTITY, "cd34").unwrap_err().to_string();
        assert!(error.contains("another recipe or other images"), "{error}");
        // Of this training, and without a checksum.
        let error = file(IDENTITY, "ab12").unwrap_err().to_string();
        assert!(error.contains("whether it is undamaged"), "{error}");
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found_and_the_checkpoint_before_is_taken() {
        let folder = TempDir::new().unwrap();
        let store = Store::new(folder.path(), "ab12".to_owned());
        let state = |seen| State {
            seen,
            weights: Tensor::from_slice(&[0.5_f32, -1.0, 2.0]),
            moments: Moments::new(&Tensor::from_slice(&[0.0_f32; 3])).unwrap(),
            average: None,
            buffers: BTreeMap::new(),
            sums: vec![[1.0, 2.0]],
            importance: (seen > 8).then(|| Importance::new(2)),
        };
        for seen in [8, 16] {
            store.write(&state(seen), &Diary::default(), (Some(64), 1.5)).unwrap();
        }
        let path = store.folder.join("000000000016.safetensors");
        let whole = fs::read(&path).unwrap();
        let newest = store.newest().unwrap().0.unwrap().state;
        assert_eq!((newest.seen, newest.importance), (16, Some(Importance::new(2))));
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(&path, &bytes).unwrap();
            match store.newest() {
                Ok((checkpoint, broken)) => {
                    // Spaces behind the header's end of JSON say nothing.
                    let seen = checkpoint.unwrap().state.seen;
                    assert!(seen == 8 && broken.len() == 1, "byte {at}: {broken:?}");
                }
                // The identity, or the name of the checksum: refused, and nothing goes on.
                Err(error) => assert!(error.to_string().contains("--fresh"), "byte {at}: {error}"),
            }
        }
    }
}
