//! What is laid over a manifest from outside: `--set path=value`, and flags that are short for it.

use std::fmt;

use crate::{
    diagnostic::{Diagnostic, Place, Source},
    manifest::overlay::{Node, Table, Value, out_of_range},
};

/// A value for a manifest that is given outside it.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    /// `path=value`, as `--set` takes it.
    Set(String),
    /// A flag that stands for a value of the manifest.
    Flag {
        /// The flag: `--eta`.
        flag: &'static str,
        /// The path: `solver.eta`.
        path: &'static str,
        /// The value.
        given: Given,
    },
}

/// The value of a flag.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// A name or a path.
    Text(String),
    /// A whole number.
    Whole(u64),
    /// A number.
    Number(f64),
    /// On or off.
    Switch(bool),
    /// Numbers.
    Numbers(Vec<f64>),
    /// Whole numbers.
    Wholes(Vec<u64>),
}

impl Argument {
    /// `path=value`.
    pub fn set(text: impl Into<String>) -> Self {
        Self::Set(text.into())
    }

    /// A flag with its value.
    pub fn flag(flag: &'static str, path: &'static str, given: impl Into<Given>) -> Self {
        Self::Flag { flag, path, given: given.into() }
    }

    /// The value as a table to be laid over others; the `index`-th of the command line.
    ///
    /// # Errors
    /// As [`Table::parse_argument`].
    pub(crate) fn table(&self, index: usize) -> Result<Table, Vec<Diagnostic>> {
        let (flag, path, given) = match self {
            Self::Set(text) => return Table::parse_argument(index, text),
            Self::Flag { flag, path, given } => (flag, path, given),
        };
        let source = Source::argument(index, self.to_string());
        let mut at = flag.len() + 1;
        let place = Place::new(&source, at..source.text().len());
        let mut node = |value: Value, text: &str| {
            let place = Place::new(&source, at..at + text.len());
            at += text.len() + 1; // and the comma
            Node { place, value }
        };
        let value = match given {
            Given::Text(text) => Value::String(text.clone()),
            Given::Whole(number) => integer(*number, &place)?,
            Given::Number(number) => Value::Float(*number),
            Given::Switch(on) => Value::Boolean(*on),
            Given::Numbers(numbers) => Value::Array(
                numbers.iter().map(|&x| node(Value::Float(x), &x.to_string())).collect(),
            ),
            Given::Wholes(numbers) => {
                let read = numbers.iter().map(|&n| Ok(node(integer(n, &place)?, &n.to_string())));
                Value::Array(read.collect::<Result<_, Vec<Diagnostic>>>()?)
            }
        };
        let mut table = Table::default();
        table.set(path, &place, &Node { place: place.clone(), value });
        Ok(table)
    }
}

/// A whole number as TOML has it, or why it has not: a seed must not become another one.
fn integer(number: u64, place: &Place) -> Result<Value, Vec<Diagnostic>> {
    let number = i64::try_from(number);
    number.map(Value::Integer).map_err(|_| vec![out_of_range(place.clone())])
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(text) => write!(f, "--set {text}"),
            Self::Flag { flag, given, .. } => write!(f, "{flag} {given}"),
        }
    }
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list<T: ToString>(numbers: &[T]) -> String {
            numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        }
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Whole(number) => write!(f, "{number}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Switch(on) => write!(f, "{on}"),
            Self::Numbers(numbers) => f.write_str(&list(numbers)),
            Self::Wholes(numbers) => f.write_str(&list(numbers)),
        }
    }
}

impl From<&str> for Given {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<f64> for Given {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Given {
    fn from(on: bool) -> Self {
        Self::Switch(on)
    }
}

impl From<Vec<f64>> for Given {
    fn from(numbers: Vec<f64>) -> Self {
        Self::Numbers(numbers)
    }
}

impl From<u64> for Given {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<usize> for Given {
    fn from(number: usize) -> Self {
        Self::Whole(number as u64)
    }
}

impl From<&[usize]> for Given {
    fn from(numbers: &[usize]) -> Self {
        Self::Wholes(numbers.iter().map(|&number| number as u64).collect())
    }
}
