//! Memory that could not be had.

use tch::TchError;

/// What libtorch's message says of memory that it could not get, in words; `None` if it is about something else. libtorch
/// adds a C++ trace, which helps nobody who runs out of memory.
#[must_use]
pub fn out_of_memory(message: &str) -> Option<String> {
    let number = |text: &str| {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u64>().ok()
    };
    if let Some((_, size)) = message.split_once("you tried to allocate ") {
        let bytes = number(size)?;
        return Some(format!("out of memory: asked for {} ({bytes} bytes)", human(bytes)));
    }
    if let Some((_, size)) = message.split_once("CUDA out of memory. Tried to allocate ") {
        let size = size.split(['.', '\n']).next().unwrap_or_default();
        return Some(format!("out of memory on the GPU: asked for {size}"));
    }
    // Sizes that no address has, before anything is asked for.
    message.contains("Storage size calculation overflowed").then(|| {
        let sizes = message.split_once("sizes=").map_or("", |(_, sizes)| sizes);
        let sizes = sizes.split_once(']').map_or(String::new(), |(sizes, _)| format!(" of shape {sizes}]"));
        format!("out of memory: asked for a tensor{sizes}")
    })
}

/// The same of an error, or its first line.
pub(crate) fn message_of(error: &TchError) -> String {
    let text = error.to_string();
    out_of_memory(&text).unwrap_or_else(|| text.lines().next().unwrap_or_default().to_owned())
}

/// The same of a panic, which is how libtorch's wrapper reports failures.
#[must_use]
pub fn of_panic(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    let text = text.unwrap_or("unknown failure");
    out_of_memory(text).unwrap_or_else(|| text.lines().next().unwrap_or_default().to_owned())
}

fn human(bytes: u64) -> String {
    match bytes {
        1_000_000_000.. => format!("{:.1} GB", bytes as f64 / 1e9),
        1_000_000.. => format!("{:.0} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} kB", bytes as f64 / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    #[test]
    fn what_was_asked_for_is_said() {
        for (message, expected) in [
            (
                "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to \
                 allocate 4000000000 bytes. Error code 12 (Cannot allocate memory)\nframe #0: c10::...",
                Some("out of memory: asked for 4.0 GB (4000000000 bytes)"),
            ),
            (
                "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has ...",
                Some("out of memory on the GPU: asked for 20"),
            ),
            ("The size of tensor a (3) must match the size of tensor b (4)", None),
            ("", None),
        ] {
            let got = out_of_memory(message);
            assert_eq!(got.is_some(), expected.is_some(), "{message}: {got:?}");
            assert!(got.unwrap_or_default().starts_with(expected.unwrap_or_default()), "{message}");
        }
    }

    /// The words are libtorch's, which another version may change.
    #[test]
    fn libtorchs_own_words_are_known() {
        for size in [1_i64 << 46, i64::MAX / 2] {
            let error = Tensor::f_empty([size], (Kind::Float, Device::Cpu)).unwrap_err();
            assert!(message_of(&error).starts_with("out of memory: asked for "), "{size}: {error}");
        }
    }
}
