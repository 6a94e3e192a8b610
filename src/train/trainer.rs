//! The loop's body: a state, and the step that carries it on.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};

use crate::backends::{replay::Replays, torch::first_line};
use crate::networks::{placement::Placement, unet::UnetError};
use crate::train::{
    adam::Moments, batch::Batch, importance::Importance, objective::Objective, objectives,
    parameters::Parameters, settings::Settings, workers::Workers,
};

/// Everything that a training carries from one step to the next.
#[derive(Debug)]
pub struct State {
    /// Images seen, each counted each time.
    pub seen: u64,
    /// The weights, f32 `[P]`.
    pub weights: Tensor,
    /// The moments of the optimiser.
    pub moments: Moments,
    /// The exponential moving average of the weights, `[P]`; absent if the settings ask for none.
    pub average: Option<Tensor>,
    /// What forward passes change without a gradient.
    pub buffers: BTreeMap<String, Tensor>,
    /// What was reported since the last row of the log: sum and count of every column, each image
    /// counted by its weight.
    pub sums: Vec<[f64; 2]>,
    /// The losses that timesteps are drawn by; absent where they are drawn uniformly.
    pub importance: Option<Importance>,
}

/// One row of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Images seen at its end.
    pub seen: u64,
    /// The mean of each column over the images since the row before; NaN where there were none.
    pub means: Vec<f64>,
}

/// A training under way.
pub struct Trainer {
    settings: Settings,
    objective: Box<dyn Objective>,
    parameters: Parameters,
    device: Device,
    /// Absent if every operation has all threads, or the device has its own.
    workers: Option<Workers>,
    /// The gradient's computation as a GPU has recorded it; absent where it may not be.
    replays: Option<Replays>,
    decayed: Option<Tensor>,
    state: State,
    /// Losses that are still on the device: timesteps, weights, values, the norm of the gradient.
    pending: Vec<(Vec<i64>, Vec<f32>, Tensor, Tensor)>,
}

/// The last column of the log.
pub const GRADIENT: &str = "gradient norm";

impl Trainer {
    /// Begins a training from the weights of its seed, or from others. On the CPU its steps are
    /// divided over as many threads as LibTorch has now, where the loss allows it.
    ///
    /// # Errors
    /// What LibTorch refuses, for instance more than fits on the device.
    pub fn new(
        settings: Settings,
        device: Device,
        start: Option<&BTreeMap<String, Tensor>>,
    ) -> Result<Self, UnetError> {
        let placement = Placement::on(device, settings.precision);
        let objective = objectives::of(&settings.learner, settings.seed, placement);
        let parameters = Parameters::new(objective.parameters());
        let weights = match start {
            Some(tensors) => parameters.join(tensors)?,
            None => parameters.first(settings.seed, |layer| objective.begins_at_zero(layer))?,
        };
        let weights = weights.f_to_device(device)?;
        let decays = settings.optimiser.weight_decay > 0.0;
        let threads = usize::try_from(tch::get_num_threads()).unwrap_or(1).min(settings.batch);
        let divides = device == Device::Cpu && threads > 1 && objective.divides();
        let replays = device.is_cuda() && objective.divides();
        Ok(Self {
            decayed: decays.then(|| parameters.decayed(device)).transpose()?,
            state: State {
                seen: 0,
                moments: Moments::new(&weights)?,
                average: (settings.ema > 0.0).then(|| weights.f_detach_copy()).transpose()?,
                weights,
                buffers: objective.buffers()?,
                sums: vec![[0.0; 2]; objective.columns().len() + 1],
                importance: objective.importance().then(|| Importance::new(objective.horizon())),
            },
            settings,
            objective,
            parameters,
            device,
            workers: divides.then(|| Workers::new(threads)).transpose()?,
            replays: replays.then(Replays::default),
            pending: vec![],
        })
    }

    /// What is trained, and how.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Names and shapes of the trained tensors.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The number of timesteps T that batches draw from.
    pub fn horizon(&self) -> usize {
        self.objective.horizon()
    }

    /// Images seen.
    pub fn seen(&self) -> u64 {
        self.state.seen
    }

    /// The state, with every loss in its sums.
    ///
    /// # Errors
    /// What LibTorch refuses.
    pub fn state(&mut self) -> Result<&State, UnetError> {
        self.settle()?;
        Ok(&self.state)
    }

    /// Continues from a state, whose tensors may be on any device.
    ///
    /// # Errors
    /// What LibTorch refuses.
    pub fn restore(&mut self, state: State) -> Result<(), UnetError> {
        let here = |tensor: &Tensor| tensor.f_to_device(self.device);
        let buffers = state.buffers.iter();
        self.state = State {
            weights: here(&state.weights)?,
            moments: Moments {
                mean: here(&state.moments.mean)?,
                square: here(&state.moments.square)?,
            },
            average: state.average.as_ref().map(here).transpose()?,
            buffers: buffers
                .map(|(name, tensor)| Ok((name.clone(), here(tensor)?)))
                .collect::<Result<_, tch::TchError>>()?,
            ..state
        };
        self.pending.clear();
        if let Some(replays) = &mut self.replays {
            replays.clear();
        }
        Ok(())
    }

    /// One step of a training of `budget` images.
    ///
    /// # Errors
    /// What LibTorch refuses.
    pub fn step(&mut self, batch: &Batch, budget: u64) -> Result<(), UnetError> {
        let drawn = self.redrawn(batch);
        let batch = drawn.as_ref().unwrap_or(batch);
        let (gradient, each) = self.gradient(batch)?;
        if let Some(importance) = &mut self.state.importance {
            // The next step's timesteps depend on these: the device is waited for.
            let losses = Vec::<f32>::try_from(each.f_get(0)?.f_to_device(Device::Cpu)?)?;
            importance.remember(&batch.timesteps, &losses);
        }
        let Settings { optimiser, ema, .. } = &self.settings;
        let state = &mut self.state;
        tch::no_grad(|| -> Result<(), UnetError> {
            let norm = gradient.f_norm()?;
            // A norm of 0 or below the limit gives a factor of 1.
            let factor = norm.f_add_scalar(1e-6)?.f_reciprocal()?.f_mul_scalar(optimiser.clip)?;
            let gradient = gradient.f_mul(&factor.f_clamp_max(1.0)?)?;
            state.seen += batch.shape[0] as u64;
            let step = state.seen / self.settings.batch as u64;
            let rate = optimiser.rate(state.seen, budget);
            let at = (step, rate);
            let decayed = self.decayed.as_ref();
            state.moments.step(&mut state.weights, &gradient, at, decayed, optimiser)?;
            if let Some(average) = &mut state.average {
                let decay = ema.min((1.0 + step as f64) / (10.0 + step as f64));
                let _ = average.f_lerp_(&state.weights, 1.0 - decay)?;
            }
            self.pending.push((batch.timesteps.clone(), batch.weights.clone(), each, norm));
            Ok(())
        })
    }

    /// The batch with timesteps drawn by their past losses; none where those it has are meant.
    fn redrawn(&self, batch: &Batch) -> Option<Batch> {
        let importance = self.state.importance.as_ref()?;
        let (seed, n) = (self.settings.seed, batch.shape[0]);
        let (timesteps, weights) = importance.draw(seed, batch.first, n)?;
        Some(Batch { timesteps, weights, ..batch.clone() })
    }

    /// The gradient of a batch's loss, `[P]`, and what is reported of each image.
    ///
    /// Divided over threads, a batch's gradient is the sum of its parts' in their order, each in
    /// proportion to its images: a function of the batch and the number of threads.
    fn gradient(&mut self, batch: &Batch) -> Result<(Tensor, Tensor), UnetError> {
        let (objective, parameters) = (self.objective.as_ref(), &self.parameters);
        let of = |weights: &Tensor,
                  buffers: &mut BTreeMap<String, Tensor>,
                  inputs: &[Tensor],
                  share: f64| {
            let weights = weights.f_detach()?.f_set_requires_grad(true)?;
            let loss = objective.loss(&parameters.split(&weights)?, buffers, inputs)?;
            let total = loss.total.f_mul_scalar(share)?;
            let mut gradients = Tensor::f_run_backward(&[&total], &[&weights], false, false)?;
            Ok::<_, UnetError>((gradients.swap_remove(0), loss.each))
        };
        if let Some(replays) = &mut self.replays {
            // The weights change in place, so that a recording finds the current ones.
            let weights = &self.state.weights;
            let work = |inputs: &[Tensor]| {
                of(weights, &mut BTreeMap::new(), inputs, 1.0).map(<[Tensor; 2]>::from)
            };
            let [gradient, each] = replays.run(&objective.inputs(batch)?, &work)?;
            return Ok((gradient, each));
        }
        let Some(workers) = &self.workers else {
            let inputs = objective.inputs(batch)?;
            return of(&self.state.weights, &mut self.state.buffers, &inputs, 1.0);
        };
        // Each part has a handle of its own on the same weights.
        let weights = |part| (self.state.weights.shallow_clone(), part);
        let parts = batch.parts(workers.count()).into_iter().map(weights).collect();
        let done = workers.map(parts, |(weights, part)| {
            let share = part.shape[0] as f64 / batch.shape[0] as f64;
            of(&weights, &mut BTreeMap::new(), &objective.inputs(&part)?, share)
        });
        let (gradients, each): (Vec<_>, Vec<_>) =
            done.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        let mut gradients = gradients.into_iter();
        let mut sum = gradients.next().expect("invariant: a batch has a part");
        for gradient in gradients {
            let _ = sum.f_add_(&gradient)?;
        }
        Ok((sum, Tensor::f_cat(&each, 1)?))
    }

    /// Why the GPU could not record a step, if it could not: steps are then slower.
    pub fn unrecorded(&self) -> Option<String> {
        let error = self.replays.as_ref()?.failed()?;
        Some(first_line(error))
    }

    /// Ends a row of the log.
    ///
    /// # Errors
    /// What LibTorch refuses.
    pub fn row(&mut self) -> Result<Row, UnetError> {
        self.settle()?;
        let means = self.state.sums.iter().map(|[sum, count]| sum / count).collect();
        self.state.sums.fill([0.0; 2]);
        Ok(Row { seen: self.state.seen, means })
    }

    /// The names of a row's means.
    pub fn columns(&self) -> Vec<String> {
        self.objective.columns().into_iter().chain([GRADIENT.to_owned()]).collect()
    }

    /// Fetches the losses of past steps from the device, for which the two synchronise.
    fn settle(&mut self) -> Result<(), UnetError> {
        for (timesteps, weights, each, norm) in self.pending.drain(..) {
            let (rows, n) = each.size2()?;
            let values = Vec::<f32>::try_from(each.f_to_device(Device::Cpu)?.f_reshape([-1])?)?;
            let per_row = usize::try_from(n).unwrap_or(1).max(1);
            for (k, values) in
                values.chunks(per_row).enumerate().take(usize::try_from(rows).unwrap_or(0))
            {
                for (i, &value) in values.iter().enumerate() {
                    let weight = f64::from(weights.get(i).copied().unwrap_or(1.0));
                    for column in self.objective.belongs(k, timesteps.get(i).copied()) {
                        let [sum, count] = &mut self.state.sums[column];
                        *sum += weight * f64::from(value);
                        *count += weight;
                    }
                }
            }
            if let Some([sum, count]) = self.state.sums.last_mut() {
                *sum += norm.f_double_value(&[])?;
                *count += 1.0;
            }
        }
        Ok(())
    }

    /// The weights to use: the average where there is one, and the buffers; f32 on the CPU.
    ///
    /// # Errors
    /// What LibTorch refuses.
    pub fn weights(&self) -> Result<BTreeMap<String, Tensor>, UnetError> {
        let vector = self.state.average.as_ref().unwrap_or(&self.state.weights);
        let mut tensors =
            self.parameters.split(&vector.f_to_device(Device::Cpu)?.f_detach_copy()?)?;
        for (name, tensor) in &self.state.buffers {
            tensors.insert(name.clone(), tensor.f_to_device(Device::Cpu)?.f_detach_copy()?);
        }
        Ok(tensors)
    }

    /// Whether all weights are finite.
    ///
    /// # Errors
    /// What LibTorch refuses.
    pub fn is_finite(&self) -> Result<bool, UnetError> {
        let finite = self.state.weights.f_isfinite()?.f_all()?;
        Ok(finite.f_to_kind(Kind::Int64)?.f_int64_value(&[])? == 1)
    }
}
