//! How long to wait before another try.

use std::time::{Duration, SystemTime};

use relign_core::Seed;

use crate::Options;

/// The wait before try `tries + 1`: the backoff, doubled for every try, between half and all of it as the
/// seed has it, so that requests which failed together do not come back together. What the server asked for is a
/// lower bound. `None` if it asks for more than the longest wait.
pub(super) fn wait(options: &Options, seed: Seed, tries: u32, asked: Option<Duration>) -> Option<Duration> {
    let doubled = options.backoff.saturating_mul(1_u32.checked_shl(tries - 1).unwrap_or(u32::MAX));
    let own = doubled.min(options.longest_wait).mul_f64(0.5 + 0.5 * seed.uniform(u64::from(tries)));
    match asked {
        Some(asked) if asked > options.longest_wait => None,
        Some(asked) => Some(asked.max(own)),
        None => Some(own),
    }
}

/// The wait that a `Retry-After` header asks for: seconds, or a date, which is counted from the server's own `Date` where
/// it tells it, for clocks differ.
pub(super) fn asked_for(header: Option<&str>, date: Option<&str>) -> Option<Duration> {
    let header = header?.trim();
    if let Ok(seconds) = header.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let until = httpdate::parse_http_date(header).ok()?;
    let now = date.and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or_else(SystemTime::now);
    Some(until.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_heed_the_server() {
        let options = Options::default();
        let seconds = |tries, asked: Option<&str>| {
            wait(&options, Seed(3), tries, asked_for(asked, Some("Wed, 21 Oct 2026 07:28:00 GMT")))
                .map(|wait| wait.as_secs_f64())
        };
        for (tries, most) in [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (30, 60.0), (200, 60.0)] {
            let own = seconds(tries, None).unwrap();
            assert!(own >= most / 2.0 && own <= most, "{tries}: {own}");
        }
        assert_ne!(wait(&options, Seed(3), 1, None), wait(&options, Seed(4), 1, None));
        assert_eq!(wait(&options, Seed(3), 1, None), wait(&options, Seed(3), 1, None));
        assert_eq!(seconds(1, Some(" 7 ")), Some(7.0));
        assert_eq!(seconds(1, Some("1.5")), Some(1.5));
        assert_eq!(seconds(1, Some("61")), None, "longer than the longest wait");
        assert_eq!(seconds(1, Some("Wed, 21 Oct 2026 07:28:12 GMT")), Some(12.0));
        assert_eq!(seconds(1, Some("Wed, 21 Oct 2026 09:28:12 GMT")), None, "longer than the longest wait");
        let past = asked_for(Some("Wed, 21 Oct 2015 07:28:12 GMT"), None);
        assert_eq!(past, Some(Duration::ZERO));
        for odd in ["Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026", "-1", "nan", "1e300", ""] {
            assert!(seconds(1, Some(odd)).is_some_and(|wait| wait <= 0.5), "{odd}");
        }
        assert!(seconds(5, Some("0")).unwrap() >= 4.0, "a lower bound");
    }
}
