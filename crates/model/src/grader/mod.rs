//! Models that judge text instead of going on with it: reward models.

mod head;
mod pack;

use std::panic::{AssertUnwindSafe, catch_unwind};

use relign_core::RolloutWeights;
use tch::{Kind, Tensor};

use crate::attention::TreeAttention;
use crate::families::Family;
use crate::kernels::element::view;
use crate::ops::contiguous;
use crate::source::Source;
use crate::{Config, LoadError, Policy};
use head::{Head, has_labels};
use pack::{Packed, pack};

/// Tokens that go through the model in one pass, shared beginnings counted once.
const PASS: usize = 4096;

/// What a model that judges says at a place of a text: a few numbers, such as one for each label.
///
/// Two kinds are known. A model with a head has `score.weight` (and `score.bias`) in its checkpoint, as Hugging Face's
/// `ForSequenceClassification` and `ForTokenClassification` have, or `score.0` and `score.2` with a ReLU between them, as
/// Qwen2.5-Math-PRM has; its numbers are the logits of its labels. Any other model has an output matrix, and its numbers
/// are the logits of chosen tokens, such as `+` and `-`.
pub struct Grader {
    family: Box<dyn Family>,
    head: Head,
    context: usize,
    vocab: usize,
    pad: Option<u32>,
}

/// A text to be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The text.
    pub tokens: Vec<u32>,
    /// Where: the model's numbers after each of these tokens, of which the first is 0.
    pub places: Vec<usize>,
}

impl Grader {
    /// Whether a checkpoint has a head that gives labels.
    #[must_use]
    pub fn has_labels(source: &dyn Source) -> bool {
        has_labels(source)
    }

    /// A model with a head for labels, computing in `kind`.
    ///
    /// # Errors
    /// If the checkpoint has no such head, of a shape that fits the model, or the rest of it cannot be read.
    pub fn with_labels(config: &Config, source: &dyn Source, kind: Kind) -> Result<Self, LoadError> {
        let head = Head::labels(config.hidden, source)?;
        // Such checkpoints have no output matrix, and nothing here reads one.
        let config = Config { tied: true, ..config.clone() };
        let mut policy = Policy::load_to_sample(&config, source, kind, RolloutWeights::Full)?;
        Ok(Self::new(&config, policy.family(), head))
    }

    /// A model whose output matrix judges by its logits of `tokens`, computing in `kind`.
    ///
    /// # Errors
    /// If the checkpoint cannot be read.
    ///
    /// # Panics
    /// If a token lies outside the vocabulary.
    pub fn with_tokens(config: &Config, source: &dyn Source, kind: Kind, tokens: &[u32]) -> Result<Self, LoadError> {
        assert!(tokens.iter().all(|&token| (token as usize) < config.vocab), "tokens of the vocabulary");
        let mut policy = Policy::load_to_sample(config, source, kind, RolloutWeights::Full)?;
        let family = policy.family();
        let head = Head::tokens(family.as_ref(), tokens);
        Ok(Self::new(config, family, head))
    }

    fn new(config: &Config, family: Box<dyn Family>, head: Head) -> Self {
        let pad = config.raw.get("pad_token_id").and_then(serde_json::Value::as_u64);
        let (context, vocab) = (config.context, config.vocab);
        Self { family, head, context, vocab, pad: pad.and_then(|id| u32::try_from(id).ok()) }
    }

    /// How many numbers it gives at a place.
    #[must_use]
    pub fn numbers(&self) -> usize {
        self.head.numbers()
    }

    /// Where transformers' `ForSequenceClassification` reads its labels: after the last token that is no padding.
    #[must_use]
    pub fn last_place(&self, tokens: &[u32]) -> usize {
        tokens.iter().rposition(|&token| Some(token) != self.pad).unwrap_or(0)
    }

    /// The model's numbers at all places of all texts, in their order. What texts have in common at their beginning is
    /// computed once; no text's numbers depend on the others.
    ///
    /// # Errors
    /// For a text by itself: if it is too long, has a place or token that there is not, or comes to no finite numbers.
    /// For all texts of a pass if the backend fails.
    pub fn read(&self, texts: &[Asked]) -> Vec<Result<Vec<Vec<f32>>, String>> {
        let mut answers: Vec<Result<Vec<Vec<f32>>, String>> =
            texts.iter().map(|text| self.check(text).map(|()| Vec::new())).collect();
        let fit: Vec<usize> = (0..texts.len()).filter(|&at| answers[at].is_ok()).collect();
        let tokens: Vec<&[u32]> = fit.iter().map(|&at| texts[at].tokens.as_slice()).collect();
        for packed in pack(&tokens, PASS) {
            let places: Vec<&[usize]> =
                packed.texts.iter().map(|text| texts[fit[text.index]].places.as_slice()).collect();
            // The tensor library reports failures by panicking.
            let outcome = catch_unwind(AssertUnwindSafe(|| self.pass(&packed, &places)));
            for (at, text) in packed.texts.iter().enumerate() {
                answers[fit[text.index]] = match &outcome {
                    Ok(numbers) => finite(&numbers[at]),
                    Err(panic) => {
                        Err(format!("the forward pass failed: {}", crate::exhausted::of_panic(panic.as_ref())))
                    }
                };
            }
        }
        answers
    }

    fn check(&self, text: &Asked) -> Result<(), String> {
        let Asked { tokens, places } = text;
        if tokens.is_empty() || tokens.len() > self.context {
            return Err(format!("expected a text of 1 to {} tokens, got {}", self.context, tokens.len()));
        }
        if let Some(token) = tokens.iter().find(|&&token| token as usize >= self.vocab) {
            return Err(format!("expected tokens below {}, got {token}", self.vocab));
        }
        match places.iter().find(|&&place| place >= tokens.len()) {
            Some(place) => Err(format!("expected places below {}, got {place}", tokens.len())),
            None => Ok(()),
        }
    }

    fn pass(&self, packed: &Packed, places: &[&[usize]]) -> Vec<Vec<Vec<f32>>> {
        let _no_grad = tch::no_grad_guard();
        let mut attention = TreeAttention::new(packed.segments.clone());
        let positions = attention.positions();
        let hidden = self.family.forward(&Tensor::from_slice(&packed.tokens), &positions, &mut attention);
        let rows: Vec<i64> = packed
            .texts
            .iter()
            .zip(places)
            .flat_map(|(text, places)| places.iter().map(|&place| text.row(place) as i64))
            .collect();
        let numbers = self.numbers();
        let read = contiguous(&self.head.read(&hidden.index_select(0, &Tensor::from_slice(&rows))));
        let mut rows = view::<f32>(&read).chunks_exact(numbers).map(<[f32]>::to_vec);
        places.iter().map(|places| rows.by_ref().take(places.len()).collect()).collect()
    }
}

fn finite(numbers: &[Vec<f32>]) -> Result<Vec<Vec<f32>>, String> {
    match numbers.iter().flatten().find(|number| !number.is_finite()) {
        Some(number) => Err(format!("expected finite numbers, got {number}; the weights are probably not finite")),
        None => Ok(numbers.to_vec()),
    }
}
