//! The fields of a `scheduler_config.json`, taken out one by one.

use serde_json::{Map, Value};

use crate::networks::{
    predicts::Predicts,
    scheduler_config::{Betas, LEARNED_RANGE, SchedulerConfig, Unsupported},
};

/// How noisy a step is: the sampler's choice, unless the network predicts it.
const VARIANCE: &str = "variance_type";

/// Schedulers on a table of alpha_bar over integer timesteps: the class, the betas where the file gives
/// none, and whether x0 is clipped where the file does not say.
const CLASSES: [(&str, (f64, f64), bool); 19] = {
    const DDPM: (f64, f64) = (1e-4, 0.02);
    const LATENT: (f64, f64) = (0.00085, 0.012);
    [
        ("DDPMScheduler", DDPM, true),
        ("DDPMParallelScheduler", DDPM, true),
        ("DDIMScheduler", DDPM, true),
        ("DDIMParallelScheduler", DDPM, true),
        ("DDIMInverseScheduler", DDPM, true),
        ("RePaintScheduler", DDPM, true),
        ("PNDMScheduler", DDPM, false),
        ("DEISMultistepScheduler", DDPM, false),
        ("DPMSolverMultistepScheduler", DDPM, false),
        ("DPMSolverMultistepInverseScheduler", DDPM, false),
        ("DPMSolverSinglestepScheduler", DDPM, false),
        ("UniPCMultistepScheduler", DDPM, false),
        ("SASolverScheduler", DDPM, false),
        ("EulerDiscreteScheduler", DDPM, false),
        ("EulerAncestralDiscreteScheduler", DDPM, false),
        ("LMSDiscreteScheduler", DDPM, false),
        ("HeunDiscreteScheduler", LATENT, false),
        ("KDPM2DiscreteScheduler", LATENT, false),
        ("KDPM2AncestralDiscreteScheduler", LATENT, false),
    ]
};

/// What a sampler chooses, and no network is trained with.
const OWN_SAMPLER: [&str; 30] = [
    "algorithm_type",
    "corrector_order",
    "disable_corrector",
    "eta",
    "euler_at_final",
    "final_sigmas_type",
    "interpolation_type",
    "lambda_min_clipped",
    "lower_order_final",
    "predict_x0",
    "predictor_order",
    "set_alpha_to_one",
    "set_alpha_to_zero",
    "shift_terminal",
    "sigma_max",
    "sigma_min",
    "skip_prk_steps",
    "solver_order",
    "solver_p",
    "solver_type",
    "steps_offset",
    "tau_func",
    "time_shift_type",
    "timestep_spacing",
    "use_beta_sigmas",
    "use_exponential_sigmas",
    "use_karras_sigmas",
    "use_lu_lambdas",
    VARIANCE,
    "flow_shift",
];

/// Takes fields out one by one; what is left at the end is not known.
pub(super) struct Reader {
    pub(super) fields: Map<String, Value>,
    pub(super) problems: Vec<Unsupported>,
}

impl Reader {
    pub(super) fn config(&mut self) -> SchedulerConfig {
        let class = self.text("_class_name").unwrap_or_else(|| "DDPMScheduler".to_owned());
        let known = CLASSES.iter().find(|(name, ..)| *name == class);
        let &(_, (beta_start, beta_end), clips) = known.unwrap_or_else(|| {
            let names: Vec<&str> = CLASSES.iter().map(|(name, ..)| *name).collect();
            self.problem("_class_name", class.as_str(), &names.join(", "));
            &CLASSES[0]
        });
        let predicts = self.predicts();
        let horizon =
            self.number("num_train_timesteps", 1000.0, "a whole number from 2 to 10,000,000");
        let horizon = self.count(horizon);
        let beta_start = self.number("beta_start", beta_start, "a number in (0, 1)");
        let beta_end = self.number("beta_end", beta_end, "a number in (0, 1)");
        let betas = self.betas(horizon);
        let zero_terminal_snr = self.flag("rescale_betas_zero_snr", false);
        let clips = self.flag("clip_sample", clips);
        let range = self.number("clip_sample_range", 1.0, "a positive number");
        if range <= 0.0 {
            self.problem("clip_sample_range", range, "a positive number");
        }
        self.flow_and_thresholding();
        let mut own_sampler = vec![];
        let mut learned_range = false;
        for field in OWN_SAMPLER {
            match self.fields.remove(field) {
                None | Some(Value::Null) => {}
                Some(Value::String(kind)) if field == VARIANCE && kind == LEARNED_RANGE => {
                    learned_range = true;
                }
                Some(Value::String(kind)) if field == VARIANCE && kind == "learned" => {
                    self.problem(VARIANCE, kind, "learned_range, or a fixed one");
                }
                Some(value) => own_sampler.push(format!("{field} = {value}")),
            }
        }
        let unknown = std::mem::take(&mut self.fields).into_iter();
        let unknown = unknown.filter(|(field, value)| !field.starts_with('_') && !value.is_null());
        let unknown = unknown.map(|(field, value)| format!("{field} = {value}")).collect();
        SchedulerConfig {
            class,
            predicts,
            betas,
            beta_start,
            beta_end,
            horizon,
            zero_terminal_snr,
            clip: clips.then_some(range),
            learned_range,
            own_sampler,
            unknown,
        }
    }

    fn predicts(&mut self) -> Predicts {
        const FIELD: &str = "prediction_type";
        // Before 0.12, diffusers wrote this in its place.
        let old = self.fields.remove("predict_epsilon").and_then(|value| value.as_bool());
        match self.text(FIELD).as_deref() {
            None if old == Some(false) => Predicts::X0,
            None | Some("epsilon") => Predicts::Eps,
            Some("sample") => Predicts::X0,
            Some("v_prediction") => Predicts::V,
            Some(other) => {
                self.problem(FIELD, other, "epsilon, sample, v_prediction");
                Predicts::Eps
            }
        }
    }

    fn betas(&mut self, horizon: usize) -> Betas {
        const LIST: &str = "trained_betas";
        let rule = self.text("beta_schedule");
        match self.fields.remove(LIST) {
            None | Some(Value::Null) => {}
            Some(value) => {
                let listed: Option<Vec<f64>> =
                    value.as_array().and_then(|list| list.iter().map(Value::as_f64).collect());
                return match listed {
                    Some(betas) if betas.len() == horizon => Betas::Listed(betas),
                    Some(betas) => {
                        let found = format!("a list of {}", betas.len());
                        let wanted = format!("num_train_timesteps of them, {horizon}");
                        self.problem(LIST, found, &wanted);
                        Betas::Linear
                    }
                    None => {
                        self.problem(LIST, "no list of numbers", "a list of numbers, or null");
                        Betas::Linear
                    }
                };
            }
        }
        match rule.as_deref() {
            None | Some("linear") => Betas::Linear,
            Some("scaled_linear") => Betas::ScaledLinear,
            Some("squaredcos_cap_v2") => Betas::Cosine,
            Some("sigmoid") => Betas::Sigmoid,
            Some(other) => {
                let supported =
                    "linear, scaled_linear, squaredcos_cap_v2, sigmoid, or trained_betas";
                self.problem("beta_schedule", other, supported);
                Betas::Linear
            }
        }
    }

    /// What changes the network's meaning and is not implemented.
    fn flow_and_thresholding(&mut self) {
        for field in ["thresholding", "use_flow_sigmas", "use_dynamic_shifting"] {
            if self.flag(field, false) {
                self.problem(field, true, "false");
            }
        }
        if let Some(kind) = self.text("timestep_type").filter(|kind| kind != "discrete") {
            self.problem("timestep_type", kind, "discrete");
        }
        // They belong to thresholding alone.
        self.fields.remove("dynamic_thresholding_ratio");
        self.fields.remove("sample_max_value");
    }

    fn count(&mut self, number: f64) -> usize {
        const MOST: f64 = 1e7;
        if number.fract().abs() > 0.0 || !(2.0..=MOST).contains(&number) {
            let supported = "a whole number from 2 to 10,000,000";
            self.problem("num_train_timesteps", number, supported);
            return 1000;
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
        let count = number as usize;
        count
    }

    fn problem(&mut self, field: &'static str, value: impl Into<Value>, supported: &str) {
        let value = value.into().to_string();
        self.problems.push(Unsupported { field, value, supported: supported.to_owned() });
    }

    /// Takes a field; null counts as absent.
    fn take(&mut self, field: &str) -> Option<Value> {
        self.fields.remove(field).filter(|value| !value.is_null())
    }

    fn text(&mut self, field: &'static str) -> Option<String> {
        match self.take(field)? {
            Value::String(text) => Some(text),
            other => {
                self.problem(field, other, "a name");
                None
            }
        }
    }

    fn flag(&mut self, field: &'static str, default: bool) -> bool {
        match self.take(field) {
            None => default,
            Some(Value::Bool(flag)) => flag,
            Some(other) => {
                self.problem(field, other, "true or false");
                default
            }
        }
    }

    fn number(&mut self, field: &'static str, default: f64, supported: &str) -> f64 {
        match self.take(field) {
            None => default,
            Some(value) => value.as_f64().unwrap_or_else(|| {
                self.problem(field, value, supported);
                default
            }),
        }
    }
}
