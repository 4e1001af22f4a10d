//! What makes the tokens of a command: a model that is read here, or a server.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use relign_core::{Completion, Generate, GenerateError, Message, Request, Sampling, ThoughtMarkers, Tokenize};
use relign_engine::Engine;
use relign_engine::remote::{Address, ApiKey, Prompts, Remote, RemoteOptions};
use relign_model::{Checkpoint, Policy, Tokenizer};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::commands::sampling::{SamplingArgs, bounded};
use crate::loaded::{Compute, Loaded, Read, kind_name};
use crate::models;
use crate::recipe_file;
use crate::usage::Usage;

/// Where a key is looked for.
const KEY: &str = "RELIGN_API_KEY";

/// How a server is asked; for nothing else.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "If MODEL is a server")]
pub(crate) struct ServerArgs {
    /// Render and tokenise here, with this model's tokenizer and template, and send token ids, or text to
    /// a server that takes no ids [default: the server renders]
    #[arg(long, value_name = "MODEL")]
    tokenizer: Option<String>,
    /// Requests on their way at once [default: 16]
    #[arg(long, value_name = "N", value_parser = bounded::<usize>("concurrency"))]
    concurrency: Option<usize>,
    /// The longest an answer may take [default: 600]
    #[arg(long, value_name = "SECONDS", value_parser = bounded::<u64>("seconds"))]
    timeout: Option<u64>,
    /// The environment variable that holds its key [default: RELIGN_API_KEY]
    #[arg(long, value_name = "NAME")]
    api_key_env: Option<String>,
    /// Parameters left out of requests because it refuses them, such as top_p,seed; what it then does is its own affair,
    /// and the results name them
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    drop_params: Vec<String>,
}

impl ServerArgs {
    /// The bounds a server is asked within, and its key.
    ///
    /// # Errors
    /// If the key is not where it is said to be.
    pub(crate) fn options(&self) -> anyhow::Result<RemoteOptions> {
        let mut options = RemoteOptions::default();
        if let Some(concurrency) = self.concurrency {
            options.concurrency = concurrency;
        }
        if let Some(seconds) = self.timeout {
            (options.first_byte, options.whole) = (Duration::from_secs(seconds), Duration::from_secs(seconds));
        }
        let name = self.api_key_env.as_deref().unwrap_or(KEY);
        match std::env::var(name) {
            Ok(key) if !key.trim().is_empty() => options.key = Some(ApiKey::new(key.trim())),
            _ if self.api_key_env.is_some() => {
                return Err(Usage::error(format!("--api-key-env: expected a key in {name}, it is not set")));
            }
            _ => {}
        }
        Ok(options)
    }

    /// `remote`, asked without the parameters that it refuses, its chat template given `kwargs`.
    ///
    /// # Errors
    /// If a request cannot be without one.
    pub(crate) fn change(&self, remote: Remote, kwargs: Map<String, Value>) -> anyhow::Result<Remote> {
        let changed = remote.with_changes(self.drop_params.clone(), kwargs);
        changed.map_err(|error| Usage::error(format!("--drop-params: {error}")))
    }

    /// The first of these options that was given.
    fn given(&self) -> Option<&'static str> {
        let Self { tokenizer, concurrency, timeout, api_key_env, drop_params } = self;
        [
            (tokenizer.is_some(), "--tokenizer"),
            (concurrency.is_some(), "--concurrency"),
            (timeout.is_some(), "--timeout"),
            (api_key_env.is_some(), "--api-key-env"),
            (!drop_params.is_empty(), "--drop-params"),
        ]
        .into_iter()
        .find_map(|(given, name)| given.then_some(name))
    }
}

/// Where tokens come from, with what turns conversations into prompts.
pub(crate) struct Generator {
    /// Makes the tokens.
    pub(crate) source: Source,
    /// Renders prompts; to none, where the server does that.
    pub(crate) tokenizer: Arc<dyn Tokenize>,
    /// The tokenizer itself, where there is one here.
    pub(crate) vocabulary: Option<Arc<Tokenizer>>,
    /// What was read or asked.
    pub(crate) path: PathBuf,
    /// Where it is computed, as far as it is known.
    pub(crate) device: String,
    /// The type of products, as far as it is known.
    pub(crate) dtype: &'static str,
    /// What the chat template is given besides conversations.
    pub(crate) arguments: Map<String, Value>,
    /// What marks thoughts beside the usual marks.
    pub(crate) thought_markers: ThoughtMarkers,
    /// The weights, where they are here.
    _policy: Option<Policy>,
}

/// An engine in this process, or a server.
pub(crate) enum Source {
    Local(Box<Engine>),
    Server(Box<Remote>),
}

/// What a summary says of a server.
#[derive(Debug, Serialize)]
pub(crate) struct ServerSummary {
    /// What kind it is.
    kind: &'static str,
    /// The model asked.
    model: String,
    /// Tries after the first, of all requests.
    retries: u64,
    /// Requests given up on.
    pub(crate) failed: u64,
    /// Answers whose tokens it did not count.
    pub(crate) uncounted: u64,
    /// Parameters that were left out of requests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    drop_params: Vec<String>,
}

/// How conversations become prompts and completions answers, where a call or a run's recipe sets it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Prompting {
    #[serde(skip_serializing_if = "Map::is_empty")]
    chat_template_kwargs: Map<String, Value>,
    #[serde(skip_serializing_if = "ThoughtMarkers::is_empty")]
    thought_markers: ThoughtMarkers,
}

impl Generator {
    /// How it prompts and where it looks for answers.
    pub(crate) fn prompting(&self) -> Prompting {
        Prompting { chat_template_kwargs: self.arguments.clone(), thought_markers: self.thought_markers.clone() }
    }

    /// Reads MODEL, or connects to the server it names; `sequences` run here at once.
    ///
    /// # Errors
    /// If there is no such model, it cannot be read or the server does not answer.
    pub(crate) fn open(
        model: &str,
        sampling: &SamplingArgs,
        sequences: usize,
        server: &ServerArgs,
    ) -> anyhow::Result<Self> {
        sampling.check()?; // before the model is loaded: a typo is answered at once
        let mut arguments = sampling.template.read()?;
        // A run's model is asked as it was trained, unless the call says otherwise.
        let own = recipe_file::of_run(model)?.map(|recipe| recipe.model);
        if let Some(own) = own.as_ref().filter(|_| arguments.is_empty()) {
            arguments = own.chat_template_kwargs.clone().into_iter().collect();
        }
        let (compute, read) = (sampling.compute(), sampling.read());
        if Address::is_one(model) {
            if (compute, read) != (Compute::default(), Read::default()) {
                let options = "--device, --dtype, --weights, --kv-cache and --context";
                return Err(Usage::error(format!("{options} are for a model here; MODEL is {model}")));
            }
            if sampling.base.is_some() {
                return Err(Usage::error(format!("--base is for a PEFT folder; MODEL is {model}")));
            }
            return Self::connect(model, server, arguments);
        }
        if let Some(option) = server.given() {
            return Err(Usage::error(format!("{option} is for a server, http://HOST:PORT/v1; MODEL is {model}")));
        }
        let loaded = Loaded::open_to_sample(model, sampling.base.as_deref(), compute, read)?;
        let mut loaded = loaded.with_arguments(arguments.clone())?;
        let engine = loaded.engine(read, sequences)?;
        let Loaded { path, policy, tokenizer } = loaded;
        let (device, dtype) = (compute.device.to_string(), kind_name(policy.kind()));
        let (source, vocabulary) = (Source::Local(Box::new(engine)), Some(Arc::clone(&tokenizer)));
        Ok(Self {
            source,
            tokenizer,
            vocabulary,
            path,
            device,
            dtype,
            arguments,
            thought_markers: own.map(|own| own.thought_markers).unwrap_or_default(),
            _policy: Some(policy),
        })
    }

    /// Has `markers`, unless there are none, mark thoughts beside the usual marks.
    pub(crate) fn mark_thoughts(&mut self, markers: ThoughtMarkers) {
        if !markers.is_empty() {
            self.thought_markers = markers;
        }
    }

    fn connect(model: &str, server: &ServerArgs, arguments: Map<String, Value>) -> anyhow::Result<Self> {
        let address = Address::parse(model).map_err(|error| Usage(error.to_string()))?;
        let options = server.options()?;
        let tokenizer = server.tokenizer.as_deref().map(tokenizer_of).transpose().context("--tokenizer")?;
        let with = |tokenizer: Tokenizer| tokenizer.with_arguments(arguments.clone()).map_err(Usage::error);
        let tokenizer = tokenizer.map(with).transpose()?;
        let prompts = if tokenizer.is_some() { Prompts::Tokens } else { Prompts::Conversations };
        let kwargs = if tokenizer.is_some() { Map::new() } else { arguments.clone() };
        let remote = Remote::connect(&address, prompts, &options)?;
        let mut remote = server.change(remote, kwargs)?;
        let vocabulary = tokenizer.map(Arc::new);
        if let Some(tokenizer) = &vocabulary {
            remote = remote.spelled_by(Arc::<Tokenizer>::clone(tokenizer));
            check_tokens(&remote, tokenizer, server.tokenizer.as_deref().unwrap_or_default())?;
        }
        let tokenizer: Arc<dyn Tokenize> = match &vocabulary {
            Some(tokenizer) => Arc::<Tokenizer>::clone(tokenizer),
            None => Arc::new(ServerTemplate),
        };
        let (path, source) = (PathBuf::from(remote.url()), Source::Server(Box::new(remote)));
        let (device, dtype) = ("the server's own".to_owned(), "the server's own");
        Ok(Self {
            source,
            tokenizer,
            vocabulary,
            path,
            device,
            dtype,
            arguments,
            thought_markers: ThoughtMarkers::default(),
            _policy: None,
        })
    }

    /// How `asked` wants answers sampled; `max_tokens` is taken where it names no limit.
    ///
    /// # Errors
    /// If it names a token that is none.
    pub(crate) fn sampling(&self, asked: &SamplingArgs, max_tokens: usize) -> anyhow::Result<Sampling> {
        asked.sampling(max_tokens, self.vocabulary.as_deref())
    }

    /// Has a server's answers read into tokens with `--tokenizer`, where the server keeps them to itself, for what goes on
    /// from them.
    pub(crate) fn read_answers(&mut self) {
        if let Source::Server(remote) = &mut self.source {
            remote.read_answers();
        }
    }

    /// What came of asking a server, if it is one.
    pub(crate) fn server(&self) -> Option<ServerSummary> {
        let Source::Server(remote) = &self.source else { return None };
        let stats = remote.stats();
        Some(ServerSummary {
            kind: remote.kind(),
            model: remote.model().to_owned(),
            retries: stats.retries,
            failed: stats.failed,
            uncounted: stats.uncounted,
            drop_params: remote.drop_params().to_vec(),
        })
    }

    /// Tokens made so far, as the server counts them; `known` where the engine is here.
    pub(crate) fn tokens(&self, known: u64) -> u64 {
        match &self.source {
            Source::Local(_) => known,
            Source::Server(remote) => remote.stats().generated_tokens,
        }
    }
}

impl Source {
    /// Tokens of prompts read so far and those of them that were there already; of a server neither is known.
    pub(crate) fn read(&self) -> (u64, u64) {
        match self {
            Self::Local(engine) => (engine.stats().prompt_tokens, engine.stats().cached_tokens),
            Self::Server(_) => (0, 0),
        }
    }
}

impl Generate for Source {
    fn submit(&mut self, request: Request) -> Result<(), GenerateError> {
        match self {
            Self::Local(engine) => engine.submit(request),
            Self::Server(remote) => remote.submit(request),
        }
    }

    fn submit_conversation(&mut self, request: Request, messages: &[Message]) -> Result<(), GenerateError> {
        match self {
            Self::Local(engine) => engine.submit_conversation(request, messages),
            Self::Server(remote) => remote.submit_conversation(request, messages),
        }
    }

    fn poll(&mut self) -> Result<Vec<Completion>, GenerateError> {
        match self {
            Self::Local(engine) => engine.poll(),
            Self::Server(remote) => remote.poll(),
        }
    }

    fn in_flight(&self) -> usize {
        match self {
            Self::Local(engine) => engine.in_flight(),
            Self::Server(remote) => remote.in_flight(),
        }
    }

    fn watch(&mut self, id: u64) -> bool {
        match self {
            Self::Local(engine) => engine.watch(id),
            Self::Server(remote) => remote.watch(id),
        }
    }

    fn heard(&mut self) -> Vec<(u64, String)> {
        match self {
            Self::Local(engine) => engine.heard(),
            Self::Server(remote) => remote.heard(),
        }
    }

    fn cancel(&mut self, id: u64) {
        match self {
            Self::Local(engine) => engine.cancel(id),
            Self::Server(remote) => remote.cancel(id),
        }
    }
}

/// Leaves rendering to the server: no tokens are known here.
struct ServerTemplate;

impl Tokenize for ServerTemplate {
    fn render(&self, _: &[Message]) -> Result<Vec<u32>, String> {
        Ok(Vec::new())
    }

    fn decode(&self, _: &[u32]) -> String {
        String::new()
    }
}

/// Sees to it that token ids mean the same here and there, as far as the server can be asked.
fn check_tokens(remote: &Remote, tokenizer: &Tokenizer, name: &str) -> anyhow::Result<()> {
    let probe = [Message::user("What is 17 + 25?\n\n  na\u{ef}ve \u{6771}\u{4eac}, x_1 := {}")];
    let text = tokenizer.render_text(&probe).map_err(anyhow::Error::msg)?;
    let ours = tokenizer.encode_with_specials(&text);
    let Some(theirs) = remote.tokens_of(&remote.spelt(&ours).unwrap_or(text))? else { return Ok(()) };
    let place = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
    anyhow::ensure!(
        ours == theirs,
        "--tokenizer {name}: expected the tokens of {} at {}, got others from place {place} on: {:?} there, {:?} here",
        remote.model(),
        remote.url(),
        &theirs[place..theirs.len().min(place + 4)],
        &ours[place..ours.len().min(place + 4)]
    );
    Ok(())
}

/// A model's tokenizer. A folder needs no weights for it.
pub(crate) fn tokenizer_of(model: &str) -> anyhow::Result<Tokenizer> {
    let path = models::resolve(model)?;
    if path.is_dir() {
        let json = |name: &str| -> anyhow::Result<Option<Value>> {
            let file = path.join(name);
            if !file.is_file() {
                return Ok(None);
            }
            let bytes = std::fs::read(&file).with_context(|| file.display().to_string())?;
            serde_json::from_slice(&bytes).map(Some).with_context(|| file.display().to_string())
        };
        let (config, generation) = (json("config.json")?.unwrap_or_default(), json("generation_config.json")?);
        return Ok(Tokenizer::from_folder(Path::new(&path), &config, generation.as_ref())?);
    }
    Ok(Checkpoint::open(&path)?.tokenizer()?)
}
