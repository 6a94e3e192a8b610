//! Which of a checkpoint's values are weights, and which of several are meant.
//!
//! A training script saves more than one set: the weights that were trained and their moving
//! average (EMA), beside the optimiser, a step and an epoch. The papers' numbers are those of the
//! average. The official checkpoints of DDIM are the list `[model, optimizer, epoch, step, ema]`;
//! others use a dictionary whose keys say what is what.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Part, Role,
    pickle::{Document, Node},
};

/// How deep sets of weights are looked for: `{"ema": {"shadow": {...}}}` has two.
const DEPTH: usize = 3;

/// What a file holds beside numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) parts: Vec<Part>,
    pub(super) epoch: Option<i64>,
    pub(super) step: Option<i64>,
    /// Names of what Python would call or import beside tensors.
    pub(super) objects: BTreeSet<String>,
}

/// Finds the sets of weights of a file.
pub(super) fn find(document: &Document) -> Contents {
    let mut contents = Contents::default();
    let root = document.root();
    match root {
        Node::List(items) | Node::Tuple(items) => {
            for (index, &id) in items.iter().enumerate() {
                search(
                    document,
                    document.get(id),
                    &format!("[{index}]"),
                    DEPTH,
                    &mut contents.parts,
                );
            }
            if let &[_, _, epoch, step, ..] = items.as_slice() {
                contents.epoch = int(document.get(epoch));
                contents.step = int(document.get(step));
            }
            // The official list: the first is what was trained, the last its average.
            if let [first, .., last] = contents.parts.as_mut_slice() {
                (first.role, last.role) = (Role::Raw, Role::Ema);
            }
        }
        _ => {
            search(document, root, "", DEPTH, &mut contents.parts);
            let first = |keys: &[&str]| keys.iter().find_map(|key| int(document.item(root, key)?));
            contents.epoch = first(&["epoch"]);
            contents.step = first(&["step", "global_step", "steps", "iteration", "it"]);
        }
    }
    for node in document.nodes() {
        if let Node::Object(name) = node {
            contents.objects.insert(name.clone());
        }
    }
    contents
}

fn int(node: &Node) -> Option<i64> {
    match node {
        Node::Int(n) => Some(*n),
        _ => None,
    }
}

/// Descends into dictionaries; one that holds no further ones with tensors is a set itself.
fn search(document: &Document, node: &Node, path: &str, depth: usize, parts: &mut Vec<Part>) {
    let Node::Dict(items) = node else { return };
    let before = parts.len();
    let mut tensors = BTreeMap::new();
    for &(key, value) in items {
        let Node::Text(key) = document.get(key) else { continue };
        match document.get(value) {
            Node::Tensor(tensor) => {
                tensors.insert(key.clone(), tensor.clone());
            }
            inner @ Node::Dict(_) if depth > 0 && !is_training_state(key) => {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                search(document, inner, &path, depth - 1, parts);
            }
            _ => {}
        }
    }
    if parts.len() == before && !tensors.is_empty() {
        parts.push(Part { path: path.to_owned(), role: role(path), tensors });
    }
}

/// Keys under which tensors are kept that are no weights.
fn is_training_state(key: &str) -> bool {
    let key = key.to_lowercase();
    ["optim", "opt", "sched", "lr_sched", "scaler"].iter().any(|k| key.starts_with(k))
}

fn role(path: &str) -> Role {
    let path = path.to_lowercase();
    let averaged = ["ema", "shadow", "average"].iter().any(|word| path.contains(word));
    match (averaged, path.is_empty()) {
        (true, _) => Role::Ema,
        (false, true) => Role::Only,
        (false, false) => Role::Raw,
    }
}
