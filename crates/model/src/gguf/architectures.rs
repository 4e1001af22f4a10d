//! The GGUF architectures that can be translated, and what each calls its tensors.

/// One architecture. A new one is one more entry.
pub(super) struct Architecture {
    /// `general.architecture`.
    pub(super) gguf: &'static str,
    /// `model_type` of config.json.
    pub(super) model_type: &'static str,
    /// `architectures` of config.json.
    pub(super) class: &'static str,
    /// Whether the converter stored the rows of the query and key projections for interleaved
    /// rotary embeddings, in contrast to Hugging Face's split halves.
    pub(super) interleaved: bool,
    /// Whether the weights of norms are stored with 1 added.
    pub(super) one_added: bool,
    /// Modules of a layer that are its own, before the common ones.
    modules: &'static [(&'static str, &'static str)],
}

const SPLIT_HALVES: Architecture = Architecture {
    gguf: "",
    model_type: "",
    class: "",
    interleaved: false,
    one_added: false,
    modules: &[("attn_q_norm", "self_attn.q_norm"), ("attn_k_norm", "self_attn.k_norm")],
};

const ARCHITECTURES: &[Architecture] = &[
    Architecture {
        gguf: "llama",
        model_type: "llama",
        class: "LlamaForCausalLM",
        interleaved: true,
        modules: &[],
        ..SPLIT_HALVES
    },
    Architecture { gguf: "qwen2", model_type: "qwen2", class: "Qwen2ForCausalLM", modules: &[], ..SPLIT_HALVES },
    Architecture { gguf: "qwen3", model_type: "qwen3", class: "Qwen3ForCausalLM", ..SPLIT_HALVES },
    Architecture {
        gguf: "gemma3",
        model_type: "gemma3_text",
        class: "Gemma3ForCausalLM",
        one_added: true,
        modules: &[
            ("attn_q_norm", "self_attn.q_norm"),
            ("attn_k_norm", "self_attn.k_norm"),
            ("post_attention_norm", "post_attention_layernorm"),
            ("ffn_norm", "pre_feedforward_layernorm"),
            ("post_ffw_norm", "post_feedforward_layernorm"),
        ],
        ..SPLIT_HALVES
    },
    Architecture {
        gguf: "phi3",
        model_type: "phi3",
        class: "Phi3ForCausalLM",
        modules: &[("attn_qkv", "self_attn.qkv_proj"), ("ffn_up", "mlp.gate_up_proj")],
        ..SPLIT_HALVES
    },
    Architecture {
        gguf: "olmo2",
        model_type: "olmo2",
        class: "Olmo2ForCausalLM",
        modules: &[
            ("attn_q_norm", "self_attn.q_norm"),
            ("attn_k_norm", "self_attn.k_norm"),
            ("post_attention_norm", "post_attention_layernorm"),
            ("post_ffw_norm", "post_feedforward_layernorm"),
        ],
        ..SPLIT_HALVES
    },
];

/// Tensors outside the layers.
const OUTER: &[(&str, &str)] = &[
    ("token_embd.weight", "model.embed_tokens.weight"),
    ("output_norm.weight", "model.norm.weight"),
    ("output.weight", "lm_head.weight"),
];

/// Modules of a layer that most architectures have.
const INNER: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

impl Architecture {
    /// The architecture of that name.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        ARCHITECTURES.iter().find(|architecture| architecture.gguf == name)
    }

    /// The architecture of a `model_type`.
    pub(super) fn of_model_type(name: &str) -> Option<&'static Self> {
        // Mistral's layers are Llama's; what else it has, a window, is no matter of names.
        let name = if name == "mistral" { "llama" } else { name };
        ARCHITECTURES.iter().find(|architecture| architecture.model_type == name)
    }

    /// All names, for errors.
    pub(super) fn names() -> String {
        ARCHITECTURES.iter().map(|a| a.gguf).collect::<Vec<_>>().join(", ")
    }

    /// The Hugging Face name of a tensor.
    pub(super) fn hf_name(&self, name: &str) -> Option<String> {
        if let Some((_, hf)) = OUTER.iter().find(|(gguf, _)| *gguf == name) {
            return Some((*hf).to_owned());
        }
        let mut parts = name.strip_prefix("blk.")?.split('.');
        let (layer, module, kind) = (parts.next()?, parts.next()?, parts.next()?);
        let (_, hf) = self.modules.iter().chain(INNER).find(|(gguf, _)| *gguf == module)?;
        let number = layer.parse::<u32>().ok().filter(|n| n.to_string() == layer)?;
        let known = parts.next().is_none() && matches!(kind, "weight" | "bias");
        known.then(|| format!("model.layers.{number}.{hf}.{kind}"))
    }

    /// The GGUF name of a tensor.
    pub(super) fn gguf_name(&self, name: &str) -> Option<String> {
        if let Some((gguf, _)) = OUTER.iter().find(|(_, hf)| *hf == name) {
            return Some((*gguf).to_owned());
        }
        let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
        let (module, kind) = rest.rsplit_once('.')?;
        let mut known = self.modules.iter().chain(INNER).filter(|(_, hf)| *hf == module);
        known.find_map(|(gguf, _)| {
            let gguf = format!("blk.{layer}.{gguf}.{kind}");
            (self.hf_name(&gguf).as_deref() == Some(name)).then_some(gguf)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_modules_of_transformers() {
        for (arch, gguf, hf) in [
            ("llama", "token_embd.weight", Some("model.embed_tokens.weight")),
            ("llama", "output.weight", Some("lm_head.weight")),
            ("qwen2", "blk.0.attn_q.bias", Some("model.layers.0.self_attn.q_proj.bias")),
            ("llama", "blk.29.ffn_norm.weight", Some("model.layers.29.post_attention_layernorm.weight")),
            ("gemma3", "blk.2.ffn_norm.weight", Some("model.layers.2.pre_feedforward_layernorm.weight")),
            ("phi3", "blk.2.ffn_up.weight", Some("model.layers.2.mlp.gate_up_proj.weight")),
            ("llama", "blk.1.ffn_gate_exps.weight", None),
            ("llama", "blk.01.attn_q.weight", None),
            ("llama", "blk.1.attn_q.weight.x", None),
            ("llama", "v.blk.0.attn_q.weight", None),
        ] {
            let architecture = Architecture::find(arch).expect("known");
            assert_eq!(architecture.hf_name(gguf).as_deref(), hf, "{gguf}");
            if let Some(hf) = hf {
                assert_eq!(architecture.gguf_name(hf).as_deref(), Some(gguf));
            }
        }
    }
}
