//! `relign render`: a conversation as the model will see it.

use std::path::PathBuf;

use relign_core::Split;
use serde_json::{Value, json};

use super::sampling::TemplateArgs;
use super::{say, say_json};
use crate::generator::tokenizer_of;
use crate::recipe_file;
use crate::usage::Usage;

/// What `render` was told.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("input").required(true).args(["messages", "task"])))]
pub(crate) struct Asked {
    /// A built-in name, a Hugging Face folder, a GGUF file or a hub id
    model: String,
    /// A JSON file: a list of messages, or an object with `messages`
    #[arg(long, value_name = "F")]
    messages: Option<PathBuf>,
    /// An environment, of which a held-out task is rendered
    #[arg(long, value_name = "T")]
    task: Option<String>,
    /// Which task
    #[arg(long, value_name = "INDEX", default_value_t = 0, requires = "task")]
    index: u64,
    /// A setting of the environment; the value is TOML, or else a string
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "task")]
    sets: Vec<String>,
    /// The conversation alone, without the beginning of an answer
    #[arg(long)]
    no_generation_prompt: bool,
    #[command(flatten)]
    template: TemplateArgs,
}

pub(crate) fn run(asked: &Asked, as_json: bool) -> anyhow::Result<()> {
    let arguments = asked.template.read()?;
    let messages = messages(asked)?;
    let tokenizer = tokenizer_of(&asked.model)?.with_arguments(arguments.clone()).map_err(Usage::error)?;
    let rendered = tokenizer.render_with_template(&messages, !asked.no_generation_prompt);
    let prompt = match rendered.map_err(Usage::error)? {
        Some(prompt) => prompt,
        None => {
            let plain: Vec<relign_core::Message> = serde_json::from_value(messages)
                .map_err(|error| Usage(format!("the model has no template, and without one: {error}")))?;
            tokenizer.render_text(&plain).map_err(Usage::error)?
        }
    };
    let tokens = tokenizer.encode_with_specials(&prompt);
    let text = |&token: &u32| String::from_utf8_lossy(tokenizer.token_bytes(token)).into_owned();
    let specials: Vec<Value> = (0..)
        .zip(&tokens)
        .filter(|(_, token)| tokenizer.is_special(**token))
        .map(|(place, token): (usize, _)| json!({"place": place, "id": token, "text": text(token)}))
        .collect();
    if as_json {
        return say_json(&json!({
            "summary": true, "model": asked.model, "prompt": prompt, "tokens": tokens, "special_tokens": specials,
            "chat_template_kwargs": arguments,
        }));
    }
    // What models and files say reaches the terminal in quotation marks, its control characters escaped.
    say(prompt.split_inclusive('\n').map(|line| format!("{line:?}\n")).collect::<String>().trim_end())?;
    say(format_args!("{} tokens: {tokens:?}", tokens.len()))?;
    let names = specials.iter().map(|special| format!("{} {}", special["place"], special["text"]));
    say(format_args!("special tokens, by place: {}", names.collect::<Vec<_>>().join(", ")))?;
    Ok(())
}

fn messages(asked: &Asked) -> anyhow::Result<Value> {
    if let Some(file) = &asked.messages {
        let wrong = |what: String| Usage::error(format!("{}: {what}", file.display()));
        let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        let value: Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let list = if value.is_array() { value } else { value.get("messages").cloned().unwrap_or_default() };
        let objects = list.as_array().is_some_and(|list| list.iter().all(Value::is_object));
        return if objects { Ok(list) } else { Err(wrong("expected a list of messages".to_owned())) };
    }
    let name = asked.task.as_deref().unwrap_or_default();
    let section = recipe_file::section("environment", name, None, &asked.sets)?;
    let environment = relign_tasks::environment(&section).map_err(|error| Usage(error.to_string()))?;
    let task = environment.task(Split::Eval, asked.index).map_err(anyhow::Error::msg)?;
    Ok(serde_json::to_value(&task.messages)?)
}
