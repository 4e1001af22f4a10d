//! Answers that must be JSON of a schema or match an expression: which tokens may come next.
//!
//! The grammars are llguidance's. A constraint is compiled once and copied for every sequence, which keeps its own
//! state with its tokens: giving blocks up and computing them again does not touch it.

use std::collections::HashMap;
use std::sync::Arc;

use llguidance::api::{StopReason, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use relign_core::Constraint;

use crate::Vocabulary;

/// Compiled constraints kept; beyond them all are forgotten.
const KEPT: usize = 64;

/// What llguidance calls a place where no token goes on.
const DEAD_END: &str = "NoExtensionBias";

/// An error without the mark of what was left out of it.
fn plain(error: &str) -> &str {
    error.trim().trim_end_matches("<non-verbose/>").trim_end()
}

/// Makes [`Bound`]s of constraints, over one vocabulary.
pub(crate) struct Grammars {
    factory: ParserFactory,
    compiled: HashMap<String, Matcher>,
}

impl Grammars {
    /// Grammars over the first `vocab` tokens of `vocabulary`.
    ///
    /// # Errors
    /// If no token ends an answer.
    pub(crate) fn new(vocabulary: &dyn Vocabulary, vocab: usize) -> Result<Self, String> {
        let ends: Vec<u32> = vocabulary.eos_ids().iter().copied().filter(|&id| (id as usize) < vocab).collect();
        let Some(&eos) = ends.first() else {
            return Err("expected a model with a token that ends its answer, got none".to_owned());
        };
        // Special tokens are no text: a byte that UTF-8 does not have keeps them apart.
        let words: Vec<Vec<u8>> = (0..vocab as u32)
            .map(|id| match vocabulary.token_bytes(id) {
                [] => Vec::new(),
                bytes if vocabulary.is_special(id) => [&[TokTrie::SPECIAL_TOKEN_MARKER], bytes].concat(),
                bytes => bytes.to_vec(),
            })
            .collect();
        let trie = TokTrie::from(&TokRxInfo::new(vocab as u32, eos), &words).with_eos_tokens(&ends);
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let slices = llguidance::earley::SlicedBiasComputer::general_slices();
        let mut factory =
            ParserFactory::new(&env, InferenceCapabilities::default(), &slices).map_err(|e| e.to_string())?;
        factory.quiet().limits_mut().verbose_errors = false;
        Ok(Self { factory, compiled: HashMap::new() })
    }

    /// The beginning of an answer under `constraint`.
    ///
    /// # Errors
    /// If the constraint cannot be understood, or no token of the vocabulary can begin such an answer.
    pub(crate) fn bind(&mut self, constraint: &Constraint) -> Result<Bound, String> {
        let (what, key, grammar) = match constraint {
            Constraint::JsonSchema(schema) => {
                let grammar = TopLevelGrammar::from_json_schema(schema.clone());
                ("a JSON schema that can be followed", format!("json {schema}"), grammar)
            }
            Constraint::Regex(regex) => {
                ("a regular expression", format!("regex {regex}"), TopLevelGrammar::from_regex(regex))
            }
        };
        if !self.compiled.contains_key(&key) {
            let matcher = Matcher::new(self.factory.create_parser(grammar));
            if let Some(error) = matcher.get_error() {
                return Err(format!("constraint: expected {what}, got: {}", plain(&error)));
            }
            if self.compiled.len() >= KEPT {
                self.compiled.clear();
            }
            self.compiled.insert(key.clone(), matcher);
        }
        let mut bound = Bound { matcher: self.compiled[&key].deep_clone(), allowed: SimpleVob::new() };
        bound.look_ahead()?;
        Ok(bound)
    }
}

/// An answer under a constraint, as far as it has come.
pub(crate) struct Bound {
    matcher: Matcher,
    /// What may come next.
    allowed: SimpleVob,
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bound").field("allowed", &self.allowed.num_set()).finish_non_exhaustive()
    }
}

impl Bound {
    /// The tokens that may come next, a bit each.
    pub(crate) fn allowed(&self) -> &[u32] {
        self.allowed.as_slice()
    }

    /// Goes on by a token that was allowed and does not end the answer.
    ///
    /// # Errors
    /// If nothing can follow, or finding out takes more than the grammar's limits.
    pub(crate) fn push(&mut self, token: u32) -> Result<(), String> {
        self.matcher.consume_token(token).map_err(|error| self.blame(&error.to_string()))?;
        self.look_ahead()
    }

    fn look_ahead(&mut self) -> Result<(), String> {
        self.allowed = self.matcher.compute_mask_or_eos().map_err(|error| self.blame(&error.to_string()))?;
        if self.allowed.is_zero() { Err(self.blame("")) } else { Ok(()) }
    }

    /// Why it cannot go on.
    fn blame(&self, error: &str) -> String {
        if error.is_empty() || self.matcher.stop_reason() == StopReason::NoExtensionBias || error.contains(DEAD_END) {
            return "constraint: expected a token that can come next, the vocabulary has none".to_owned();
        }
        format!("constraint: {}", plain(error))
    }
}
