//! One worker process.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use serde_json::Value;

/// The program that a worker runs.
const PROGRAM: &str = include_str!("worker.py");
/// The longest answer in bytes.
const MOST_BYTES: u64 = 64 << 20;
/// How long a worker's guard may take to end what the worker started.
const PATIENCE: Duration = Duration::from_secs(3);
/// How much of what a worker printed last is kept for the error it may end in.
const TAIL: usize = 2000;

/// A running worker; ended with all it started when dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// Questions wait here for a thread that writes them: a worker that does not read must not block its caller.
    questions: Sender<String>,
    answers: Receiver<String>,
    printed: Arc<Mutex<Vec<u8>>>,
    /// Closes once all that was printed is read.
    all_printed: Receiver<()>,
}

impl Process {
    /// Starts `python` and has it load what `first` says.
    ///
    /// # Errors
    /// Why it cannot, or what it said.
    pub(super) fn start(python: &Path, first: &Value, limit: Duration, log: &Path) -> Result<Self, String> {
        let log = match log.as_os_str().is_empty() {
            true => None,
            false => Some(
                OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(log)
                    .map_err(|error| format!("log {}: {error}", log.display()))?,
            ),
        };
        let mut command = Command::new(python);
        // A group of its own: Ctrl-C is for RELIGN, which ends its workers itself.
        command.arg("-c").arg(PROGRAM).arg(std::process::id().to_string()).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(command).map_err(|error| {
            format!("expected a Python at `{}` (RELIGN_PYTHON names another), got: {error}", python.display())
        })?;
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err("expected pipes to Python, got none".to_owned());
        };
        let printed = Arc::new(Mutex::new(Vec::new()));
        let (questions, asked) = channel();
        let (answered, answers) = channel();
        let tail = Arc::clone(&printed);
        let (printing, all_printed) = channel();
        let threads = Builder::new().spawn(move || send(stdin, &asked)).and_then(|_| {
            Builder::new().spawn(move || keep(stderr, &tail, log, printing))?;
            Builder::new().spawn(move || receive(BufReader::new(stdout), &answered))
        });
        let mut process = Self { child, questions, answers, printed, all_printed };
        threads.map_err(|error| format!("threads for Python: {error}"))?;
        let mut answer = process.ask(first, limit).map_err(|broken| format!("while loading: {broken}"))?;
        if let Some(Value::String(error)) = answer.get_mut("error").map(Value::take) {
            return Err(error);
        }
        Ok(process)
    }

    /// The answer to one question. After an error there is no further one.
    ///
    /// # Errors
    /// If the process ends, is silent for longer than `limit` or answers nonsense.
    pub(super) fn ask(&mut self, question: &impl Serialize, limit: Duration) -> Result<Value, String> {
        // Without its thread the process has ended, which shows below.
        let question = serde_json::to_string(question).map_err(|error| error.to_string())?;
        let _ = self.questions.send(question + "\n");
        let line = match self.answers.recv_timeout(limit) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => return Err(format!("expected an answer within {limit:?}, got none")),
            Err(RecvTimeoutError::Disconnected) => return Err(self.ended()),
        };
        serde_json::from_str(&line).map_err(|error| format!("expected a line of JSON from the worker ({error})"))
    }

    /// How the process ended.
    fn ended(&mut self) -> String {
        let until = Instant::now() + Duration::from_secs(2);
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break how(status),
                Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
                _ => break "it closed its pipe".to_owned(),
            }
        };
        // What it printed last comes by another pipe, which a process that it started may hold open.
        let _ = self.all_printed.recv_timeout(Duration::from_secs(1));
        let printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        let said = String::from_utf8_lossy(&printed);
        let said = said.trim();
        if said.is_empty() {
            format!("the process ended: {status}")
        } else {
            format!("the process ended: {status}; it printed: {said}")
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The child is a guard, which ends the worker and all that it started, also what left its group and session. It is
        // not waited for yet, so its number is nobody else's.
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(guard) = pid {
            let _ = kill_process(guard, Signal::TERM);
        }
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(2));
        }
        // Nothing where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn how(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// A command and where its child goes.
type Order = (Command, Sender<std::io::Result<Child>>);

/// Starts `command` from the one thread that starts all workers and never ends: the system ends a worker with the
/// thread that started it, which must not be one that comes and goes.
fn spawn(command: Command) -> std::io::Result<Child> {
    static STARTER: OnceLock<Mutex<Option<Sender<Order>>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (sender, orders) = channel::<Order>();
        let started = Builder::new().name("python".to_owned()).spawn(move || {
            for (mut command, child) in orders {
                let _ = child.send(command.spawn());
            }
        });
        Mutex::new(started.ok().map(|_| sender))
    });
    let (sender, child) = channel();
    let gone = || std::io::Error::other("no thread to start it from");
    let sent = match &*starter.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(starter) => starter.send((command, sender)).is_ok(),
        None => false,
    };
    if sent { child.recv().map_err(|_| gone())? } else { Err(gone()) }
}

fn send(mut stdin: ChildStdin, asked: &Receiver<String>) {
    for question in asked {
        if stdin.write_all(question.as_bytes()).and_then(|()| stdin.flush()).is_err() {
            return;
        }
    }
}

fn receive(mut stdout: impl BufRead, answered: &Sender<String>) {
    loop {
        let mut line = String::new();
        let read = (&mut stdout).take(MOST_BYTES).read_line(&mut line);
        if !matches!(read, Ok(1..)) || !line.ends_with('\n') || answered.send(line).is_err() {
            return;
        }
    }
}

/// Reads what a worker prints: the end is kept, all of it goes to the log.
fn keep(mut stderr: ChildStderr, tail: &Mutex<Vec<u8>>, mut log: Option<File>, printing: Sender<()>) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stderr.read(&mut buffer) {
        if let Some(file) = &mut log
            && file.write_all(&buffer[..read]).is_err()
        {
            log = None;
        }
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend_from_slice(&buffer[..read]);
        let surplus = tail.len().saturating_sub(TAIL);
        tail.drain(..surplus);
    }
    drop(printing);
}
