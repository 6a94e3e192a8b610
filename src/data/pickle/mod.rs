//! A parser of Python pickles that executes nothing.
//!
//! A pickle is a program for a stack machine that may call any Python function. This one knows the
//! opcodes of protocols 2 to 5 and gives meaning to the few functions that `torch.save` names:
//! they become dictionaries, storages and tensors. Whatever else a pickle would call becomes an
//! inert [`Node::Object`] with its name and the state it would be given; what it would be called with
//! is kept beside it ([`Document::arguments`]).
//!
//! Nodes live in one arena, so that sharing costs nothing, cycles do no harm, and depth cannot
//! exhaust the stack. No number in the file decides an allocation: text is read as it comes, and
//! the number of steps and of bytes is bounded.
//!
//! # References
//! `Lib/pickletools.py` of CPython; `torch/serialization.py` and `torch/_utils.py` of PyTorch.

mod document;
mod machine;

pub(crate) use document::{Document, Id, Node, PickleError, Storage, TensorNode};
pub(crate) use machine::parse;
