//! Which of a checkpoint's values are weights, and which of several are meant.
//!
//! A training script saves more than one set: the weights that were trained and their moving
//! average (EMA), beside the optimiser, a step and an epoch. The papers' numbers are those of the
//! average. Where it is kept differs from script to script:
//!
//! | place | written by |
//! |---|---|
//! | the last of `[model, optimizer, epoch, step, ema]` | the official code of DDIM |
//! | a key: `ema`, `model_ema`, `state_dict_ema`, `ema.shadow` | most |
//! | a list without names, `shadow_params` | torch_ema, score_sde, diffusers' `EMAModel` |
//! | a prefix of a flat dictionary: `ema_model.` beside `online_model.` | ema_pytorch |
//! | `model_ema.` and names without their points | the `LitEma` of latent diffusion |
//! | `module.` beside a counter `n_averaged` | torch's `AveragedModel` |
//!
//! Any of them may be a module pickled whole instead of a dictionary. An average that is there and
//! in none of these forms is kept in mind as [`Unread`]: the raw weights are not taken instead.

use std::collections::{BTreeMap, BTreeSet};

use crate::data::pickle::{Document, Id, Node, TensorNode};
use crate::networks::checkpoint::{
    names::anchors,
    part::{Named, Part, Role, Unread, leaf},
};

/// How deep sets of weights are looked for: `{"ema": {"shadow": {...}}}` has two.
const DEPTH: usize = 4;

/// How deep modules stand in each other.
const MODULE_DEPTH: usize = 32;

/// More values than any checkpoint has: shared values could be visited without end.
const MOST_VISITS: usize = 1 << 21;

/// What a file holds beside numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) parts: Vec<Part>,
    /// Averages that are there and cannot be read.
    pub(super) unread: Vec<Unread>,
    pub(super) epoch: Option<i64>,
    pub(super) step: Option<i64>,
    /// Names of what Python would call or import beside tensors.
    pub(super) objects: BTreeSet<String>,
}

/// What says which weights a set is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sign {
    role: Role,
    what: String,
}

impl Sign {
    /// What a key or a part of a prefix says.
    fn of(word: &str, kind: &str) -> Option<Self> {
        let role = if is_average(word) || words(word).any(|word| word == "avg") {
            Role::Ema
        } else if ONLINE.contains(&word) {
            Role::Raw
        } else {
            return None;
        };
        Some(Self { role, what: format!("the {kind} `{word}`") })
    }
}

/// What the weights themselves are called where an average holds a copy of them.
const ONLINE: [&str; 4] = ["online_model", "online", "collected_params", "temp_stored_params"];

/// Finds the sets of weights of a file.
pub(super) fn find(document: &Document) -> Contents {
    let mut search = Search { document, contents: Contents::default(), lists: vec![], visits: 0 };
    let root = document.root();
    match root {
        Node::List(items) | Node::Tuple(items) => {
            // [model, optimizer, epoch, step, ema]
            let official = match items.as_slice() {
                &[_, _, epoch, step, ..] => int(document.get(epoch)).zip(int(document.get(step))),
                _ => None,
            };
            for (index, &id) in items.iter().enumerate() {
                let sign = |role, place| Sign { role, what: format!("the {place} official list") };
                let sign = match (official, index) {
                    (Some(_), 0) => Some(sign(Role::Raw, "first place of the")),
                    (Some(_), 4) => Some(sign(Role::Ema, "last place of the")),
                    _ => None,
                };
                // The second is the optimiser.
                if official.is_none() || index != 1 {
                    search.value(document.get(id), &format!("[{index}]"), DEPTH, sign);
                }
            }
            (search.contents.epoch, search.contents.step) = official.unzip();
        }
        _ => {
            search.value(root, "", DEPTH, None);
            let first = |keys: &[&str]| keys.iter().find_map(|key| int(document.item(root, key)?));
            search.contents.epoch = first(&["epoch"]);
            search.contents.step = first(&["step", "global_step", "steps", "iteration", "it"]);
        }
    }
    for node in document.nodes() {
        if let Node::Object(name, _) = node {
            search.contents.objects.insert(name.clone());
        }
    }
    search.finish()
}

/// The sets of weights of a dictionary of tensors alone.
pub(super) fn of_dictionary(named: Named) -> (Vec<Part>, Vec<Unread>) {
    let mut contents = Contents::default();
    sets("", named, None, &mut contents);
    settle(&mut contents);
    (contents.parts, contents.unread)
}

fn int(node: &Node) -> Option<i64> {
    match node {
        Node::Int(n) => Some(*n),
        _ => None,
    }
}

/// An average as a list: its place, its tensors in order, and what says that it is one.
struct List {
    path: String,
    tensors: Vec<TensorNode>,
    sign: Sign,
}

struct Search<'d> {
    document: &'d Document,
    contents: Contents,
    lists: Vec<List>,
    visits: usize,
}

impl<'d> Search<'d> {
    /// How much was found.
    fn found(&self) -> usize {
        self.contents.parts.len() + self.contents.unread.len() + self.lists.len()
    }

    /// Looks for sets in a value; `sign` is what the keys on the way to it say.
    fn value(&mut self, node: &Node, path: &str, depth: usize, sign: Option<Sign>) {
        self.visits += 1;
        if self.visits > MOST_VISITS {
            return;
        }
        match node {
            Node::Dict(items) => self.dictionary(items, path, depth, sign.as_ref()),
            Node::Object(_, Some(state)) => {
                let Some(state) = self.attributes(*state) else { return };
                if self.document.item(state, "_modules").is_some() {
                    let mut named = vec![];
                    self.module(state, "", MODULE_DEPTH, &mut named);
                    sets(path, named, sign.as_ref(), &mut self.contents);
                } else if depth > 0 {
                    self.value(state, path, depth - 1, sign);
                }
            }
            Node::List(items) | Node::Tuple(items) => {
                let Some(sign) = sign.filter(|sign| sign.role == Role::Ema) else { return };
                let tensor = |&id: &Id| match self.document.get(id) {
                    Node::Tensor(tensor) => Some(tensor.clone()),
                    _ => None,
                };
                let tensors: Option<Vec<_>> = items.iter().map(tensor).collect();
                if let Some(tensors) = tensors.filter(|tensors| !tensors.is_empty()) {
                    self.lists.push(List { path: path.to_owned(), tensors, sign });
                }
            }
            _ => {}
        }
    }

    /// Descends into a dictionary; one that holds further ones with tensors is a set itself only
    /// if a network's layers stand in it.
    fn dictionary(&mut self, items: &[(Id, Id)], path: &str, depth: usize, sign: Option<&Sign>) {
        let document = self.document;
        let before = self.found();
        let mut named: BTreeMap<&str, (usize, TensorNode)> = BTreeMap::new();
        for (place, &(key, value)) in items.iter().enumerate() {
            let Node::Text(key) = document.get(key) else { continue };
            let value = document.get(value);
            if let Node::Tensor(tensor) = value {
                named.insert(key, (place, tensor.clone()));
                continue;
            }
            let path = join(path, key);
            if is_training_state(key) {
                if let Some(hidden) = self.hidden(value, &path, DEPTH) {
                    let why = "it stands in the optimiser's state".to_owned();
                    self.contents.unread.push(Unread { path: hidden, why });
                }
                continue;
            }
            let own = Sign::of(key, "key");
            let averaged = own.as_ref().is_some_and(|sign| sign.role == Role::Ema);
            let found = self.found();
            if depth > 0 {
                self.value(value, &path, depth - 1, own.or_else(|| sign.cloned()));
            }
            if averaged && found == self.found() && self.holds_weights(value, DEPTH) {
                let why = "its tensors stand under no names of layers".to_owned();
                self.contents.unread.push(Unread { path, why });
            }
        }
        let mut named: Vec<_> = named.into_iter().collect();
        named.sort_by_key(|&(_, (place, _))| place);
        let named: Named = named.into_iter().map(|(name, (_, t))| (name.to_owned(), t)).collect();
        let network = !anchors(named.iter().map(|(name, _)| name.as_str())).is_empty();
        if network || before == self.found() {
            sets(path, named, sign, &mut self.contents);
        } else {
            // Beside sets in dictionaries of their own: a vector of all weights, say.
            for (name, tensor) in named {
                if is_average(&name) && is_weight(&tensor) {
                    let why = "it is one tensor for all layers".to_owned();
                    self.contents.unread.push(Unread { path: join(path, &name), why });
                }
            }
        }
    }

    /// The attributes of an object: its state, or the first half of one with slots.
    fn attributes(&self, state: Id) -> Option<&'d Node> {
        match self.document.get(state) {
            dict @ Node::Dict(_) => Some(dict),
            Node::Tuple(halves) => match self.document.get(*halves.first()?) {
                dict @ Node::Dict(_) => Some(dict),
                _ => None,
            },
            _ => None,
        }
    }

    /// The tensors of a module that was pickled whole, as its `state_dict` would name them.
    fn module(&mut self, state: &Node, prefix: &str, depth: usize, named: &mut Named) {
        self.visits += 1;
        if self.visits > MOST_VISITS || depth == 0 {
            return;
        }
        let document = self.document;
        let transient = match document.item(state, "_non_persistent_buffers_set") {
            Some(Node::List(names) | Node::Tuple(names)) => names.as_slice(),
            _ => &[],
        };
        let is_transient = |name: &str| {
            transient.iter().any(|&id| matches!(document.get(id), Node::Text(n) if n == name))
        };
        for kind in ["_parameters", "_buffers"] {
            let Some(Node::Dict(items)) = document.item(state, kind) else { continue };
            for &(key, value) in items {
                if let (Node::Text(name), Node::Tensor(tensor)) =
                    (document.get(key), document.get(value))
                    && !(kind == "_buffers" && is_transient(name))
                {
                    self.visits += 1;
                    named.push((join(prefix, name), tensor.clone()));
                }
            }
        }
        let Some(Node::Dict(children)) = document.item(state, "_modules") else { return };
        for &(key, child) in children {
            if let (Node::Text(name), Node::Object(_, Some(state))) =
                (document.get(key), document.get(child))
                && let Some(state) = self.attributes(*state)
            {
                self.module(state, &join(prefix, name), depth - 1, named);
            }
        }
    }

    /// Whether there are tensors in a value, other than single numbers.
    fn holds_weights(&mut self, node: &Node, depth: usize) -> bool {
        self.visits += 1;
        if self.visits > MOST_VISITS {
            return false;
        }
        let document = self.document;
        let inner: Vec<Id> = match node {
            Node::Tensor(tensor) => return is_weight(tensor),
            Node::Dict(items) => items.iter().map(|item| item.1).collect(),
            Node::List(items) | Node::Tuple(items) => items.clone(),
            Node::Object(_, Some(state)) => vec![*state],
            _ => vec![],
        };
        depth > 0 && inner.into_iter().any(|id| self.holds_weights(document.get(id), depth - 1))
    }

    /// Where an average stands in the state of an optimiser.
    fn hidden(&mut self, node: &Node, path: &str, depth: usize) -> Option<String> {
        self.visits += 1;
        if self.visits > MOST_VISITS || depth == 0 {
            return None;
        }
        let document = self.document;
        match node {
            Node::Dict(items) => items.iter().find_map(|&(key, value)| {
                let (Node::Text(key), value) = (document.get(key), document.get(value)) else {
                    return None;
                };
                let path = join(path, key);
                if is_average(key) && self.holds_weights(value, DEPTH) {
                    return Some(path);
                }
                self.hidden(value, &path, depth - 1)
            }),
            Node::List(items) | Node::Tuple(items) => {
                let item = |(index, &id): (usize, &Id)| {
                    self.hidden(document.get(id), &format!("{path}[{index}]"), depth - 1)
                };
                items.iter().enumerate().find_map(item)
            }
            _ => None,
        }
    }

    /// Gives the lists their names.
    fn finish(mut self) -> Contents {
        for List { path, tensors, sign } in self.lists {
            let parts = &self.contents.parts;
            let raw = || parts.iter().filter(|part| part.role != Role::Ema);
            if let Some(named) = raw().find_map(|part| with_names(&tensors, part)) {
                self.contents.parts.push(Part::new(
                    path,
                    sign.role,
                    Some(sign.what),
                    named,
                    vec![],
                ));
                continue;
            }
            let why = match raw().next() {
                Some(part) => format!(
                    "it is a list of {} tensors, which do not fit the {} of `{}` in their order",
                    tensors.len(),
                    part.tensors.len(),
                    part.path
                ),
                None => {
                    "it is a list without names, and no weights by name stand beside it".to_owned()
                }
            };
            self.contents.unread.push(Unread { path, why });
        }
        settle(&mut self.contents);
        self.contents
    }
}

/// Beside an average, a set that does not say what it is are the weights themselves.
fn settle(contents: &mut Contents) {
    let averaged = contents.parts.iter().any(|part| part.role == Role::Ema);
    if averaged || !contents.unread.is_empty() {
        for part in contents.parts.iter_mut().filter(|part| part.role == Role::Only) {
            part.role = Role::Raw;
        }
    }
}

/// The tensors of a list under the names of a set's parameters, if all shapes fit in order.
///
/// A list is that of `parameters()`, which leaves buffers out and is otherwise in the order of the state
/// dictionary.
fn with_names(list: &[TensorNode], part: &Part) -> Option<Named> {
    let is_parameter = |name: &&String| ["weight", "bias"].contains(&leaf(name));
    let all: Vec<&String> = part.order.iter().collect();
    let parameters: Vec<&String> = part.order.iter().filter(is_parameter).collect();
    let fits = |names: &Vec<&String>| {
        names.len() == list.len()
            && names.iter().zip(list).all(|(name, node)| part.tensors[*name].shape == node.shape)
    };
    let names = [all, parameters].into_iter().find(fits)?;
    Some(names.into_iter().cloned().zip(list.iter().cloned()).collect())
}

/// Divides a dictionary of tensors into its sets: one for each prefix under which a network stands.
fn sets(path: &str, named: Named, sign: Option<&Sign>, contents: &mut Contents) {
    let (buffers, named): (Named, Named) =
        named.into_iter().partition(|(name, tensor)| is_buffer(name, tensor));
    if named.is_empty() {
        return;
    }
    let prefixes: Vec<String> = anchors(named.iter().map(|(name, _)| name.as_str()));
    let signs = |prefix: &str| {
        let counted = buffers.iter().map(|(name, _)| name).find(|name| {
            let wrapper = name.strip_suffix("n_averaged").map(|before| format!("{before}module."));
            wrapper.is_some_and(|wrapper| prefix.starts_with(&wrapper))
        });
        let counted = counted
            .map(|name| Sign { role: Role::Ema, what: format!("the counter `{name}` beside it") });
        let said = || prefix.split('.').rev().find_map(|word| Sign::of(word, "prefix"));
        counted.or_else(said).or_else(|| sign.cloned())
    };
    // The longest prefix counts: a network may hold another one.
    let owner = |name: &str| {
        prefixes.iter().filter(|p| name.starts_with(*p)).max_by_key(|p| p.len()).cloned()
    };
    let mut owned: BTreeMap<Option<String>, Named> = BTreeMap::new();
    for (name, tensor) in named {
        owned.entry(owner(&name)).or_default().push((name, tensor));
    }
    let outside = owned.remove(&None).unwrap_or_default();
    let (averages, outside): (Named, Named) = outside.into_iter().partition(|(name, _)| {
        !prefixes.is_empty() && name.rsplit_once('.').is_some_and(|(before, _)| is_average(before))
    });
    let first = contents.parts.len();
    for prefix in &prefixes {
        let mut tensors = owned.remove(&Some(prefix.clone())).unwrap_or_default();
        tensors.extend(outside.iter().cloned());
        let top = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
        let elsewhere = |name: &str| {
            top(name) != top(prefix) && prefixes.iter().any(|other| top(other) == top(name))
        };
        let left_out = buffers.iter().filter(|(name, _)| !elsewhere(name)).cloned().collect();
        let place = match prefixes.as_slice() {
            [_] => path.to_owned(),
            _ => join(path, prefix.trim_end_matches('.')),
        };
        contents.parts.push(part(place, signs(prefix), tensors, left_out));
    }
    if prefixes.is_empty() {
        let before = outside.iter().map(|(name, _)| name.as_str());
        let prefix = crate::networks::checkpoint::names::Translation::of(before).prefix;
        contents.parts.push(part(path.to_owned(), signs(&prefix), outside, buffers.clone()));
    }
    if averages.is_empty() {
        return;
    }
    let top = averages[0].0.split('.').next().unwrap_or_default().to_owned();
    let named = contents.parts[first..].iter().find_map(|part| without_points(&averages, part));
    if let Some(named) = named {
        let what = format!("the prefix `{top}.`");
        contents.parts.push(Part::new(join(path, &top), Role::Ema, Some(what), named, vec![]));
    } else {
        let why = format!("its tensors, `{}` and others, fit no network here", averages[0].0);
        contents.unread.push(Unread { path: join(path, &top), why });
    }
}

fn part(path: String, sign: Option<Sign>, tensors: Named, left_out: Named) -> Part {
    let (role, what) = match sign {
        Some(Sign { role, what }) => (role, Some(what)),
        None if path.is_empty() => (Role::Only, None),
        None => (Role::Raw, None),
    };
    Part::new(path, role, what, tensors, left_out)
}

/// The tensors of an average that names its tensors as the set does, without the points.
fn without_points(averages: &Named, part: &Part) -> Option<Named> {
    let by_name: BTreeMap<&str, &TensorNode> = averages
        .iter()
        .filter_map(|(name, tensor)| Some((name.rsplit_once('.')?.1, tensor)))
        .collect();
    // The average was made of the whole or of what is under one of its prefixes.
    let whole = part.order.first()?;
    let starts = std::iter::once(0).chain(whole.match_indices('.').map(|(place, _)| place + 1));
    let mut found = starts.filter_map(|start| {
        let named = part.order.iter().map(|name| {
            let tensor = by_name.get(name.get(start..)?.replace('.', "").as_str())?;
            (tensor.shape == part.tensors[name].shape).then(|| (name.clone(), (*tensor).clone()))
        });
        named.collect::<Option<Named>>().filter(|named| named.len() == averages.len())
    });
    found.next()
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Keys under which tensors are kept that are no weights.
fn is_training_state(key: &str) -> bool {
    let key = key.to_lowercase();
    ["optim", "opt", "sched", "lr_sched", "scaler"].iter().any(|k| key.starts_with(k))
}

/// The words of a name, in lower case: `modelEMA_0.99` has four.
fn words(name: &str) -> impl Iterator<Item = String> {
    let mut words = vec![String::new()];
    let mut last = ' ';
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && last.is_lowercase()) {
            words.push(String::new());
        }
        if c.is_alphanumeric() {
            let word = words.last_mut().expect("invariant: there is a word");
            word.extend(c.to_lowercase());
        }
        last = c;
    }
    words.into_iter().filter(|word| !word.is_empty())
}

/// Whether a name says that it is that of an average.
pub(in crate::networks) fn is_average(name: &str) -> bool {
    let average = |word: &str| {
        word.starts_with("ema")
            || (word.ends_with("ema") && !["schema", "cinema"].contains(&word))
            || ["shadow", "average", "averaged", "swa", "polyak"].contains(&word)
    };
    words(name).any(|word| average(&word))
}

fn is_weight(tensor: &TensorNode) -> bool {
    tensor.shape.iter().any(|&side| side > 1)
}

/// Counters, and what a process keeps beside its network: no weights.
const BUFFERS: [&str; 27] = [
    "alphas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "alphas_cumprod_next",
    "alphas_bar",
    "betas",
    "decay",
    "log_one_minus_alphas_cumprod",
    "loss_weight",
    "lvlb_weights",
    "logvar",
    "num_updates",
    "one_minus_alphas_cumprod",
    "p2_loss_weight",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
    "posterior_variance",
    "sigmas",
    "snr",
    "sqrt_alphas",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "sqrt_recip_alphas",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "timesteps",
];

/// Whether a tensor is a counter or a buffer of the process, and no weight of a network.
fn is_buffer(name: &str, tensor: &TensorNode) -> bool {
    let flat = tensor.shape.len() <= 1;
    flat && (BUFFERS.contains(&leaf(name))
        || matches!(
            tensor.storage.kind,
            tch::Kind::Int64 | tch::Kind::Int | tch::Kind::Bool | tch::Kind::Uint8
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_is_told_by_the_words_of_its_name() {
        for name in ["ema", "model_ema", "EMA", "emaModel", "ema_0.9999", "netG_ema", "swa_model"] {
            assert!(is_average(name), "{name}");
        }
        for name in ["model", "semantic_encoder", "schema", "embed", "shadowed_by", "exp_avg"] {
            assert!(!is_average(name), "{name}");
        }
    }
}
