//! What a pickle holds, as an arena of nodes.

use std::collections::BTreeMap;

use tch::Kind;

/// A node of a [`Document`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id(pub(super) usize);

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// Bytes, or a string of Python 2 that is not UTF-8.
    Bytes(Vec<u8>),
    /// An integer of more than 64 bits, whose value nothing here needs.
    Opaque,
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// Something that Python would import.
    Global(String),
    /// What Python would get from a call of that name, and the state that it would be given.
    Object(String, Option<Id>),
    Storage(Storage),
    Tensor(TensorNode),
}

impl Node {
    /// The bytes that it takes when it is made.
    pub(super) fn bytes(&self) -> usize {
        let beside = match self {
            Self::Text(text) | Self::Global(text) | Self::Object(text, _) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Tuple(items) | Self::List(items) => size_of_val(items.as_slice()),
            Self::Dict(items) => size_of_val(items.as_slice()),
            Self::Storage(storage) => storage.key.len(),
            Self::Tensor(TensorNode { storage, shape, strides, .. }) => {
                storage.key.len() + size_of_val(shape.as_slice()) + size_of_val(strides.as_slice())
            }
            Self::None | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Opaque => 0,
        };
        size_of::<Self>() + beside
    }
}

/// A run of numbers outside the pickle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Storage {
    pub(crate) key: String,
    pub(crate) kind: Kind,
    /// Elements in all.
    pub(crate) len: u64,
    /// Elements before a view of it; the oldest files save views so.
    pub(crate) start: u64,
}

/// A tensor: a window on a storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TensorNode {
    pub(crate) storage: Storage,
    pub(crate) offset: u64,
    pub(crate) shape: Vec<i64>,
    pub(crate) strides: Vec<i64>,
}

/// What is wrong with a pickle, and where.
#[derive(Debug, thiserror::Error)]
#[error("at byte {offset} of its pickle: {problem}")]
pub(crate) struct PickleError {
    pub(crate) offset: u64,
    pub(crate) problem: String,
}

/// A parsed pickle.
#[derive(Debug)]
pub(crate) struct Document {
    pub(super) nodes: Vec<Node>,
    pub(super) root: Id,
    /// What objects would be made of, by the object.
    pub(super) arguments: BTreeMap<usize, Id>,
}

impl Document {
    /// The value that the pickle stands for.
    pub(crate) fn root(&self) -> &Node {
        self.get(self.root)
    }

    /// The value of a node.
    pub(crate) fn get(&self, id: Id) -> &Node {
        &self.nodes[id.0]
    }

    /// The tuple that Python would call an object's function with.
    pub(crate) fn arguments(&self, object: Id) -> Option<Id> {
        self.arguments.get(&object.0).copied()
    }

    /// What Python would hand an object as its state.
    pub(crate) fn state(&self, object: Id) -> Option<Id> {
        match self.get(object) {
            Node::Object(_, state) => *state,
            _ => None,
        }
    }

    /// The value under a text key of a dictionary.
    pub(crate) fn item(&self, dict: &Node, key: &str) -> Option<&Node> {
        let Node::Dict(items) = dict else { return None };
        let found =
            items.iter().rev().find(|item| matches!(self.get(item.0), Node::Text(k) if k == key));
        found.map(|item| self.get(item.1))
    }

    /// All values, in the order of their appearance.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }
}
