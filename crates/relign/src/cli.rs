//! The command line: what can be said, and what becomes of it.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands;
use crate::console::{self, note};
use crate::usage::Usage;

/// Reads the arguments, runs the command and says what went wrong.
pub(crate) fn main() -> ExitCode {
    relign_tasks::data::set_hub(Box::new(crate::models::hub::fetch_data));
    // Exits with 2 and an explanation where the call is wrong, in colours unless it repeats what would act on a terminal.
    let cli = Cli::try_parse().unwrap_or_else(|error| {
        if std::env::args_os().any(|word| word.to_string_lossy().contains(relign_core::is_control)) {
            note!("{error}");
            std::process::exit(error.exit_code());
        }
        error.exit()
    });
    let json = cli.json;
    // What has no line break at its end is still to be written, and may fail to be.
    let outcome = console::within_memory(|| cli.command.run(json));
    let outcome = outcome.and_then(|()| Ok(std::io::Write::flush(&mut console::Out)?));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if console::is_reader_gone(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let usage = error.is::<Usage>() || error.is::<relign_core::ConfigError>();
            note!("error: {error:#}");
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}

/// Trains language models to reason, asks them and measures them.
#[derive(Debug, Parser)]
#[command(name = "relign", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = "Start here:
  relign doctor                           what this machine has, and what is wrong
  relign train recipes/quickstart.toml    a small model learns arithmetic before your eyes
  relign list                             everything a recipe can name
  relign explain grpo                     its manual and its settings

Exit status: 0 done, 1 it failed, 2 the call or the recipe is wrong.")]
pub(crate) struct Cli {
    /// Print one JSON object a line on stdout, the summary last; messages go to stderr
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// RELIGN's side of the benches
    #[command(hide = true, subcommand)]
    Measure(commands::measure::Measure),
    /// Train a model on a recipe
    #[command(after_help = "Examples:
  relign train recipes/quickstart.toml
  relign train recipes/quickstart.toml --set seed=2 --set run.steps=20 --out runs/short
  relign train recipes/quickstart.toml --resume     go on after an interruption
  relign train recipes/quickstart.toml --dry-run    what would run, and the memory it needs

Ctrl-C saves and ends; a second one ends at once.")]
    Train {
        /// The recipe, a TOML file; `relign explain recipe` shows what it can hold
        recipe: std::path::PathBuf,
        /// The run's folder [default: runs/NAME-SEED]
        #[arg(long, value_name = "DIR")]
        out: Option<std::path::PathBuf>,
        /// Change a setting of the recipe, in TOML's words: run.steps=20
        #[arg(long = "set", value_name = "A.B=C")]
        sets: Vec<String>,
        /// Go on with the run in the folder; `run.steps` may be more than it was
        #[arg(long)]
        resume: bool,
        /// Say what would run and how much memory it needs, and stop
        #[arg(long)]
        dry_run: bool,
    },
    /// Continue prompts
    #[command(after_help = "Examples:
  relign generate --model smollm2 --prompt 'What is 17 + 25?'
  relign generate --model runs/quickstart-1 --prompt 'What is 17 + 25?' -n 8 --temperature 1 --json
  relign generate --model smollm2 --file prompts.jsonl --json > answers.jsonl
  relign generate --model smollm2 --prompt 'Name a city.' --temperature 1 --top-p 0.9 --stop .
  relign generate --model smollm2 --prompt 'A person, as JSON.' --json-schema person.schema.json
  relign generate --model smollm2 --prompt 'What is 2 + 3?' --score ' 5' --logprobs 3 --json

A line of the file is {\"prompt\": \"...\"} or {\"messages\": [{\"role\": \"user\", \"content\": \"...\"}]};
with \"score\": \"...\" beside it, that answer is scored and none is sampled.

A file or a pipe gets the model's text as it is; a terminal gets control characters spelled (\\u{1b}).")]
    Generate(commands::generate::Asked),
    /// Talk with a model
    #[command(after_help = "Examples:
  relign chat smollm2
  relign chat runs/quickstart-1 --system 'Answer with one number.'
  printf 'Hello\\nAnd now in French.\\n' | relign chat smollm2 --json")]
    Chat(commands::chat::Asked),
    /// Measure a model on benchmarks or on a task: figures with their 95 % intervals
    #[command(after_help = "Examples:
  relign eval smollm2 --benchmark gsm8k --limit 200 --out results/smollm2
  relign eval smollm2 --suite quick --out results/smollm2       killed, it goes on where it was
  relign eval smollm2 --task arithmetic --limit 200
  relign eval runs/quickstart-1                     the task it was trained on
  relign eval smollm2 --task arithmetic --set level=2 --samples 4 --temperature 1 --json
  relign eval smollm2 --task gsm8k --set path=data/gsm8k --out results/gsm8k
  relign eval http://localhost:8000/v1 --task arithmetic      any OpenAI-compatible server")]
    Eval(commands::eval::Asked),
    /// Spend more computation on each task: strategies such as best_of_n, self_consistency, beam and mcts
    #[command(after_help = "Examples:
  relign search --task gsm8k --strategy 'self_consistency(n=16)' --model qwen --limit 50
  relign search --task gsm8k --strategy 'mcts(simulations=32)' --budget 4096 --model qwen --out runs/mcts
  relign search compare --task gsm8k --strategies greedy,beam,mcts --budgets 1024,4096 --model qwen

Killed, the same call with --out goes on where it was. `relign tree` shows what grew.")]
    Search(Box<commands::search::Asked>),
    /// Judge an answer against the right one, by exact mathematics
    #[command(after_help = "Examples:
  relign verify '\\frac{1}{2}' 'So it is $0.5$.'
  relign verify '(3,4]' '[3,4]' --json
  relign verify --policy gsm8k 18 'She makes 18 dollars.'
  relign verify --file answers.tsv --json     columns named gold and pred, separated by tabs

Policies (where the answer stands, what its spelling means):
  latex          competition mathematics in LaTeX or plain text; the default
  gsm8k          word problems: units and percent signs mean nothing
  aime           whole numbers: no answer in rounded decimals
  number         the last number of the text
  boxed          only what stands in \\boxed{}
  choice         the letter of a multiple-choice answer
  bare           the whole text is the answer
  decimal_comma  3,14 is a decimal fraction, 1.234 a thousand

The exit status says whether judging worked, not what the verdicts are.")]
    Verify(commands::verify::Asked),
    /// Run a program that nobody trusts: isolated, within limits of time, memory and output
    #[command(after_help = "Examples:
  relign sandbox solution.py < input.txt
  relign sandbox main.rs --cpu-seconds 2 --json
  relign sandbox answer.txt --lang python

Standard input passes through. The program sees no network, no home folder and an empty /tmp. Exit
status 0 if it ended with 0, else 1.")]
    Sandbox(commands::sandbox::Asked),
    /// List everything a recipe can name, or one kind of it
    #[command(after_help = "Examples:
  relign list
  relign list tasks       the environments
  relign list rewards --json")]
    List(commands::list::Asked),
    /// Look at tasks: what is asked, the gold answer, the score of a solution
    #[command(subcommand)]
    Tasks(commands::tasks::Asked),
    /// Compare the results of a base model and of what was made of it
    #[command(after_help = "Examples:
  relign eval smollm2 --suite quick --out results/base
  relign eval runs/quickstart-1 --suite quick --out results/tuned
  relign compare results/base results/tuned
  relign compare results/base results/tuned results/other --out report      HTML, Markdown and JSON")]
    Compare(commands::compare::Asked),
    /// Build a static site from the results in a folder
    #[command(after_help = "Example:
  relign leaderboard results --out site      site/index.html, data.json and a page for each row")]
    Leaderboard(commands::leaderboard::Asked),
    /// Look for a benchmark's items in training data
    #[command(after_help = "Examples:
  relign contamination train.jsonl --against gsm8k
  relign contamination train.json more.txt --against math500.jsonl,gsm8k --json")]
    Contamination(commands::contamination::Asked),
    /// Benchmarks: list, check, start one of your own
    #[command(after_help = "Examples:
  relign benchmark list
  relign benchmark new mine.toml
  relign benchmark show mine.toml       with all defaults, and its hash
  relign eval smollm2 --benchmark mine.toml --out results")]
    Benchmark {
        #[command(subcommand)]
        what: commands::benchmark::Asked,
    },
    /// Show the manual and the settings of one thing
    #[command(after_help = "Examples:
  relign explain grpo
  relign explain recipe        the sections of a recipe and their settings
  relign explain environment:arithmetic     where a name is taken twice")]
    Explain {
        /// A name from `relign list`, `recipe`, or a section of a recipe
        name: String,
    },
    /// Fetch a model once, for later use without a network
    #[command(after_help = "Examples:
  relign pull smollm2
  relign pull HuggingFaceTB/SmolLM2-135M-Instruct
  relign pull org/name@v1.0             a branch, a tag or a commit
  relign pull org/name:model-Q8_0.gguf  one GGUF file of a repository

Models of the hub lie where Python's huggingface_hub keeps them: HF_HOME, HF_HUB_CACHE, HF_TOKEN,
HF_ENDPOINT and HF_HUB_OFFLINE mean what they mean there. Built-in models lie in
~/.cache/relign/models, or where RELIGN_MODELS says.")]
    Pull {
        /// A built-in name or a hub id
        model: String,
    },
    /// Write a model in another format: GGUF or a Hugging Face folder
    #[command(after_help = "Examples:
  relign convert runs/quickstart-1 --out trained.gguf --type q8_0     for llama.cpp
  relign convert smollm2 --out smollm2-folder --type bf16             for transformers
  relign convert my-adapter --base smollm2 --out merged               a PEFT adapter, merged

OUT is a GGUF file where it ends in .gguf, else a Hugging Face folder. Nothing is overwritten.")]
    Convert(commands::convert::Asked),
    /// Write a run's model with its card, ready to be published: a Hugging Face folder
    #[command(after_help = "Examples:
  relign export runs/quickstart-1 quickstart
  relign compare results/base results/tuned --out report
  relign export runs/quickstart-1 quickstart --report report/compare.json --type bf16
  relign contamination train.jsonl --against gsm8k --json > found.jsonl
  relign export runs/quickstart-1 quickstart --contamination found.jsonl

DIR holds safetensors, tokenizer, configuration, the run's curve, and README.md: the card, with the recipe,
hashes of the data, held-out accuracy before and after, the report's uplift and what it does not show.
transformers and every command of relign load it.")]
    Export(commands::export::Asked),
    /// Look at this machine, or at a server: what was found, what is wrong, what to do
    #[command(after_help = "Examples:
  relign doctor
  relign doctor model.gguf                    what of it fits: sequences, lengths, training
  relign doctor http://localhost:8000/v1      does it answer, does it tell token ids?")]
    Doctor(commands::doctor::Asked),
    /// Show trees: those of a run, of an evaluation, of a search
    #[command(after_help = "Examples:
  relign tree runs/quickstart-1/trees.jsonl.zst
  relign tree runs/quickstart-1/trees.jsonl.zst --html trees.html     a page to look around in")]
    Tree(commands::tree::Asked),
    /// Show a conversation as a model will see it: the prompt of its chat template, and its tokens
    #[command(after_help = "Examples:
  relign render smollm2 --task gsm8k
  relign render qwen --messages chat.json --chat-template-kwargs '{\"enable_thinking\": false}' --json")]
    Render(commands::render::Asked),
    /// Print a script that completes relign's commands in a shell
    #[command(after_help = "Example:
  relign completions bash > ~/.local/share/bash-completion/completions/relign")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the JSON schema of recipes, for editors
    Schema,
}

impl Command {
    fn run(self, json: bool) -> anyhow::Result<()> {
        match self {
            Self::Measure(what) => commands::measure::run(&what),
            Self::Train { recipe, out, sets, resume, dry_run } => {
                commands::train::run(&commands::train::Asked { recipe, out, sets, resume, dry_run, json })
            }
            Self::Generate(asked) => commands::generate::run(&asked, json),
            Self::Chat(asked) => commands::chat::run(&asked, json),
            Self::Eval(asked) => commands::eval::run(&asked, json),
            Self::Search(asked) => commands::search::run(&asked, json),
            Self::Verify(asked) => commands::verify::run(&asked, json),
            Self::Sandbox(asked) => commands::sandbox::run(&asked, json),
            Self::List(asked) => commands::list::run(&asked, json),
            Self::Tasks(asked) => commands::tasks::run(&asked, json),
            Self::Compare(asked) => commands::compare::run(&asked, json),
            Self::Leaderboard(asked) => commands::leaderboard::run(&asked, json),
            Self::Contamination(asked) => commands::contamination::run(&asked, json),
            Self::Benchmark { what } => commands::benchmark::run(&what, json),
            Self::Explain { name } => commands::explain::run(&name, json),
            Self::Pull { model } => commands::pull::run(&model, json),
            Self::Convert(asked) => commands::convert::run(&asked, json),
            Self::Export(asked) => commands::export::run(&asked, json),
            Self::Doctor(asked) => commands::doctor::run(&asked, json),
            Self::Tree(asked) => commands::tree::run(&asked, json),
            Self::Render(asked) => commands::render::run(&asked, json),
            Self::Completions { shell } => commands::completions::run(shell),
            Self::Schema => commands::completions::schema(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::any::TypeId;

    use clap::error::ErrorKind;
    use clap::{Command, CommandFactory};

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }

    /// Flags that cost nothing however large they are: what only cuts off, indices, seeds, bounds that are never reached.
    const FREE: &[&str] =
        &["seed", "flips", "show", "from", "index", "logprobs", "top_k", "limit", "prompt_budget", "n"];

    fn counts(command: &Command, path: &[String], found: &mut Vec<(Vec<String>, String)>) {
        for argument in command.get_arguments() {
            let kind = argument.get_value_parser().type_id();
            let number = [TypeId::of::<u64>(), TypeId::of::<usize>(), TypeId::of::<u32>()].iter().any(|id| kind == *id);
            let flag = argument.get_long().map(|long| format!("--{long}"));
            if let (true, Some(flag)) = (number, flag.or_else(|| argument.get_short().map(|short| format!("-{short}"))))
            {
                // `-n` of `tasks show` and `--limit` of `tree` stream; elsewhere both are counts.
                let streams = matches!(path, [.., last] if last == "show" || last == "tree");
                let name = argument.get_id().as_str();
                if !FREE.contains(&name) || (matches!(name, "n" | "limit") && !streams) {
                    found.push((path.to_vec(), flag));
                }
            }
        }
        for sub in command.get_subcommands() {
            counts(sub, &[path, &[sub.get_name().to_owned()]].concat(), found);
        }
    }

    #[test]
    fn every_count_on_the_command_line_is_bounded() {
        let mut found = Vec::new();
        counts(&super::Cli::command(), &[], &mut found);
        let flags: Vec<&str> = found.iter().map(|(_, flag)| flag.as_str()).collect();
        for flag in ["-n", "--samples", "--limit", "--max-tokens", "--concurrency", "--budget", "--at-once"] {
            assert!(flags.contains(&flag), "{flag}: {flags:?}");
        }
        for (path, flag) in found {
            for given in ["1000000000000", "18446744073709551615"] {
                let words = [&["relign".to_owned()], &path[..], &[flag.clone(), given.to_owned()]].concat();
                let error = super::Cli::command().try_get_matches_from(&words).expect_err(&words.join(" "));
                assert_eq!(error.kind(), ErrorKind::ValueValidation, "{words:?}: {error}");
                let text = error.to_string();
                assert!(text.contains(given) && text.contains(&flag), "{text}");
            }
        }
    }
}
