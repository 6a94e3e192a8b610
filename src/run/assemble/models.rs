//! The stock of loaded models, and the samplers of cells.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
};

use ndarray::Ix4;
use serde::Serialize;
use tch::Tensor;

use crate::run::assemble::{
    any_solution::AnySolution,
    bound::{Bound, Exchange},
    categories::Categories,
    denoiser::{adapt, adapt_divergent, categorical_model, data, exact_model},
    files::weights_path,
    levels,
    sampler::Sampler,
    solver::{grid_and_solver, learned},
};
use crate::{
    backends::{array::Array, torch},
    core::{self, Denoiser, Divergent, Solver},
    data::sha256,
    error::{Error, Result},
    hardware::Hardware,
    likelihood::Followed,
    limits,
    metrics::{self, measure::Measure},
    networks::{
        checkpoint::Which,
        compile::{self, Order, Source, default_python},
        network::{Network, Wanted},
        placement::{Placement, Precision},
        reading::Remark,
    },
    plan::{self, CellSpec, ExactSpec, MetricsSpec, tau_file::ChosenFor},
    run::{registry::Registry, solution::Known},
};

/// What has to be compiled for a cell; nothing unless it asks for it.
///
/// # Errors
/// Weights that are not here.
pub fn order(spec: &CellSpec, device: tch::Device) -> Result<Option<Order>> {
    let model = &spec.model;
    if !model.compiled {
        return Ok(None);
    }
    let source = Source::Network {
        path: weights_path(&model.source)?,
        which: if model.raw { Which::Raw } else { Which::Ema },
        shape: <[usize; 3]>::try_from(model.shape.as_slice()).ok(),
    };
    Ok(Some(Order {
        source,
        name: model.source.clone(),
        device,
        batch: Some(spec.batch),
        precision: spec.precision,
        autotune: false,
        inductor: serde_json::Map::new(),
        python: default_python(),
    }))
}

/// The model and the schedule of a cell, as a file of timesteps names them; `weights` is the hash of a
/// network's.
///
/// # Panics
/// Never: a cell has string keys and finite numbers.
pub fn chosen_for_cell(spec: &CellSpec, weights: Option<&str>) -> ChosenFor {
    let model = &spec.model;
    let numbers = |exact: &ExactSpec| format!("{} {}", model.source, json(exact));
    ChosenFor {
        model: model.source.clone(),
        sha256: match (&model.exact, weights) {
            (Some(exact), _) => sha256(numbers(exact).as_bytes()),
            (None, weights) => weights.unwrap_or_default().to_owned(),
        },
        clip: model.clip_x0.then(|| model.clip_range.to_string()),
        schedule: json(&spec.schedule),
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("invariant: plain data serialises")
}

/// The measures of a path's curvature that a cell asks for.
fn curvatures(metrics: Option<&MetricsSpec>) -> Vec<&'static Measure> {
    let all = [&metrics::CURVATURE, &metrics::CURVATURE_SIGMA2];
    let asked = |measure: &&Measure| metrics.is_some_and(|metrics| metrics.asks_for(measure));
    all.into_iter().filter(|measure| asked(measure)).collect()
}

/// What tells loaded networks apart: source, raw, shape, precision, and the batch of one that is compiled.
type NetworkKey = (String, bool, Vec<usize>, Precision, Option<usize>);

/// Loads each model once, and hands out samplers for cells.
pub struct Models<'a> {
    registry: &'a Registry,
    hardware: Hardware,
    networks: BTreeMap<NetworkKey, Rc<Network>>,
    known_arrays: Known<Array>,
    known_tensors: Known<Tensor>,
}

impl<'a> Models<'a> {
    /// An empty stock on some hardware.
    pub fn new(hardware: Hardware, registry: &'a Registry) -> Self {
        Self {
            registry,
            hardware,
            networks: BTreeMap::new(),
            known_arrays: Known::default(),
            known_tensors: Known::default(),
        }
    }

    /// What models run on.
    pub fn hardware(&self) -> &Hardware {
        &self.hardware
    }

    /// Keeps of the reference solutions those with the keys of cells that will still ask for them.
    pub fn want_solutions(&self, keys: &BTreeSet<String>) {
        self.known_arrays.borrow_mut().want(keys);
        self.known_tensors.borrow_mut().want(keys);
    }

    /// Hash of the weights of a model, for keys and provenance; absent for exact-score models.
    ///
    /// # Errors
    /// As [`Models::sampler`].
    pub fn weights_sha256(&mut self, spec: &CellSpec) -> Result<Option<String>> {
        match spec.model.exact {
            Some(_) => Ok(None),
            None if spec.model.compiled => {
                Ok(Some(self.network(spec)?.weights_sha256().to_owned()))
            }
            None => Ok(Some(self.network(spec)?.sha256().to_owned())),
        }
    }

    /// Hash of the package that a cell's network was compiled into, for provenance; absent unless the cell
    /// asks for one. It is no part of a key: another machine compiles another package.
    ///
    /// # Errors
    /// As [`Models::sampler`].
    pub fn package_sha256(&mut self, spec: &CellSpec) -> Result<Option<String>> {
        if spec.model.compiled {
            return Ok(Some(self.network(spec)?.sha256().to_owned()));
        }
        Ok(None)
    }

    /// Remarks on how a model was read and on how it will run; none for exact-score models.
    ///
    /// # Errors
    /// As [`Models::sampler`].
    pub fn remarks(&mut self, spec: &CellSpec) -> Result<Vec<Remark>> {
        let chosen = self.chosen_for_another(spec)?.map(|text| Remark { text, warning: true });
        if spec.model.exact.is_some() {
            return Ok(chosen.into_iter().collect());
        }
        let network = self.network(spec)?;
        let mut remarks = network.remarks().to_vec();
        remarks.extend(chosen);
        let levels = network.levels().map(|own| levels::contradiction(own, &spec.schedule));
        let contradiction = levels.transpose()?.flatten();
        remarks.extend(contradiction.map(|text| Remark { text, warning: true }));
        let warning = self.hardware.warning(spec.precision);
        remarks.extend(warning.map(|text| Remark { text, warning: true }));
        Ok(remarks)
    }

    /// What a cell's timesteps were chosen for, if that is not its own model and schedule.
    fn chosen_for_another(&mut self, spec: &CellSpec) -> Result<Option<String>> {
        let Some(chosen_for) = &spec.grid.chosen_for else { return Ok(None) };
        let weights = self.weights_sha256(spec)?;
        Ok(chosen_for.differs(&chosen_for_cell(spec, weights.as_deref())))
    }

    /// The sampler of a cell.
    ///
    /// # Errors
    /// Weights that cannot be read, or an exact-score model that makes no sense.
    pub fn sampler(&mut self, spec: &CellSpec) -> Result<Box<dyn Sampler>> {
        let (grid, solver) = grid_and_solver(spec, self.registry)?;
        let inverse = Registry::inverse(&spec.solver, Arc::clone(&solver))?;
        let variance = Registry::variance(&spec.solver);
        let solution = AnySolution::of(spec, self.registry, &grid)?;
        let curvatures = curvatures(spec.metrics.as_ref());
        if let (Some(exact), true) = (&spec.model.exact, spec.model.is_categorical()) {
            let measured = spec.metrics.is_some();
            return Ok(Box::new(Categories::new(
                categorical_model(exact)?,
                solver,
                grid,
                measured,
            )));
        }
        let drawn = spec.task.images().and_then(|images| images.exact.as_ref());
        let drawn = drawn.map(data).transpose()?;
        if let Some(exact) = &spec.model.exact {
            let &[c, h, w] = exact.shape.as_slice() else {
                return Err(Error::input(format!(
                    "model.shape is {:?}: samples are images, `shape = [C, H, W]`",
                    exact.shape
                )));
            };
            let known = exact_model(exact, &grid, variance)?;
            return Ok(Box::new(Bound {
                flow: Arc::clone(&solver) as Arc<dyn Solver<Followed<Array>>>,
                divergent: Rc::clone(&known) as Rc<dyn Divergent<State = Array>>,
                data: Some(drawn.map_or_else(|| data(exact), Ok)?),
                linear: Some(Rc::clone(&known)),
                solver: solver as Arc<dyn Solver<Array>>,
                variance,
                inverse: inverse as Arc<dyn Solver<Array>>,
                denoiser: adapt(known as _, &spec.model),
                grid,
                shape: [c, h, w],
                solution: solution.map(|solution| solution.on_arrays(&self.known_arrays)),
                curvatures,
                exchange: Exchange {
                    into: Box::new(|images| Ok(images.into_dyn())),
                    out: |x| x.clone().into_dimensionality::<Ix4>().map_err(core::Error::model),
                },
            }));
        }
        let network = self.network(spec)?;
        if learned(spec) && network.predicts_range() == Some(false) {
            return Err(core::Error::NoRange.into());
        }
        let shape = network.shape().ok_or_else(|| {
            Error::input(format!(
                "{}: nothing says how large its images are; say so: `model.shape = [3, 32, 32]` \
                 (--shape 3,32,32), or `sample_size` in its config.json",
                spec.model.source
            ))
        })?;
        limits::batch(spec.batch.min(spec.samples), shape).map_err(|problem| {
            Error::input(format!("{}: {problem}: take a smaller `batch`", spec.model.source))
        })?;
        let device = self.hardware.device();
        let kind = match spec.state {
            plan::StateKind::F32 => tch::Kind::Float,
            plan::StateKind::F64 => tch::Kind::Double,
        };
        let raw = Rc::clone(&network) as Rc<dyn Divergent<State = Tensor>>;
        Ok(Box::new(Bound {
            flow: Arc::clone(&solver) as Arc<dyn Solver<Followed<Tensor>>>,
            divergent: adapt_divergent(raw, &spec.model),
            data: drawn,
            linear: None,
            solver: solver as Arc<dyn Solver<Tensor>>,
            variance,
            inverse: inverse as Arc<dyn Solver<Tensor>>,
            denoiser: adapt(network as Rc<dyn Denoiser<State = Tensor>>, &spec.model),
            grid,
            shape,
            solution: solution.map(|solution| solution.on_tensors(&self.known_tensors)),
            curvatures,
            exchange: Exchange {
                into: Box::new(move |images| torch::from_states(&images, kind, device)),
                out: torch::to_states,
            },
        }))
    }

    fn network(&mut self, spec: &CellSpec) -> Result<Rc<Network>> {
        let model = &spec.model;
        let batch = model.compiled.then_some(spec.batch);
        let key = (model.source.clone(), model.raw, model.shape.clone(), spec.precision, batch);
        if let Some(network) = self.networks.get(&key) {
            return Ok(Rc::clone(network));
        }
        let wanted = Wanted {
            which: if model.raw { Which::Raw } else { Which::Ema },
            shape: <[usize; 3]>::try_from(model.shape.as_slice()).ok(),
            placement: Placement::on(self.hardware.device(), spec.precision),
        };
        let network = match order(spec, self.hardware.device())? {
            None => Network::open(&weights_path(&model.source)?, &wanted)?,
            Some(order) => {
                let package = compile::cached(&order)?;
                if !compile::is_there(&package) {
                    return Err(Error::input(format!(
                        "{} was not compiled for {} images a call: `ddim run` and `ddim sample` \
                         compile it",
                        model.source, spec.batch
                    )));
                }
                // The package has the one set of weights that was asked for.
                Network::open(&package, &Wanted { which: Which::Ema, ..wanted })?
            }
        };
        let network = Rc::new(network);
        self.networks.insert(key, Rc::clone(&network));
        Ok(network)
    }
}
