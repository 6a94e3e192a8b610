//! What `numpy.save` and `numpy.savez` write: arrays in `.npy` and `.npz` files.
//!
//! Versions 1 to 3 of the format, either order of axes and of bytes, u8 and floats of 16, 32 and 64
//! bits. Integers, complex and extended floats, records and pickled objects are refused by name:
//! nothing is executed.
//!
//! # References
//! `numpy/lib/_format_impl.py` of NumPy.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek},
    ops::Range,
};

use ndarray::{ArrayD, Axis, ShapeBuilder, Slice};
use py_literal::Value;
use zip::{CompressionMethod, ZipArchive, result::ZipError};

use crate::{
    data::{
        content::{Content, Packing},
        unfold::too_long,
    },
    limits,
};

/// The first bytes of an `.npy` file.
pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";

/// More bytes than a header has.
const LONGEST_HEADER: u32 = 1 << 16;
/// Deeper than the type of any record; the parser takes twice as long for each that is left open.
const DEEPEST: usize = 8;

/// An array.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Values {
    Bytes(ArrayD<u8>),
    /// Of 16 or 32 bits.
    Single(ArrayD<f32>),
    Double(ArrayD<f64>),
}

/// Why there is no array.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// Python objects, pickled after the header.
    #[error(
        "it holds pickled Python objects, which are not read: save the array itself, \
         numpy.save(path, numpy.asarray(x, dtype=numpy.float32))"
    )]
    Objects,
    /// Elements of a type that is not read.
    #[error(
        "its values are of type {0}; what is read are bytes (|u1) and floats (f2, f4, f8): convert \
         with x.astype(numpy.float32)"
    )]
    Kind(String),
    /// An array for which there is no memory.
    #[error("its values take {0} bytes, for which there is not enough memory")]
    Memory(usize),
    /// What was there when the array was opened, and cannot be read now.
    #[error("it cannot be read: {0}")]
    Read(io::Error),
    /// No such file, or a part of one.
    #[error("it cannot be read ({0}): it is damaged or no .npy file")]
    Damaged(String),
}

type Result<T> = std::result::Result<T, Problem>;

impl Values {
    /// Lengths of the axes.
    pub(crate) fn shape(&self) -> &[usize] {
        match self {
            Self::Bytes(array) => array.shape(),
            Self::Single(array) => array.shape(),
            Self::Double(array) => array.shape(),
        }
    }

    /// A range of the first axis.
    fn rows(&self, rows: Range<usize>) -> Self {
        let slice = Slice::from(rows);
        match self {
            Self::Bytes(array) => Self::Bytes(array.slice_axis(Axis(0), slice).to_owned()),
            Self::Single(array) => Self::Single(array.slice_axis(Axis(0), slice).to_owned()),
            Self::Double(array) => Self::Double(array.slice_axis(Axis(0), slice).to_owned()),
        }
    }

    /// Floats as f64; none of bytes.
    pub(crate) fn doubles(self) -> Result<ArrayD<f64>> {
        match self {
            Self::Bytes(_) => Err(Problem::Kind("|u1".to_owned())),
            Self::Single(array) => Ok(array.mapv(f64::from)),
            Self::Double(array) => Ok(array),
        }
    }
}

/// Reads one array, to the end of the input, of which the length is known or not.
pub(crate) fn read(input: &mut impl Read, length: Option<u64>) -> Result<Values> {
    let (header, length) = match length {
        None => (Header::read(input)?, None),
        Some(length) => {
            let mut start = input.by_ref().take(length);
            (Header::read(&mut start)?, Some(start.limit()))
        }
    };
    let values = header.array(input, length, header.shape.clone())?;
    match input.read(&mut [0]) {
        Ok(0) => Ok(values),
        Ok(_) => Err(damaged("it continues past its last value")),
        Err(error) => Err(broken(&error)),
    }
}

/// An array that stays in its file, of which rows are read: a range of its first axis.
pub(super) struct Rows {
    header: Header,
    content: Content,
    /// Where the values begin.
    start: u64,
    /// All values, if those of a row are not together: of an array in Fortran's order.
    whole: Option<Values>,
}

impl Rows {
    /// Opens an array of so many bytes, to the end of the content.
    pub(super) fn open(content: Content, length: u64) -> Result<Self> {
        let mut input = content.reader().take(length);
        let header = Header::read(&mut input)?;
        let left = input.limit();
        if !["u1", "f2", "f4", "f8"].contains(&header.kind.as_str()) {
            return Err(Problem::Kind(header.descr));
        }
        header.check(left)?;
        let together = !header.fortran && !header.shape.is_empty();
        let whole = if together {
            None
        } else {
            Some(header.array(&mut input, Some(left), header.shape.clone())?)
        };
        Ok(Self { start: length - left, header, content, whole })
    }

    /// Lengths of the axes.
    pub(super) fn shape(&self) -> &[usize] {
        &self.header.shape
    }

    /// Whether its values are bytes.
    pub(super) fn is_bytes(&self) -> bool {
        self.header.kind == "u1"
    }

    /// The rows of a range, all of which must be there.
    pub(super) fn read(&self, rows: Range<usize>) -> Result<Values> {
        if let Some(whole) = &self.whole {
            return Ok(whole.rows(rows));
        }
        let shape = [&[rows.len()], &self.header.shape[1..]].concat();
        let row = self.header.shape[1..].iter().product::<usize>() * self.header.width();
        let at = self.start + (rows.start * row) as u64;
        let bytes = self.content.bytes(at, rows.len() * row).map_err(Problem::Read)?;
        self.header.array(&mut bytes.as_slice(), None, shape)
    }
}

fn damaged(what: impl Into<String>) -> Problem {
    Problem::Damaged(what.into())
}

fn broken(error: &io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged("it ends too early"),
        _ => damaged(error.to_string()),
    }
}

/// A float of 16 bits, least significant byte first.
fn half(bytes: [u8; 2]) -> f32 {
    let bits = u16::from_le_bytes(bytes);
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff));
    let magnitude = match exponent {
        0 => fraction * 2_f32.powi(-24),
        0x1f if fraction > 0.0 => f32::NAN,
        0x1f => f32::INFINITY,
        _ => (1.0 + fraction / 1024.0) * 2_f32.powi(exponent - 15),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

/// What stands before the elements.
struct Header {
    /// As it is written: `<f4`.
    descr: String,
    /// Without the order of its bytes: `f4`.
    kind: String,
    big_endian: bool,
    fortran: bool,
    shape: Vec<usize>,
}

impl Header {
    fn read(input: &mut impl Read) -> Result<Self> {
        let mut start = [0; 8];
        input.read_exact(&mut start).map_err(|error| broken(&error))?;
        if start[..6] != *MAGIC {
            return Err(damaged("it does not begin as one"));
        }
        let length = if start[6] == 1 {
            let mut length = [0; 2];
            input.read_exact(&mut length).map_err(|error| broken(&error))?;
            u32::from(u16::from_le_bytes(length))
        } else {
            let mut length = [0; 4];
            input.read_exact(&mut length).map_err(|error| broken(&error))?;
            u32::from_le_bytes(length)
        };
        if !(1..=3).contains(&start[6]) || length > LONGEST_HEADER {
            return Err(damaged(format!("version {}, a header of {length} bytes", start[6])));
        }
        let mut text = vec![0; length as usize];
        input.read_exact(&mut text).map_err(|error| broken(&error))?;
        // Version 3 is UTF-8, the others Latin-1; they differ in the names of a record alone.
        let text = String::from_utf8_lossy(&text);
        // The parser calls itself for each bracket.
        let opened = text.bytes().scan(0_usize, |depth, byte| {
            match byte {
                b'(' | b'[' | b'{' => *depth += 1,
                b')' | b']' | b'}' => *depth = depth.saturating_sub(1),
                _ => {}
            }
            Some(*depth)
        });
        if opened.max() > Some(DEEPEST) {
            return Err(damaged("its header is none"));
        }
        let header: Value = text.trim().parse().map_err(|_| damaged("its header is none"))?;
        Self::of(&header)
    }

    fn of(header: &Value) -> Result<Self> {
        let lacks = |what: &str| damaged(format!("its header has no {what}"));
        let Value::Dict(items) = header else { return Err(lacks("dictionary")) };
        let item = |name: &str| {
            let found = items.iter().find(|(key, _)| *key == Value::String(name.to_owned()));
            found.map(|(_, value)| value)
        };
        let descr = match item("descr").ok_or_else(|| lacks("type"))? {
            Value::String(descr) => descr.clone(),
            record => return Err(Problem::Kind(record.format_ascii().unwrap_or_default())),
        };
        let kind = descr.trim_start_matches(['<', '>', '|', '=']).to_owned();
        if kind.starts_with('O') {
            return Err(Problem::Objects);
        }
        let Some(Value::Boolean(fortran)) = item("fortran_order") else {
            return Err(lacks("order of axes"));
        };
        let Some(Value::Tuple(shape)) = item("shape") else { return Err(lacks("shape")) };
        let shape = shape.iter().map(|length| match length {
            Value::Integer(length) => length.to_string().parse().ok(),
            _ => None,
        });
        let shape = shape.collect::<Option<Vec<usize>>>().ok_or_else(|| lacks("shape"))?;
        let big_endian = descr.starts_with('>');
        Ok(Self { descr, kind, big_endian, fortran: *fortran, shape })
    }

    /// Bytes of a value of a known type.
    fn width(&self) -> usize {
        match self.kind.as_str() {
            "u1" => 1,
            "f2" => 2,
            "f4" => 4,
            _ => 8,
        }
    }

    /// Makes sure that the values are as many as the bytes that follow are for.
    fn check(&self, length: u64) -> Result<()> {
        let total = self.total(&self.shape)?;
        if total as u64 == length {
            return Ok(());
        }
        let shape = &self.shape;
        Err(damaged(format!(
            "its header says {total} bytes of values, shape {shape:?}, and {length} follow"
        )))
    }

    /// The bytes of an array of this type.
    fn total(&self, shape: &[usize]) -> Result<usize> {
        let count = shape.iter().try_fold(1_usize, |n, length| n.checked_mul(*length));
        count.and_then(|n| n.checked_mul(self.width())).ok_or_else(|| damaged("its shape"))
    }

    /// The values of an array of that shape, whose bytes come next; if `length` is known, nothing else.
    fn array(
        &self,
        input: &mut impl Read,
        length: Option<u64>,
        shape: Vec<usize>,
    ) -> Result<Values> {
        Ok(match self.kind.as_str() {
            "u1" => Values::Bytes(self.values(input, length, shape, |[byte]: [u8; 1]| byte)?),
            "f2" => Values::Single(self.values(input, length, shape, half)?),
            "f4" => Values::Single(self.values(input, length, shape, f32::from_le_bytes)?),
            "f8" => Values::Double(self.values(input, length, shape, f64::from_le_bytes)?),
            _ => return Err(Problem::Kind(self.descr.clone())),
        })
    }

    fn values<A: Clone, const N: usize>(
        &self,
        input: &mut impl Read,
        length: Option<u64>,
        shape: Vec<usize>,
        value: impl Fn([u8; N]) -> A,
    ) -> Result<ArrayD<A>> {
        let total = self.total(&shape)?;
        if let Some(length) = length {
            self.check(length)?;
        }
        let mut values: Vec<A> = vec![];
        // Of an unknown length, a header may promise what does not come: no more is held than has.
        let room = if length.is_some() { total / N } else { (total / N).min(1 << 24) };
        if values.try_reserve_exact(room).is_err() {
            return Err(Problem::Memory(total));
        }
        let mut piece = vec![0; (N << 16).min(total)];
        let mut left = total;
        while left > 0 {
            let piece = &mut piece[..left.min(N << 16)];
            input.read_exact(piece).map_err(|error| broken(&error))?;
            left -= piece.len();
            values.extend(piece.as_chunks::<N>().0.iter().map(|bytes| {
                let mut bytes = *bytes;
                if self.big_endian {
                    bytes.reverse();
                }
                value(bytes)
            }));
        }
        let array = ArrayD::from_shape_vec(shape.set_f(self.fortran), values);
        let array = array.map_err(|error| damaged(error.to_string()))?;
        Ok(if self.fortran { array.as_standard_layout().into_owned() } else { array })
    }
}

/// An `.npz` file.
pub(crate) struct Npz<R>(ZipArchive<R>);

impl<R: Read + Seek> Npz<R> {
    /// Opens the archive.
    pub(crate) fn open(input: R) -> std::result::Result<Self, String> {
        ZipArchive::new(input).map(Self).map_err(|error| no_archive(&error))
    }

    /// The names of its arrays.
    pub(crate) fn names(&self) -> Vec<String> {
        let name = |name: &str| name.strip_suffix(".npy").unwrap_or(name).to_owned();
        self.0.file_names().map(name).collect()
    }

    /// Reads one of its arrays.
    pub(crate) fn read(&mut self, name: &str) -> std::result::Result<Values, String> {
        let file = format!("{name}.npy");
        let mut file = self.0.by_name(&file).map_err(|error| no_archive(&error))?;
        let length = file.size();
        within_limits(name, length, file.compressed_size())?;
        read(&mut file, Some(length)).map_err(|problem| format!("`{name}`: {problem}"))
    }
}

/// Opens one array of an archive, whose checksum is compared first. `choose` is shown the names.
pub(super) fn open_member(
    file: File,
    choose: impl FnOnce(&[String]) -> std::result::Result<String, String>,
) -> std::result::Result<Rows, String> {
    let of_system = |error: io::Error| format!("it cannot be read ({error})");
    // The archive's reader moves the file's position, and the other reads without one.
    let mut npz = Npz::open(BufReader::new(file.try_clone().map_err(of_system)?))?;
    let name = choose(&npz.names())?;
    let within = |problem: Problem| format!("`{name}`: {problem}");
    let mut member = npz.0.by_name(&format!("{name}.npy")).map_err(|error| no_archive(&error))?;
    let (length, packed) = (member.size(), member.compressed_size());
    within_limits(&name, length, packed)?;
    let (start, packing) = match member.compression() {
        CompressionMethod::Stored => (member.data_start(), Packing::None),
        CompressionMethod::Deflated => (member.data_start(), Packing::Deflate),
        other => return Err(format!("`{name}`: it is compressed by {other}: use numpy.savez")),
    };
    let found = io::copy(&mut member, &mut io::sink()).map_err(|error| within(broken(&error)))?;
    if found != length {
        return Err(within(damaged("it ends too early")));
    }
    drop(member);
    let content = Content::part(file, start, packed, packing).map_err(of_system)?;
    Rows::open(content, length).map_err(within)
}

fn within_limits(name: &str, length: u64, packed: u64) -> std::result::Result<(), String> {
    let most = limits::unfolded(packed);
    if length > most {
        return Err(format!("`{name}`: {}: save it with numpy.savez", too_long(most)));
    }
    Ok(())
}

fn no_archive(error: &ZipError) -> String {
    format!("it cannot be read ({error}): it is damaged or no .npz file")
}

#[cfg(test)]
mod tests {
    use ndarray::{ArrayD, IxDyn};
    use proptest::prelude::*;

    use super::*;

    /// An `.npy` file of version 1.0.
    fn file(descr: &str, fortran: bool, shape: &str, bytes: &[u8]) -> Vec<u8> {
        let order = if fortran { "True" } else { "False" };
        let header =
            format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n");
        let length = u16::try_from(header.len()).unwrap().to_le_bytes();
        [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), bytes].concat()
    }

    fn read(bytes: &[u8]) -> Result<Values> {
        super::read(&mut &*bytes, None)
    }

    fn problem(bytes: &[u8]) -> String {
        read(bytes).unwrap_err().to_string()
    }

    fn matrix<A: Clone>(values: &[A]) -> ArrayD<A> {
        ArrayD::from_shape_vec(IxDyn(&[2, 3]), values.to_vec()).unwrap()
    }

    #[test]
    fn either_order_of_bytes_and_of_axes_and_every_width_is_read() {
        let values = [0.5_f32, -2.0, 3.25, 0.0, -0.125, 1e3];
        let expected = Values::Single(matrix(&values));
        let little: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let big: Vec<u8> = values.iter().flat_map(|x| x.to_be_bytes()).collect();
        assert_eq!(read(&file("'<f4'", false, "(2, 3)", &little)).unwrap(), expected);
        assert_eq!(read(&file("'>f4'", false, "(2, 3)", &big)).unwrap(), expected);
        let columns = [0, 3, 1, 4, 2, 5].map(|i: usize| values[i]);
        let columns: Vec<u8> = columns.iter().flat_map(|x| x.to_be_bytes()).collect();
        assert_eq!(read(&file("'>f4'", true, "(2, 3)", &columns)).unwrap(), expected);
        // numpy.float16 of the same values.
        let halves = [0x3800_u16, 0xc000, 0x4280, 0, 0xb000, 0x63d0];
        let halves: Vec<u8> = halves.iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(read(&file("'<f2'", false, "(2, 3)", &halves)).unwrap(), expected);
        let doubles = values.map(f64::from);
        let bytes: Vec<u8> = doubles.iter().flat_map(|x| x.to_be_bytes()).collect();
        let expected = Values::Double(matrix(&doubles));
        assert_eq!(read(&file("'>f8'", false, "(2, 3)", &bytes)).unwrap(), expected);
        let expected = Values::Bytes(matrix(&[1, 2, 3, 4, 5, 6]));
        assert_eq!(read(&file("'|u1'", false, "(2, 3)", &[1, 2, 3, 4, 5, 6])).unwrap(), expected);
        // Version 2.0 has two more bytes of length, and a scalar no axes.
        let mut scalar = file("'|u1'", false, "()", &[7]);
        scalar[6] = 2;
        scalar.splice(10..10, [0, 0]);
        assert_eq!(read(&scalar).unwrap(), Values::Bytes(ArrayD::from_elem(IxDyn(&[]), 7)));
    }

    #[test]
    fn halves_have_their_extremes() {
        let of = |bits: u16| half(bits.to_le_bytes());
        let exact = |bits: u16, value: f32| of(bits).to_bits() == value.to_bits();
        assert!(exact(0x0001, 5.960_464_5e-8) && exact(0x03ff, 6.097_555e-5));
        assert!(exact(0x0400, 6.103_515_6e-5) && exact(0x7bff, 65504.0) && exact(0x8000, -0.0));
        assert!(exact(0xfc00, f32::NEG_INFINITY) && of(0x7e00).is_nan());
    }

    #[test]
    fn what_is_not_read_is_named() {
        for (descr, name) in [
            ("'<i8'", "type <i8"),
            ("'|b1'", "type |b1"),
            ("'<u2'", "type <u2"),
            ("'<f16'", "type <f16"),
            ("'<c8'", "type <c8"),
            ("[('x', '<f4'), ('y', '<f4')]", "type [('x', '<f4'), ('y', '<f4')]"),
            ("'|O'", "pickled Python objects"),
        ] {
            let error = problem(&file(descr, false, "(2, 3)", &[0; 96]));
            assert!(error.contains(name), "{error}");
        }
        let whole = file("'<f4'", false, "(2, 3)", &[0; 24]);
        for length in 0..whole.len() {
            assert!(matches!(read(&whole[..length]), Err(Problem::Damaged(_))), "at {length}");
        }
        assert!(problem(&[&whole[..], &[0]].concat()).contains("continues past its last value"));
        assert!(problem(b"a text of some length").contains("does not begin as one"));
        assert!(
            problem(&file(&"(".repeat(60_000), false, "()", &[])).contains("its header is none")
        );
        // Found by fuzzing: fifteen brackets that nothing closes took seconds.
        let open = |depth: usize| problem(&file(&"[".repeat(depth), false, "()", &[]));
        assert!(open(15).contains("its header is none") && open(7).contains("its header is none"));
        let record = "[('x', [('y', '<f4', (2, 2))])]";
        assert!(problem(&file(record, false, "()", &[])).contains("its values are of type [("));
        // Exabytes, announced in eighty.
        let huge = file("'<f8'", false, "(1000000, 1000000, 1000000, 1000000)", &[0; 24]);
        assert!(problem(&huge).contains("its shape"));
        let large = file("'<f8'", false, "(1000000, 1000000)", &[0; 24]);
        assert!(problem(&large).contains("it ends too early"));
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(text in "\\PC{0,80}", shape in "[0-9(), ]{0,12}") {
            let length = u16::try_from(text.len()).unwrap().to_le_bytes();
            let _ = read(&[b"\x93NUMPY\x01\x00", &length[..], text.as_bytes()].concat());
            let _ = read(&file("'<f4'", true, &shape, &[0; 64]));
        }
    }
}
