//! What else could have been said, as a server tells it.

use relign_core::Odds;
use relign_http::short;
use serde_json::Value;

use super::answer::entries;

/// The odds at each of `tokens`, whose log-probabilities under the model's own distribution are `logprobs`; `is_whole`
/// where that is the one sampled from. Empty unless the server tells alternatives, with their ids, at every token.
///
/// # Errors
/// The place in the answer, what was expected there and what was got.
pub(super) fn read(
    choice: &Value,
    tokens: &[u32],
    logprobs: &[f32],
    top: usize,
    is_whole: bool,
) -> Result<Vec<Odds>, String> {
    let (path, lists): (&str, Vec<Option<&Value>>) = if let Some(entries) = entries(choice) {
        ("content", entries.iter().map(|entry| entry.get("top_logprobs")).collect())
    } else if let Some(lists) = choice.pointer("/logprobs/top_logprobs").and_then(Value::as_array) {
        ("top_logprobs", lists.iter().map(Some).collect())
    } else {
        return Ok(Vec::new());
    };
    if lists.len() != tokens.len() {
        return Ok(Vec::new());
    }
    let mut all = Vec::with_capacity(tokens.len());
    for (at, ((list, &token), &logprob)) in lists.into_iter().zip(tokens).zip(logprobs).enumerate() {
        let place = format!("choices[0].logprobs.{path}[{at}]");
        let mut model = match list {
            Some(Value::Array(list)) => {
                list.iter().map(|entry| of_entry(entry, &place)).collect::<Result<Vec<_>, _>>()?
            }
            Some(Value::Object(map)) => map
                .iter()
                .map(|(name, logprob)| pair(id_in(name), Some(logprob), name, &place))
                .collect::<Result<_, _>>()?,
            _ => return Ok(Vec::new()),
        };
        model.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let rank = model.iter().position(|&(id, _)| id == token).map(|place| place + 1);
        model.truncate(top);
        let sampler = if is_whole { model.clone() } else { Vec::new() };
        all.push(Odds { logprob, rank, model, sampler });
    }
    Ok(all)
}

/// The odds of the prompt's `tokens` from `from` on, at the earliest the second, each with `top` alternatives.
///
/// # Errors
/// The place in the answer, what was expected there and what was got.
pub(super) fn of_prompt(answer: &Value, tokens: &[u32], from: usize, top: usize) -> Result<Vec<Odds>, String> {
    const PLACE: &str = "choices[0].prompt_logprobs";
    let told = answer.pointer("/choices/0/prompt_logprobs").unwrap_or(&Value::Null);
    let list = told.as_array().filter(|list| list.len() == tokens.len());
    let list = list.ok_or_else(|| {
        format!("{PLACE}: expected a list with an entry for each of {} tokens, got {}", tokens.len(), short(told))
    })?;
    let scored = tokens.iter().zip(list).enumerate().skip(from.max(1));
    scored
        .map(|(at, (&token, entry))| {
            let place = format!("{PLACE}[{at}]");
            let wrong = || format!("{place}: expected the log-probability of token {token}, got {}", short(entry));
            let map = entry.as_object().ok_or_else(wrong)?;
            let pairs = map.iter().map(|(id, said)| pair(id.parse().ok(), said.get("logprob"), id, &place));
            let mut model = pairs.collect::<Result<Vec<_>, _>>()?;
            let own = map.get(&token.to_string()).ok_or_else(wrong)?;
            let logprob = model.iter().find(|(id, _)| *id == token).ok_or_else(wrong)?.1;
            let rank = own.get("rank").and_then(Value::as_u64).map(|rank| rank as usize);
            model.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            model.truncate(top);
            Ok(Odds { logprob, rank, model, sampler: Vec::new() })
        })
        .collect()
}

fn of_entry(entry: &Value, place: &str) -> Result<(u32, f32), String> {
    let told = entry.get("id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
    let id = told.or_else(|| id_in(entry.get("token")?.as_str()?));
    pair(id, entry.get("logprob"), &short(entry), place)
}

fn pair(id: Option<u32>, logprob: Option<&Value>, got: &str, place: &str) -> Result<(u32, f32), String> {
    let number = logprob.and_then(Value::as_f64).map(|number| number as f32).filter(|number| !number.is_nan());
    id.zip(number).ok_or_else(|| format!("{place}: expected a token's id and its log-probability, got {got}"))
}

/// The id in vLLM's `token_id:ID`.
fn id_in(token: &str) -> Option<u32> {
    token.strip_prefix("token_id:")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_odds_of_given_tokens_are_read() {
        let said = |logprob: f64, rank: u64| json!({"logprob": logprob, "rank": rank, "decoded_token": "x"});
        let answer = json!({"choices": [{"prompt_logprobs": [null, {"7": said(-3.0, 9), "5": said(-0.5, 1)},
            {"8": said(-0.25, 1)}]}]});
        let odds = of_prompt(&answer, &[4, 7, 8], 0, 1).unwrap();
        assert_eq!((odds[0].logprob, odds[0].rank, &odds[0].model[..]), (-3.0, Some(9), &[(5, -0.5)][..]));
        assert_eq!((odds.len(), odds[1].logprob, odds[1].rank), (2, -0.25, Some(1)));
        assert_eq!(of_prompt(&answer, &[4, 7, 8], 2, 0).unwrap()[0].model, []);
        for (tokens, said) in
            [(&[4, 6, 8][..], "[1]: expected the log-probability of token 6"), (&[4], "each of 1 tokens")]
        {
            let error = of_prompt(&answer, tokens, 1, 0).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        assert!(of_prompt(&json!({"choices": [{}]}), &[4], 0, 0).unwrap_err().ends_with("got null"));
    }

    #[test]
    fn each_servers_alternatives_are_read() {
        // vLLM's completions with `return_tokens_as_token_ids`; the token sampled comes beside the most likely.
        let vllm = json!({"logprobs": {"top_logprobs": [{"token_id:9": -3.0, "token_id:5": -0.5, "token_id:6": -1.0},
            {"token_id:7": -0.25, "token_id:5": -2.0}]}});
        let odds = read(&vllm, &[9, 7], &[-3.0, -0.25], 2, true).unwrap();
        assert_eq!((odds[0].rank, odds[0].logprob, &odds[0].model[..]), (Some(3), -3.0, &[(5, -0.5), (6, -1.0)][..]));
        assert_eq!((odds[1].rank, &odds[1].sampler), (Some(1), &vec![(7, -0.25), (5, -2.0)]));
        // llama.cpp's, and a chat's.
        let entry = |id: u64, logprob: f64| json!({"id": id, "token": "x", "logprob": logprob});
        let llama = json!({"logprobs": {"content": [{"id": 3, "logprob": -4.0,
            "top_logprobs": [entry(1, -0.5), entry(2, -1.5)]}]}});
        let odds = read(&llama, &[3], &[-4.0], 5, false).unwrap();
        assert_eq!((odds[0].rank, odds[0].model.len(), odds[0].sampler.len()), (None, 2, 0));
        let chat = json!({"logprobs": {"content": [{"token": "token_id:4", "logprob": -0.5,
            "top_logprobs": [{"token": "token_id:4", "logprob": -0.5}]}]}});
        assert_eq!(read(&chat, &[4], &[-0.5], 1, true).unwrap()[0].model, [(4, -0.5)]);
        // Fewer than there are tokens: nothing is known.
        assert!(read(&chat, &[4, 4], &[-0.5, -0.5], 1, true).unwrap().is_empty());
        let nameless = json!({"logprobs": {"top_logprobs": [{" the": -0.5}]}});
        let error = read(&nameless, &[1], &[-0.5], 1, true).unwrap_err();
        assert_eq!(
            error,
            "choices[0].logprobs.top_logprobs[0]: expected a token's id and its log-probability, got  the"
        );
    }
}
