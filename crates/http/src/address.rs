//! Where a server is, and which of its models is meant.

use relign_core::secrets;
use ureq::http::Uri;

use crate::Error;

/// `URL#MODEL`, such as `http://localhost:8000/v1#Qwen/Qwen3-8B`.
///
/// A URL without a path stands for its `/v1`. Without a model, the server must serve exactly one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The URL up to and without the last slash.
    base: String,
    model: Option<String>,
}

impl Address {
    /// Whether `text` is meant as an address: it begins with `http://` or `https://`.
    #[must_use]
    pub fn is_one(text: &str) -> bool {
        let begins = |scheme: &str| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
        begins("http://") || begins("https://")
    }

    /// Reads an address.
    ///
    /// # Errors
    /// If it is no URL of a server, or holds a user, a password or a query.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |got: &str| {
            let what = format!("expected http://HOST:PORT/v1 or https://..., #MODEL after it, got {got}");
            Err(Error::Address(what).without(&[]))
        };
        let (url, model) = text.split_once('#').map_or((text, None), |(url, model)| (url, Some(model)));
        let uri = match Self::check(url) {
            Ok(uri) => uri,
            Err(got) => return wrong(&got),
        };
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            // The text is not repeated: it may hold a password.
            return wrong("a user before the host; give a key in the environment instead");
        }
        if uri.query().is_some() {
            return wrong("a query after `?`");
        }
        let base = url.trim_end_matches('/');
        let base = if uri.path().trim_matches('/').is_empty() { format!("{base}/v1") } else { base.to_owned() };
        Ok(Self { base, model: model.filter(|model| !model.is_empty()).map(str::to_owned) })
    }

    /// The parts of a URL over HTTP that a connection can be made to.
    ///
    /// # Errors
    /// What was got in its place, without the user and password that it may hold.
    pub fn check(url: &str) -> Result<Uri, String> {
        let got = || format!("`{}`", secrets::without_secrets(url));
        let uri: Uri = url.parse().map_err(|_| got())?;
        if !Self::is_one(url) || uri.host().is_none_or(str::is_empty) {
            return Err(got());
        }
        let host = uri.authority().map_or("", |authority| authority.as_str());
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let port = host.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.contains(']'));
        match port {
            // A sign is read as part of a number, too.
            Some(port) if port.starts_with('+') || !port.parse().is_ok_and(|port: u16| port > 0) => {
                Err(format!("the port {port}, which is none of 1 to 65535, in {}", got()))
            }
            _ => Ok(uri),
        }
    }

    /// The URL that `/completions` is appended to.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The model asked for.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// Whether the server is OpenAI's own.
    #[must_use]
    pub fn is_openai(&self) -> bool {
        self.base.parse::<Uri>().is_ok_and(|uri| uri.host() == Some("api.openai.com"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_one_form() {
        for (text, base, model) in [
            ("http://localhost:8000", "http://localhost:8000/v1", None),
            ("http://localhost:8000/", "http://localhost:8000/v1", None),
            ("https://host/api/v3/#", "https://host/api/v3", None),
            ("http://[::1]:80/v1#Qwen/Qwen3-8B", "http://[::1]:80/v1", Some("Qwen/Qwen3-8B")),
            ("HTTP://host/v1#a#b", "HTTP://host/v1", Some("a#b")),
        ] {
            assert!(Address::is_one(text));
            let address = Address::parse(text).unwrap();
            assert_eq!((address.base(), address.model()), (base, model), "{text}");
        }
        for text in ["smollm2", "org/name", "/folder", "httpx", "http:/x"] {
            assert!(!Address::is_one(text), "{text}");
        }
        for text in ["http://", "http://:80", "http://a b", "ftp://host", "http://host/v1?key=secret"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
        for port in ["99999", "0", "65536", "x", "", "-1", "+80", "80:80", "8e3", "18446744073709551616"] {
            let address = format!("http://127.0.0.1:{port}/v1");
            assert!(Address::parse(&address).is_err(), "{address}");
        }
        let error = Address::parse("http://127.0.0.1:99999/v1").unwrap_err().to_string();
        assert!(error.contains("the port 99999, which is none of 1 to 65535"), "{error}");
        assert!(Address::parse("http://[::1]/v1").is_ok() && Address::parse("http://host:65535").is_ok());
        let error = Address::parse("http://me:secret@host/v1").unwrap_err().to_string();
        assert!(error.contains("environment") && !error.contains("secret"), "{error}");
    }
}
