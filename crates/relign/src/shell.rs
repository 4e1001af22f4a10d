//! Commands for people to copy into a shell.

use std::path::Path;

/// `relign` with `words`, each quoted where a shell would read it otherwise.
pub(crate) fn command(words: &[impl AsRef<str>]) -> String {
    words.iter().fold("relign".to_owned(), |line, word| line + " " + &quoted(word.as_ref()))
}

/// A word as a POSIX shell reads it. Controls would not survive a terminal, so `printf` makes them.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=+@%".contains(c);
    let acts = |c: char| relign_core::is_control(c) && !matches!(c, '\n' | '\t');
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    if !word.contains(acts) {
        return format!("'{}'", word.replace('\'', "'\\''"));
    }
    let mut out = "\"$(printf '".to_owned();
    for c in word.chars() {
        match c {
            '%' => out += "%%",
            '\\' => out += "\\\\",
            c if c == '\'' || acts(c) => {
                c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| out += &format!("\\{byte:03o}"));
            }
            c => out.push(c),
        }
    }
    out + "')\""
}

/// A file's name as a word of a command that no option is mistaken for.
pub(crate) fn file_word(path: &Path) -> String {
    let name = path.display().to_string();
    if name.starts_with('-') { format!("./{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_every_word_as_it_was() {
        for word in [
            "plain-word_1.5/x",
            "",
            "a b",
            "it's",
            "$HOME `id` $(id) \"x\" \\ !",
            "*?[a]~#;&|<>(){}",
            "é 'ü'",
            "a\nb\tc",
            "\u{1b}]52;c;eA\u{7}'\\",
            "\u{202e}x",
            "sampling.stop=[\"x y\", 'z']",
            "-n",
            "=x",
        ] {
            let line = format!("printf '%s|' {}", quoted(word));
            assert_eq!(crate::console::visible(&line), line);
            let output = std::process::Command::new("sh").arg("-c").arg(&line).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{word}|"), "{line}");
        }
        assert_eq!(
            command(&["train", "a b.toml", "--set", "run.steps=5"]),
            "relign train 'a b.toml' --set run.steps=5"
        );
        assert_eq!(file_word(Path::new("-x")), "./-x");
    }
}
