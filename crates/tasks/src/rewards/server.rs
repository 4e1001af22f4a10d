//! What rewards that ask a server have in common: places, time, a key and what was spent.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use relign_core::{ConfigError, Seed, Spent};
use relign_http::{ApiKey, Http, Options};
use serde::Serialize;
use serde_json::Value;

/// How a server is asked, as the settings have it.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    pub(super) seconds: f64,
    pub(super) retries: u32,
    pub(super) concurrency: usize,
    pub(super) api_key_env: String,
}

impl Asking {
    /// Refuses settings that make no sense.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        seconds("seconds", self.seconds)?;
        if self.concurrency == 0 {
            return Err(ConfigError::at("concurrency", "expected at least 1, got 0"));
        }
        Ok(())
    }

    fn limit(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// The longest that one question waits: another try may begin until the limit, and then takes up to it.
    pub(super) fn waits(&self) -> Duration {
        2 * self.limit()
    }

    /// The key, if the settings name one.
    fn key(&self) -> Result<Option<ApiKey>, String> {
        let name = self.api_key_env.as_str();
        if name.is_empty() {
            return Ok(None);
        }
        match std::env::var(name) {
            Ok(key) if !key.trim().is_empty() => Ok(Some(ApiKey::new(key.trim()))),
            _ => Err(format!("api_key_env: expected a key in the environment variable {name}, it is not set")),
        }
    }
}

/// A number of seconds that can be waited.
pub(crate) fn seconds(setting: &str, seconds: f64) -> Result<(), ConfigError> {
    if seconds.is_finite() && seconds > 0.0 && seconds <= 86_400.0 {
        return Ok(());
    }
    Err(ConfigError::at(setting, format!("expected a number of seconds above 0, at most a day, got {seconds}")))
}

/// A server with its places.
#[derive(Debug)]
pub(super) struct Server {
    asking: Asking,
    http: Http,
    places: Mutex<usize>,
    left: Condvar,
    spent: Mutex<Spent>,
}

impl Server {
    /// The server whose paths begin with `base`.
    ///
    /// # Errors
    /// If the key is not where it is said to be.
    pub(super) fn new(base: &str, asking: &Asking) -> Result<Self, String> {
        let options = Options {
            concurrency: asking.concurrency,
            first_byte: asking.limit(),
            whole: asking.limit(),
            retries: asking.retries,
            longest_wait: asking.limit(),
            key: asking.key()?,
            ..Options::default()
        };
        Ok(Self {
            asking: asking.clone(),
            http: Http::new(base, &options),
            places: Mutex::new(asking.concurrency),
            left: Condvar::new(),
            spent: Mutex::default(),
        })
    }

    /// The answer to `body`, sent to `url` once there is a place.
    pub(super) fn ask(&self, url: &str, body: &impl Serialize, seed: Seed) -> Result<Value, relign_http::Error> {
        let _place = self.place();
        let (started, limit) = (Instant::now(), self.asking.limit());
        self.count(|spent| spent.requests += 1);
        let mut rest = |wait: Duration| {
            if started.elapsed() + wait >= limit {
                return false;
            }
            std::thread::sleep(wait);
            self.count(|spent| spent.retries += 1);
            true
        };
        let answer = self.http.ask_again(url, body, seed, &mut rest);
        answer.inspect_err(|_| self.count(|spent| spent.failed += 1))
    }

    /// Notes what was spent.
    pub(super) fn count(&self, add: impl FnOnce(&mut Spent)) {
        add(&mut self.spent.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn spent(&self) -> Spent {
        *self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place. Whoever has one gives it back within bounds of time.
    fn place(&self) -> Place<'_> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let mut places = self.left.wait_while(places, |places| *places == 0).unwrap_or_else(PoisonError::into_inner);
        *places -= 1;
        Place(self)
    }
}

struct Place<'a>(&'a Server);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.places.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.left.notify_one();
    }
}
