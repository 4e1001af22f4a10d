//! What stands beside `tokenizer.json`: special tokens and chat templates, in the files of several ages.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::checkpoint::read_json;
use crate::{CheckpointError, Template};

/// The special tokens that every template may name.
pub(super) const SPECIALS: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// The folder of templates that go by a name.
const NAMED: &str = "additional_chat_templates";

/// Completes `tokenizer_config.json` by the files beside it, as transformers does.
pub(super) fn complete(folder: &Path, settings: &mut Value) -> Result<(), CheckpointError> {
    let tokens = folder.join("special_tokens_map.json");
    // Files that list their added tokens are of an age in which the map says nothing new.
    if settings.get("added_tokens_decoder").is_none() && tokens.is_file() {
        let Value::Object(map) = read_json(&tokens)? else {
            return Err(CheckpointError::malformed(&tokens, "the file", "a JSON object", "another value"));
        };
        for (name, value) in map {
            settings[name] = value;
        }
    }
    let mut named = Vec::new();
    let jinja = folder.join("chat_template.jinja");
    if jinja.is_file() {
        named.push(json!({"name": "default", "template": read_text(&jinja)?}));
    }
    let further = folder.join(NAMED);
    if further.is_dir() {
        let entries = further.read_dir().map_err(CheckpointError::io(&further))?;
        let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.retain(|file| file.extension().is_some_and(|end| end == "jinja") && file.is_file());
        files.sort();
        for file in files {
            let name = file.file_stem().unwrap_or_default().to_string_lossy();
            named.push(json!({"name": name, "template": read_text(&file)?}));
        }
    }
    match &named[..] {
        [] => {
            // The file of processors, of the time before the one of its own kind.
            let file = folder.join("chat_template.json");
            let missing = settings.get("chat_template").is_none_or(Value::is_null);
            if missing && file.is_file() {
                settings["chat_template"] = read_json(&file)?.get("chat_template").cloned().unwrap_or_default();
            }
        }
        [one] if one["name"] == "default" => settings["chat_template"] = one["template"].clone(),
        _ => settings["chat_template"] = Value::Array(named),
    }
    Ok(())
}

/// A text file as Python's text mode reads it: every line ends with `\n`.
fn read_text(file: &Path) -> Result<String, CheckpointError> {
    let text = relign_core::files::read_to_string(file).map_err(CheckpointError::io(file))?;
    Ok(text.replace("\r\n", "\n").replace('\r', "\n"))
}

/// A token in tokenizer_config.json: a string, or an object with its content.
pub(super) fn token_text(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

/// Special tokens by name: the usual ones, and those that a model adds.
pub(super) fn specials(config: &Value) -> BTreeMap<String, String> {
    let usual = SPECIALS.iter().filter_map(|name| Some(((*name).to_owned(), config.get(name)?)));
    let own = ["extra_special_tokens", "model_specific_special_tokens"].into_iter();
    let own = own.filter_map(|key| config.get(key)?.as_object()).flatten().map(|(name, token)| (name.clone(), token));
    usual.chain(own).filter_map(|(name, token)| Some((name, token_text(token)?.to_owned()))).collect()
}

/// A checkpoint's chat templates, and what they are given besides conversations.
#[derive(Default)]
pub(super) struct Templates {
    /// By name; a single one is called `default`.
    named: BTreeMap<String, Result<Template, String>>,
    pub(super) arguments: Map<String, Value>,
}

impl Templates {
    /// The templates in tokenizer_config.json: a string, or a list or an object of named ones.
    pub(super) fn read(path: &Path, config: &Value) -> Result<Self, CheckpointError> {
        let bad = |got: String| CheckpointError::malformed(path, "chat template", "a Jinja template", got);
        let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| bad(value.to_string()));
        let mut sources = Vec::new();
        match config.get("chat_template") {
            None | Some(Value::Null) => {}
            Some(Value::Array(list)) => {
                for entry in list {
                    sources.push((text(&entry["name"])?, text(&entry["template"])?));
                }
            }
            Some(Value::Object(map)) => {
                for (name, source) in map {
                    sources.push((name.clone(), text(source)?));
                }
            }
            Some(one) => sources.push(("default".to_owned(), text(one)?)),
        }
        let specials = specials(config);
        let compiled = sources.into_iter().map(|(name, source)| (name, Template::new(&source, specials.clone())));
        let named: BTreeMap<_, _> = compiled.collect();
        match named.get("default") {
            Some(Err(why)) => Err(bad(why.clone())),
            _ => Ok(Self { named, arguments: Map::new() }),
        }
    }

    /// The template for a conversation: the one that the argument `chat_template` names, `tool_use` where there are
    /// tools and it is there, or `default`. None where the checkpoint has none.
    pub(super) fn choose(&self) -> Result<Option<&Template>, String> {
        if self.named.is_empty() {
            return Ok(None);
        }
        let tools = self.arguments.get("tools").is_some_and(|tools| !tools.is_null());
        let name = match self.arguments.get("chat_template") {
            Some(Value::String(name)) => name,
            Some(other) => return Err(format!("chat_template: expected the name of a template, got {other}")),
            None if tools && self.named.contains_key("tool_use") => "tool_use",
            None => "default",
        };
        let names = || self.named.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        match self.named.get(name) {
            Some(template) => template.as_ref().map(Some).map_err(Clone::clone),
            None if self.arguments.contains_key("chat_template") => {
                Err(format!("chat_template: expected one of {}, got {name}", names()))
            }
            None => Err(format!(
                "the model has several chat templates and none is the default; choose one by the template argument \
                 chat_template: {}",
                names()
            )),
        }
    }
}
