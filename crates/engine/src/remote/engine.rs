//! A server as an engine.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use relign_core::{Completion, Finish, Generate, GenerateError, Message, Request, Sampling, Seed};
use relign_http::{Http, short};
use serde_json::{Map, Value};

use super::answer::Answer;
use super::ask::{Changes, PARAMETERS, Prompt};
use super::dialect::{Dialect, Ids};
use super::pool::{Job, Pool};
use super::settings::settings;
use super::spelled::{self, Spelling};
use super::{Address, RemoteError, RemoteOptions};

/// How long a poll waits for something to come back.
const PATIENCE: Duration = Duration::from_millis(50);

/// How long a list of models may take that can be done without.
const LIST: Duration = Duration::from_secs(10);

/// What a server is given to go on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prompts {
    /// Token ids, rendered and tokenised here.
    Tokens,
    /// Conversations, which the server renders with its own template. A strategy that goes on from within an
    /// answer cannot work so.
    Conversations,
}

/// What was asked and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoteStats {
    /// Answers that came.
    pub answers: u64,
    /// Requests given up on.
    pub failed: u64,
    /// Tries after the first, of all requests.
    pub retries: u64,
    /// Tokens in the answers, as the server counts them.
    pub generated_tokens: u64,
    /// Answers whose tokens the server did not count.
    pub uncounted: u64,
}

/// Makes tokens by asking a server; see the module's page.
#[derive(Debug)]
pub struct Remote {
    pool: Pool,
    prompts: Prompts,
    spelling: Option<spelled::Shared>,
    /// Whether prompts are written out, for a server that takes no ids.
    writes: bool,
    /// Whether answers are read into tokens where the server does not tell them.
    reads: bool,
    context: Option<usize>,
    next_ticket: u64,
    /// Tickets of the requests taken and not yet returned, by id. A cancelled request's outcome
    /// finds no ticket here.
    tickets: HashMap<u64, u64>,
    ids: HashMap<u64, u64>,
    done: Vec<Completion>,
    failed: VecDeque<(u64, RemoteError)>,
    stats: RemoteStats,
}

impl Remote {
    /// An engine over the server at `address`, which is asked for its models.
    ///
    /// # Errors
    /// If the server cannot be reached, refuses or answers nonsense, or if it serves several models and
    /// the address names none.
    pub fn connect(address: &Address, prompts: Prompts, options: &RemoteOptions) -> Result<Self, RemoteError> {
        let http = Http::new(address.base(), options);
        // Whoever names the model needs no list and waits for none; a server that is not there is said at once.
        let list = match address.model() {
            Some(_) => {
                let soon = |limit: Duration| limit.min(LIST);
                let (first_byte, whole) = (soon(options.first_byte), soon(options.whole));
                models(&Http::new(address.base(), &RemoteOptions { first_byte, whole, ..options.clone() }), options)
            }
            None => models(&http, options),
        };
        let listed = match list {
            Err(RemoteError::Http(error))
                if address.model().is_some() && !matches!(error, relign_http::Error::Unreachable { .. }) =>
            {
                Vec::new()
            }
            listed => listed?,
        };
        let model = choose(address, &listed)?;
        let own = listed.iter().find(|listed| listed.id == model);
        let owner = own.or_else(|| listed.first()).and_then(|listed| listed.owner.as_deref());
        let dialect = Dialect::of(owner, address.is_openai());
        Ok(Self {
            pool: Pool::new(http, model, dialect, options),
            prompts,
            spelling: None,
            writes: false,
            reads: false,
            context: own.and_then(|own| own.context),
            next_ticket: 0,
            tickets: HashMap::new(),
            ids: HashMap::new(),
            done: Vec::new(),
            failed: VecDeque::new(),
            stats: RemoteStats::default(),
        })
    }

    /// Leaves `drop_params` out of every request, for servers that refuse them, and hands `chat_template_kwargs` to the
    /// server's chat template; before the first request.
    ///
    /// # Errors
    /// If a request cannot be without a parameter, or has none of that name.
    pub fn with_changes(
        mut self,
        mut drop_params: Vec<String>,
        chat_template_kwargs: Map<String, Value>,
    ) -> Result<Self, RemoteError> {
        if let Some(name) = drop_params.iter().find(|name| !PARAMETERS.contains(&name.as_str())) {
            let what = format!("drop_params: expected some of {}, got `{name}`", PARAMETERS.join(", "));
            return Err(RemoteError::Model { url: self.url().to_owned(), what });
        }
        // The same parameters are the same results, however they are given.
        drop_params.sort();
        drop_params.dedup();
        self.pool.change(Changes { drop_params, chat_template_kwargs });
        Ok(self)
    }

    /// The parameters that are left out of requests.
    #[must_use]
    pub fn drop_params(&self) -> &[String] {
        &self.pool.changes().drop_params
    }

    /// Has prompts of token ids go out as text, if the server takes no ids; one that is not known is tried.
    #[must_use]
    pub fn spelled_by(mut self, spelling: Arc<dyn Spelling>) -> Self {
        let dialect = self.pool.dialect();
        self.writes = match dialect.ids {
            Ids::Taken => false,
            Ids::Refused => true,
            Ids::Unknown => {
                let plain = Sampling { temperature: 0.0, max_tokens: 1, ..Sampling::default() };
                let prompt = Prompt::Tokens(spelling.read("a"));
                let mut body = super::ask::body(self.model(), dialect, &prompt, &plain, Seed(0), false);
                self.pool.changes().apply(&mut body);
                let url = format!("{}{}", self.url(), prompt.path());
                let answer = self.pool.http().ask(&url, Some(&body), 0, Seed(0), &mut |_| false);
                // Any other trouble will be had again, and said then.
                matches!(answer, Err(relign_http::Error::Status { status: 400 | 422 | 500 | 501, .. }))
            }
        };
        self.spelling = Some(spelled::Shared(spelling));
        self
    }

    /// Reads answers into tokens from now on where the server does not tell them, so that there is something to go on
    /// from; they may be other tokens than the model's own.
    pub fn read_answers(&mut self) {
        self.reads = self.spelling.is_some();
        if self.reads && self.pool.dialect().interrupts {
            self.pool.one_at_a_time();
        }
    }

    /// What the server is sent for `tokens`, if it takes no ids.
    #[must_use]
    pub fn spelt(&self, tokens: &[u32]) -> Option<String> {
        self.spelling.as_ref().filter(|_| self.writes).map(|spelling| spelling.0.spell(tokens))
    }

    /// The server's URL.
    #[must_use]
    pub fn url(&self) -> &str {
        self.pool.http().base()
    }

    /// The model that is asked.
    #[must_use]
    pub fn model(&self) -> &str {
        self.pool.model()
    }

    /// What kind of server it is, as far as its list of models tells.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.pool.dialect().name
    }

    /// The longest sequence in tokens, where the server says.
    #[must_use]
    pub fn context(&self) -> Option<usize> {
        self.context
    }

    /// What was asked so far.
    #[must_use]
    pub fn stats(&self) -> RemoteStats {
        RemoteStats { retries: self.pool.retried(), ..self.stats }
    }

    /// The server's own tokens of `text`, in which special tokens are written out; `None` where it
    /// cannot be asked. What gives a server token ids should see first that it means the same by them.
    ///
    /// # Errors
    /// If the server fails or answers nonsense.
    pub fn tokens_of(&self, text: &str) -> Result<Option<Vec<u32>>, RemoteError> {
        let Some(tokenize) = &self.pool.dialect().tokenize else { return Ok(None) };
        let url = self.pool.http().beside(tokenize.path);
        let body = tokenize.body(self.model(), text);
        let answer = match self.pool.http().ask(&url, Some(&body), 0, Seed(0), &mut |_| false) {
            // Older servers, and those behind a gate that lets /v1 alone through.
            Err(relign_http::Error::Status { status: 401 | 403 | 404 | 405 | 501, .. }) => return Ok(None),
            other => other?,
        };
        let tokens = answer.get("tokens").and_then(Value::as_array).and_then(|tokens| {
            tokens.iter().map(|token| u32::try_from(token.as_u64()?).ok()).collect::<Option<Vec<u32>>>()
        });
        let what = || format!("tokens: expected a list of ids, got {}", short(&answer));
        tokens.map(Some).ok_or_else(|| relign_http::Error::Malformed { url, what: what() }.into())
    }

    fn take(&mut self, mut request: Request, prompt: Prompt) -> Result<(), GenerateError> {
        self.check(&request)?;
        let prompt = match prompt {
            Prompt::Tokens(tokens) => {
                if let Some(context) = self.context {
                    if tokens.len() >= context {
                        return Err(GenerateError::TooLong { id: request.id, tokens: tokens.len(), context });
                    }
                    // As an engine here ends at the context's end, where servers refuse.
                    request.sampling.max_tokens = request.sampling.max_tokens.min(context - tokens.len());
                }
                self.spelt(&tokens).map_or(Prompt::Tokens(tokens), Prompt::Text)
            }
            conversation => conversation,
        };
        let (id, ticket) = (request.id, self.next_ticket);
        self.next_ticket += 1;
        let reader = self.spelling.clone().filter(|_| self.reads);
        let job = Job { ticket, prompt, sampling: request.sampling, seed: request.seed, reader };
        self.pool.submit(job).map_err(|error| GenerateError::Engine(error.to_string()))?;
        self.tickets.insert(id, ticket);
        self.ids.insert(ticket, id);
        Ok(())
    }

    fn check(&self, request: &Request) -> Result<(), GenerateError> {
        let Request { id, sampling, .. } = request;
        let invalid = |what: String| Err(GenerateError::Invalid { id: *id, what });
        let dialect = self.pool.dialect();
        if self.tickets.contains_key(id) {
            return invalid("expected an id of its own, got that of a request in flight".to_owned());
        }
        if let Err(error) = sampling.check() {
            return invalid(error.to_string());
        }
        if self.prompts == Prompts::Tokens && dialect.ids == Ids::Refused && !self.writes {
            return invalid(format!("prompt: expected text, for {} takes no token ids; got ids", dialect.name));
        }
        if let Err(what) = settings(dialect, self.prompts == Prompts::Conversations, sampling) {
            return invalid(what);
        }
        if !sampling.stop_tokens.is_empty() && !dialect.stop_tokens {
            return invalid(format!("stop_tokens: expected none, for {} does not take them", dialect.name));
        }
        if sampling.ignore_eos && !dialect.ignore_eos {
            return invalid(format!("ignore_eos: expected false, for {} does not take it", dialect.name));
        }
        Ok(())
    }

    fn arrived(&mut self, id: u64, answer: Answer) {
        self.stats.answers += 1;
        match answer.count.or((!answer.tokens.is_empty()).then_some(answer.tokens.len() as u64)) {
            Some(count) => self.stats.generated_tokens += count,
            None => self.stats.uncounted += 1,
        }
        let Answer { text, tokens, logprobs, finish, odds, prompt_odds, .. } = answer;
        let certainty = Vec::new();
        self.done.push(Completion { id, tokens, logprobs, text, finish, version: 0, odds, prompt_odds, certainty });
    }
}

impl Generate for Remote {
    fn submit(&mut self, mut request: Request) -> Result<(), GenerateError> {
        if self.prompts == Prompts::Conversations {
            let what = "expected a conversation, for this server is given those; got tokens".to_owned();
            return Err(GenerateError::Invalid { id: request.id, what });
        }
        if request.prompt.is_empty() {
            let what = "prompt: expected at least one token, got none".to_owned();
            return Err(GenerateError::Invalid { id: request.id, what });
        }
        let prompt = Prompt::Tokens(std::mem::take(&mut request.prompt));
        self.take(request, prompt)
    }

    fn submit_conversation(&mut self, request: Request, messages: &[Message]) -> Result<(), GenerateError> {
        if self.prompts == Prompts::Tokens {
            return self.submit(request);
        }
        let invalid = |what: &str| Err(GenerateError::Invalid { id: request.id, what: what.to_owned() });
        if !request.prompt.is_empty() {
            return invalid("prompt: expected none beside a conversation that the server renders, got tokens");
        }
        if messages.is_empty() {
            return invalid("conversation: expected at least one message, got none");
        }
        let prompt = Prompt::Conversation(messages.to_vec());
        self.take(request, prompt)
    }

    /// Waits a moment for answers and returns those that came.
    ///
    /// # Errors
    /// [`GenerateError::Failed`] for one request that was given up on; nothing else.
    fn poll(&mut self) -> Result<Vec<Completion>, GenerateError> {
        let patience = if self.done.is_empty() && self.failed.is_empty() { PATIENCE } else { Duration::ZERO };
        let outcomes = if self.ids.is_empty() { Vec::new() } else { self.pool.drain(patience) };
        for (ticket, outcome) in outcomes {
            let Some(id) = self.ids.remove(&ticket) else { continue };
            match outcome {
                Ok(answer) => self.arrived(id, answer),
                Err(error) => {
                    self.stats.failed += 1;
                    self.failed.push_back((id, error));
                }
            }
        }
        if self.done.is_empty()
            && let Some((id, error)) = self.failed.pop_front()
        {
            self.tickets.remove(&id);
            return Err(GenerateError::Failed { id, what: error.to_string() });
        }
        for completion in &self.done {
            self.tickets.remove(&completion.id);
        }
        Ok(std::mem::take(&mut self.done))
    }

    fn in_flight(&self) -> usize {
        self.tickets.len()
    }

    /// The request comes back at once. A server that is at work on it is not interrupted; its answer is
    /// thrown away.
    fn cancel(&mut self, id: u64) {
        let Some(ticket) = self.tickets.get(&id) else { return };
        // What came back already stays as it came.
        if self.ids.remove(ticket).is_none() {
            return;
        }
        self.pool.cancel(*ticket);
        let (tokens, logprobs, text) = (Vec::new(), Vec::new(), String::new());
        let (odds, prompt_odds, certainty) = (Vec::new(), Vec::new(), Vec::new());
        let finish = Finish::Cancelled;
        self.done.push(Completion { id, tokens, logprobs, text, finish, version: 0, odds, prompt_odds, certainty });
    }
}

/// A model that a server lists.
struct Listed {
    id: String,
    owner: Option<String>,
    context: Option<usize>,
}

/// What the server serves; nothing where it does not say.
fn models(http: &Http, options: &RemoteOptions) -> Result<Vec<Listed>, RemoteError> {
    // Whoever waits here waits for the first word: a wrong port is said soon.
    let mut rest = |wait| {
        std::thread::sleep(wait);
        true
    };
    let url = format!("{}/models", http.base());
    let answer = match http.ask(&url, None, options.retries.min(2), Seed(0), &mut rest) {
        Err(relign_http::Error::Status { status: 404 | 405 | 501, .. }) => return Ok(Vec::new()),
        other => other?,
    };
    let malformed = |what| RemoteError::from(relign_http::Error::Malformed { url: url.clone(), what });
    // As OpenAI has it, as Ollama has it, or bare.
    let data = ["data", "models"].iter().find_map(|key| answer.get(key)?.as_array()).or(answer.as_array());
    let Some(data) = data else {
        return Err(malformed(format!("expected the list of models under `data`, got {}", short(&answer))));
    };
    let listed = data.iter().enumerate().map(|(place, model)| {
        let names = ["id", "name", "model"].iter().find_map(|key| model.get(key)?.as_str());
        let id = names
            .or(model.as_str())
            .ok_or_else(|| malformed(format!("data[{place}].id: expected a model's name, got {}", short(model))))?;
        let owner = model.get("owned_by").and_then(Value::as_str).map(str::to_owned);
        let context = model.get("max_model_len").and_then(Value::as_u64).map(|n| n as usize).filter(|&n| n > 1);
        Ok(Listed { id: id.to_owned(), owner, context })
    });
    listed.collect()
}

fn choose(address: &Address, listed: &[Listed]) -> Result<String, RemoteError> {
    match (address.model(), listed) {
        (Some(model), _) => Ok(model.to_owned()),
        (None, [only]) => Ok(only.id.clone()),
        (None, listed) => {
            let names: Vec<&str> = listed.iter().take(10).map(|listed| listed.id.as_str()).collect();
            let what = format!(
                "expected one model, got {}{}; name one: {}#MODEL",
                if names.is_empty() { "no list of them".to_owned() } else { format!("{}: ", listed.len()) },
                names.join(", "),
                address.base()
            );
            Err(RemoteError::Model { url: address.base().to_owned(), what })
        }
    }
}
