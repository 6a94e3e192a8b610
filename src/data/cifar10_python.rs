//! A batch of CIFAR-10's Python version: a pickled dictionary.
//!
//! `data` is an array of bytes `[N, 3072]`, each row the 1024 red, the green and the blue values of
//! an image, and `labels` is a list of N classes. Python 2 pickled the published files; what Python 3
//! makes of them is read too. Nothing is executed.

use std::borrow::Cow;

use crate::data::pickle::{self, Document, Id, Node};

/// The records of the binary version: for each image the label, then its `pixels` values.
///
/// # Errors
/// What keeps the file from being such a pickle, in words.
pub(super) fn records(file: &[u8], pixels: usize) -> Result<Vec<u8>, String> {
    let document = pickle::parse(&mut &*file).map_err(|error| error.to_string())?;
    let batch = Batch(&document);
    let (shape, values) = batch
        .item("data")
        .and_then(|data| batch.array(data))
        .ok_or("it holds no dictionary with `data`, an array of bytes in C order")?;
    let labels = batch
        .item("labels")
        .and_then(|labels| batch.labels(labels))
        .ok_or("it holds no `labels`, a list of classes from 0 to 255")?;
    if shape != [labels.len(), pixels] || values.len() != labels.len() * pixels {
        return Err(format!(
            "its data are of shape {shape:?} with {} labels; CIFAR-10 has [N, {pixels}] with N labels",
            labels.len()
        ));
    }
    let rows = labels.iter().zip(values.chunks_exact(pixels));
    Ok(rows.flat_map(|(label, row)| std::iter::once(*label).chain(row.iter().copied())).collect())
}

struct Batch<'a>(&'a Document);

impl<'a> Batch<'a> {
    /// The value under a key, text or bytes, of the dictionary that the pickle is.
    fn item(&self, key: &str) -> Option<Id> {
        let Node::Dict(items) = self.0.root() else { return None };
        let is = |id: Id| self.bytes(id).is_some_and(|found| *found == *key.as_bytes());
        items.iter().rev().find(|(found, _)| is(*found)).map(|(_, value)| *value)
    }

    /// Bytes, a string of Python 2, or what Python 3 writes of bytes where the protocol has none.
    fn bytes(&self, id: Id) -> Option<Cow<'a, [u8]>> {
        match self.0.get(id) {
            Node::Bytes(bytes) => Some(Cow::Borrowed(bytes)),
            Node::Text(text) => Some(Cow::Borrowed(text.as_bytes())),
            Node::Object(name, _) if name == "_codecs.encode" => {
                let Node::Text(text) = self.argument(id, 0)? else { return None };
                let bytes = text.chars().map(|c| u8::try_from(u32::from(c)).ok());
                bytes.collect::<Option<Vec<u8>>>().map(Cow::Owned)
            }
            _ => None,
        }
    }

    fn tuple(&self, id: Id) -> Option<&'a [Id]> {
        match self.0.get(id) {
            Node::Tuple(items) => Some(items),
            _ => None,
        }
    }

    fn argument(&self, object: Id, index: usize) -> Option<&'a Node> {
        let arguments = self.tuple(self.0.arguments(object)?)?;
        arguments.get(index).map(|&id| self.0.get(id))
    }

    /// The shape and the bytes of an array of bytes.
    fn array(&self, id: Id) -> Option<(Vec<usize>, Cow<'a, [u8]>)> {
        let Node::Object(name, _) = self.0.get(id) else { return None };
        let (shape, dtype, bytes) = if name.ends_with("._reconstruct") {
            // (version, shape, type, whether in Fortran order, bytes)
            let &[_, shape, dtype, fortran, bytes] = self.tuple(self.0.state(id)?)? else {
                return None;
            };
            if *self.0.get(fortran) != Node::Bool(false) {
                return None;
            }
            (shape, dtype, bytes)
        } else if name.ends_with("._frombuffer") {
            // Protocol 5: (bytes, type, shape, order)
            let &[bytes, dtype, shape, order] = self.tuple(self.0.arguments(id)?)? else {
                return None;
            };
            if *self.bytes(order)? != *b"C" {
                return None;
            }
            (shape, dtype, bytes)
        } else {
            return None;
        };
        if !matches!(self.argument(dtype, 0)?, Node::Text(kind) if kind == "u1") {
            return None;
        }
        let shape = self.tuple(shape)?.iter().map(|&id| self.integer(id)).collect::<Option<_>>()?;
        Some((shape, self.bytes(bytes)?))
    }

    fn integer(&self, id: Id) -> Option<usize> {
        match self.0.get(id) {
            Node::Int(n) => usize::try_from(*n).ok(),
            _ => None,
        }
    }

    fn labels(&self, id: Id) -> Option<Vec<u8>> {
        let Node::List(labels) = self.0.get(id) else { return None };
        labels.iter().map(|&id| u8::try_from(self.integer(id)?).ok()).collect()
    }
}
