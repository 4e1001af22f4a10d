//! The policy: weights and their version.

use relign_core::{Dtype, RolloutWeights};
use tch::{Device, Kind, Tensor};

use crate::device::has_kernels;
use crate::families::{FAMILIES, Family, FamilyEntry};
use crate::fill::fill;
use crate::kernels::adamw;
use crate::kernels::element::{view, view_mut};
use crate::packed::Packed;
use crate::parameters::{Builder, Keep, Parameter};
use crate::plain;
use crate::source::Source;
use crate::{AdamWStep, Config, LoadError};

/// A model's weights, shared by the engine that samples and the trainer that learns.
#[derive(Debug)]
pub struct Policy {
    config: Config,
    parameters: Vec<Parameter>,
    kind: Kind,
    version: u64,
    device: Device,
}

/// The type `dtype` stands for on this CPU: `auto` is bf16 where the CPU multiplies it in hardware.
#[must_use]
pub fn resolve_dtype(dtype: Dtype) -> Kind {
    match dtype {
        Dtype::F32 => Kind::Float,
        Dtype::Bf16 => Kind::BFloat16,
        Dtype::Auto if has_bf16_products() => Kind::BFloat16,
        Dtype::Auto => Kind::Float,
    }
}

/// The type `dtype` stands for on `device`: on a GPU, `auto` is bf16.
#[must_use]
pub fn resolve_dtype_on(dtype: Dtype, device: Device) -> Kind {
    match dtype {
        Dtype::Auto if device != Device::Cpu => Kind::BFloat16,
        other => resolve_dtype(other),
    }
}

/// Whether the CPU multiplies bf16 in hardware, and may: a lowered [`level`](crate::kernels::level) has no such products.
/// CPUs with AMX tiles for bf16 have the vector form too.
#[must_use]
pub fn has_bf16_products() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        crate::kernels::level() == crate::kernels::Level::Avx512 && is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// The family of a configuration.
///
/// # Errors
/// If no family here implements it; the message lists those that are there.
pub fn family_of(config: &Config) -> Result<&'static FamilyEntry, LoadError> {
    FAMILIES
        .iter()
        .find(|family| family.name == config.model_type)
        .ok_or_else(|| LoadError::Family(config.model_type.clone()))
}

impl Policy {
    /// Loads a policy's weights from `source`, to be computed with as `kind` (f32 or bf16), with f32 masters to be
    /// trained.
    ///
    /// # Errors
    /// If the family is unknown, or a tensor is missing or has the wrong shape.
    pub fn load(config: &Config, source: &dyn Source, kind: Kind) -> Result<Self, LoadError> {
        Self::read(config, source, kind, Keep::Masters, RolloutWeights::Full)
    }

    /// Loads a policy that is only sampled from: no masters are kept, and of linear layers that are packed as `weights`
    /// says nothing but the packed copy.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_to_sample(
        config: &Config,
        source: &dyn Source,
        kind: Kind,
        weights: RolloutWeights,
    ) -> Result<Self, LoadError> {
        Self::read(config, source, kind, Keep::Computed, weights)
    }

    /// As [`load_to_sample`](Self::load_to_sample), for an engine on this machine's CPU: where that multiplies full
    /// weights faster in another order than checkpoints have, linear layers keep that order alone, and none of them has
    /// a [plain weight](crate::Linear::weight).
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_to_generate(
        config: &Config,
        source: &dyn Source,
        kind: Kind,
        weights: RolloutWeights,
    ) -> Result<Self, LoadError> {
        let keep = if Self::is_reordered(kind) { Keep::Ordered } else { Keep::Computed };
        Self::read(config, source, kind, keep, weights)
    }

    /// Whether [`load_to_generate`](Self::load_to_generate) keeps full weights of type `kind` in an order of their own.
    /// An embedding that is the output matrix, too, is then kept in both.
    #[must_use]
    pub fn is_reordered(kind: Kind) -> bool {
        has_kernels(Device::Cpu) && Packed::is_reordered(kind)
    }

    fn read(
        config: &Config,
        source: &dyn Source,
        kind: Kind,
        keep: Keep,
        weights: RolloutWeights,
    ) -> Result<Self, LoadError> {
        let mut policy = Self { config: config.clone(), parameters: Vec::new(), kind, version: 0, device: Device::Cpu };
        let mut builder = Builder::new(Some(source), kind, keep, weights, &mut policy.parameters);
        // The family that is made here holds nothing that its parameters do not.
        drop((family_of(config)?.build)(config, &mut builder)?);
        fill(&policy.parameters, source)?;
        Ok(policy)
    }

    /// The policy with its weights on `device`, f32 masters and what is computed with alike. Whatever computes with it
    /// afterwards does so there.
    ///
    /// # Errors
    /// If some weights are packed: those are for CPUs.
    pub fn on(mut self, device: Device) -> Result<Self, LoadError> {
        if device != Device::Cpu && self.parameters.iter().any(|p| p.packed.is_some()) {
            return Err(LoadError::Packed);
        }
        self.device = device;
        for parameter in &mut self.parameters {
            let shared = parameter.compute.data_ptr() == parameter.master.data_ptr();
            parameter.master = parameter.master.to_device(device);
            parameter.compute =
                if shared { parameter.master.shallow_clone() } else { parameter.compute.to_device(device) };
        }
        Ok(self)
    }

    /// Where the weights lie.
    #[must_use]
    pub fn device(&self) -> Device {
        self.device
    }

    /// A family over this policy's weights; it shares their memory and so follows every update, and gradients flow
    /// through it.
    #[must_use]
    pub fn family(&mut self) -> Box<dyn Family> {
        self.family_that(Keep::Masters, RolloutWeights::Full)
    }

    /// A family that reads its linear layers as `weights` says, full ones in the order that this CPU likes best. Copies
    /// in another order or in fewer bits are made once and follow every [`publish`](Self::publish); no gradient flows
    /// through them.
    ///
    /// # Panics
    /// If `weights` are packed and the policy is not on the CPU, or is sampled from in another way already: there is one
    /// copy.
    #[must_use]
    pub fn sampling_family(&mut self, weights: RolloutWeights) -> Box<dyn Family> {
        let on_cpu = self.device == Device::Cpu;
        assert!(weights == RolloutWeights::Full || on_cpu, "packed weights are for CPUs");
        let keep = if on_cpu && Self::is_reordered(self.kind) { Keep::Ordered } else { Keep::Computed };
        self.family_that(keep, weights)
    }

    fn family_that(&mut self, keep: Keep, weights: RolloutWeights) -> Box<dyn Family> {
        let _no_grad = tch::no_grad_guard();
        let config = self.config.clone();
        let mut builder = Builder::new(None, self.kind, keep, weights, &mut self.parameters);
        let entry = family_of(&config).expect("known since loading");
        (entry.build)(&config, &mut builder).expect("all parameters are there since loading")
    }

    /// The architecture.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What products are computed in.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The memory that all copies of the weights take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.parameters.iter().map(Parameter::bytes).sum()
    }

    /// How often the weights were updated.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Sets the version, when a run is resumed.
    pub fn set_version(&mut self, version: u64) {
        self.version = version;
    }

    /// All weights.
    #[must_use]
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Turns gradient tracking of the computed weights on or off.
    pub fn track_gradients(&mut self, on: bool) {
        for parameter in &mut self.parameters {
            parameter.compute = parameter.compute.set_requires_grad(on);
        }
    }

    /// Takes one AdamW step on parameter `index` with an f32 gradient and its moments.
    pub fn update(&mut self, index: usize, grad: &Tensor, m: &Tensor, v: &Tensor, step: AdamWStep) {
        let parameter = &self.parameters[index];
        if !has_kernels(self.device) {
            return plain::adamw::update(&parameter.master, grad, m, v, step);
        }
        adamw::update(view_mut(&parameter.master), view(grad), view_mut(m), view_mut(v), step);
    }

    /// Makes updated masters what everyone computes with, and counts the version up.
    pub fn publish(&mut self) {
        self.refresh();
        self.version += 1;
    }

    fn refresh(&mut self) {
        let _no_grad = tch::no_grad_guard();
        if self.kind != Kind::Float {
            for parameter in &mut self.parameters {
                parameter.compute.copy_(&parameter.master);
            }
        }
        self.parameters.iter().for_each(Parameter::repack);
    }

    /// The weights under their checkpoint names, views of the f32 masters, in the family's order.
    #[must_use]
    pub fn named(&self) -> Vec<(String, Tensor)> {
        self.parameters.iter().flat_map(|p| p.named().map(|(n, t)| (n.to_owned(), t)).collect::<Vec<_>>()).collect()
    }

    /// Overwrites the weights, when a run is resumed.
    ///
    /// # Errors
    /// If a tensor is missing or has the wrong shape; the weights are then undefined.
    pub fn restore(&mut self, source: &dyn Source) -> Result<(), LoadError> {
        let _no_grad = tch::no_grad_guard();
        for parameter in &self.parameters {
            for (name, view) in parameter.named() {
                let got: Vec<i64> = source.shape(name)?.iter().map(|&n| n as i64).collect();
                if got != view.size() {
                    return Err(LoadError::Shape { name: name.to_owned(), expected: view.size(), got });
                }
            }
        }
        if self.device == Device::Cpu {
            return fill(&self.parameters, source);
        }
        // Rows are read into this machine's memory, and cross over whole.
        let staged: Vec<Parameter> = self.parameters.iter().map(Parameter::staged).collect();
        fill(&staged, source)?;
        for (parameter, staged) in self.parameters.iter().zip(&staged) {
            parameter.master.shallow_clone().copy_(&staged.master);
            parameter.compute.shallow_clone().copy_(&staged.master);
        }
        Ok(())
    }

    /// A second policy with its own copy of the weights, for a reference that stays behind.
    #[must_use]
    pub fn frozen_copy(&self) -> Self {
        let parameters = self
            .parameters
            .iter()
            .map(|p| {
                // A reference is only computed with: it needs no f32 master beside its bf16 copy.
                let compute = p.compute.detach().copy();
                Parameter {
                    name: p.name.clone(),
                    master: compute.shallow_clone(),
                    compute,
                    parts: p.parts.clone(),
                    width: p.width,
                    packed: None,
                }
            })
            .collect();
        let Self { kind, version, device, .. } = *self;
        Self { config: self.config.clone(), parameters, kind, version, device }
    }
}
