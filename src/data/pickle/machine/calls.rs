//! What the functions and references that `torch.save` writes stand for.

use std::io::Read;

use tch::Kind;

use super::{LONGEST_KEY, Machine, Result};
use crate::data::pickle::document::{Id, Node, Storage, TensorNode};

/// More axes than the tensors of networks have.
const MOST_AXES: usize = 16;

impl<R: Read> Machine<'_, R> {
    /// What a call gives: the few functions of `torch.save` are known, no other is called.
    pub(super) fn call(&mut self, callee: Id, arguments: Id) -> Result<()> {
        let name = match &self.nodes[callee.0] {
            Node::Global(name) | Node::Object(name, _) => name.clone(),
            _ => return self.error("it calls what is no function"),
        };
        let tuple = arguments;
        let Node::Tuple(arguments) = &self.nodes[tuple.0] else {
            return self.error("a call without its arguments");
        };
        let (first, last) = (arguments.first().copied(), arguments.last().copied());
        let node = match (name.as_str(), first) {
            ("collections.OrderedDict" | "collections.defaultdict" | "builtins.dict", _) => {
                let items = self.pairs(last);
                self.spend(items.len())?;
                Node::Dict(items)
            }
            ("torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor", _) => {
                self.tensor(arguments)?
            }
            ("torch._utils._rebuild_tensor_v3", _) => self.tensor_of_type(arguments)?,
            (
                "torch._utils._rebuild_parameter"
                | "torch._utils._rebuild_parameter_with_state"
                | "torch.Size"
                | "__builtin__.set"
                | "builtins.set",
                Some(first),
            ) => return self.put(first),
            _ => {
                self.arguments.insert(self.nodes.len(), tuple);
                Node::Object(name, None)
            }
        };
        self.push(node)
    }

    /// The items of a dictionary that is made from another one or from a list of pairs.
    fn pairs(&self, source: Option<Id>) -> Vec<(Id, Id)> {
        match source.map(|id| &self.nodes[id.0]) {
            Some(Node::Dict(items)) => items.clone(),
            Some(Node::List(items) | Node::Tuple(items)) => {
                let pair = |&id: &Id| match &self.nodes[id.0] {
                    Node::Tuple(pair) | Node::List(pair) => Some((*pair.first()?, *pair.get(1)?)),
                    _ => None,
                };
                items.iter().filter_map(pair).collect()
            }
            _ => vec![],
        }
    }

    /// `(storage, offset, size, stride, ...)`.
    fn tensor(&self, arguments: &[Id]) -> Result<Node> {
        let &[storage, offset, shape, strides, ..] = arguments else {
            return self.error("a tensor needs a storage, an offset, a size and strides");
        };
        let storage = match &self.nodes[storage.0] {
            Node::Storage(storage) => storage.clone(),
            Node::Object(name, _) => return Ok(Node::Object(name.clone(), None)),
            _ => return self.error("a tensor without a storage"),
        };
        let node = || {
            let offset = u64::try_from(self.int(offset)?).ok()?;
            let offset = offset.checked_add(storage.start)?;
            let (shape, strides) = (self.lengths(shape)?, self.lengths(strides)?);
            (shape.len() == strides.len()).then_some((offset, shape, strides))
        };
        match node() {
            Some((offset, shape, strides)) => {
                Ok(Node::Tensor(TensorNode { storage, offset, shape, strides }))
            }
            None => self.error("a tensor whose offset, size or strides make no sense"),
        }
    }

    /// `(storage, offset, size, stride, requires_grad, hooks, type, ...)`, of element types without
    /// a storage class; the storage counts bytes.
    fn tensor_of_type(&self, arguments: &[Id]) -> Result<Node> {
        let class = match arguments.get(6).map(|&id| &self.nodes[id.0]) {
            Some(Node::Global(class)) => class.clone(),
            _ => return self.error("a tensor without an element type"),
        };
        let kind = match class.as_str() {
            "torch.float8_e4m3fn" => Kind::Float8e4m3fn,
            "torch.float8_e5m2" => Kind::Float8e5m2,
            _ => return Ok(Node::Object(class, None)),
        };
        Ok(match self.tensor(arguments)? {
            Node::Tensor(tensor) => {
                Node::Tensor(TensorNode { storage: Storage { kind, ..tensor.storage }, ..tensor })
            }
            other => other,
        })
    }

    fn int(&self, id: Id) -> Option<i64> {
        match self.nodes[id.0] {
            Node::Int(n) => Some(n),
            _ => None,
        }
    }

    fn lengths(&self, id: Id) -> Option<Vec<i64>> {
        match &self.nodes[id.0] {
            Node::Tuple(items) | Node::List(items) if items.len() <= MOST_AXES => {
                items.iter().map(|&id| self.int(id).filter(|&n| n >= 0)).collect()
            }
            _ => None,
        }
    }

    /// What a persistent id stands for: `("storage", type, key, place, len[, view])`.
    pub(super) fn outside(&self, id: Id) -> Result<Node> {
        let Node::Tuple(items) = &self.nodes[id.0] else {
            return self.error("a reference to the outside that torch.save does not write");
        };
        let node = |index: usize| items.get(index).map(|&id| &self.nodes[id.0]);
        match (node(0), node(1), node(2), node(4)) {
            (Some(Node::Text(what)), Some(Node::Global(class)), ..) if what == "module" => {
                Ok(Node::Global(class.clone()))
            }
            (
                Some(Node::Text(what)),
                Some(Node::Global(class)),
                Some(Node::Text(key)),
                Some(&Node::Int(len)),
            ) if what == "storage" && key.len() <= LONGEST_KEY => {
                let Some(kind) = kind(class) else { return Ok(Node::Object(class.clone(), None)) };
                let start = match node(5) {
                    Some(Node::Tuple(view)) => {
                        view.get(1).and_then(|&id| self.int(id)).unwrap_or(0)
                    }
                    _ => 0,
                };
                let (Ok(len), Ok(start)) = (u64::try_from(len), u64::try_from(start)) else {
                    return self.error("a storage with a negative length");
                };
                Ok(Node::Storage(Storage { key: key.clone(), kind, len, start }))
            }
            _ => self.error("a reference to the outside that torch.save does not write"),
        }
    }
}

/// The element type of a storage class.
fn kind(class: &str) -> Option<Kind> {
    let name = class.strip_prefix("torch.cuda.").or_else(|| class.strip_prefix("torch."))?;
    Some(match name {
        "FloatStorage" => Kind::Float,
        "HalfStorage" => Kind::Half,
        "BFloat16Storage" => Kind::BFloat16,
        "DoubleStorage" => Kind::Double,
        "LongStorage" => Kind::Int64,
        "IntStorage" => Kind::Int,
        "ShortStorage" => Kind::Int16,
        "CharStorage" => Kind::Int8,
        // Bytes of a type that the tensor states.
        "ByteStorage" | "storage.UntypedStorage" => Kind::Uint8,
        "BoolStorage" => Kind::Bool,
        _ => return None,
    })
}
