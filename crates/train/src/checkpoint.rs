//! A run's checkpoint: a Hugging Face folder with the trainer's state beside the weights.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use relign_core::{Estimate, files};
use relign_model::{Checkpoint, Device, Kind, Tensor, Tokenizer, save_folder};
use serde::{Deserialize, Serialize};

use crate::{Manifest, TrainError, Trainer};

/// How far a run has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Tokens generated for training.
    pub tokens: u64,
    /// Optimizer steps taken.
    pub optimizer_steps: u64,
    /// The policy's version.
    pub version: u64,
    /// The last step after which held-out accuracy was measured on the way.
    pub measured: u64,
    /// Held-out accuracy before training.
    pub base: Option<Estimate>,
}

/// The checkpoint of a run's folder.
#[derive(Clone, Debug)]
pub struct Saved {
    folder: PathBuf,
}

const STATE: &str = "trainer.json";
const MOMENTS: &str = "optimizer.safetensors";

impl Saved {
    /// The checkpoint under `run`/checkpoints, there or not yet.
    #[must_use]
    pub fn of(run: &Path) -> Self {
        Self { folder: run.join("checkpoints") }
    }

    /// Where the newest checkpoint lies.
    #[must_use]
    pub fn last(&self) -> PathBuf {
        self.folder.join("last")
    }

    fn writing(&self) -> PathBuf {
        self.folder.join("last.writing")
    }

    fn previous(&self) -> PathBuf {
        self.folder.join("last.previous")
    }

    /// Saves weights, tokenizer and state, so that a kill at any moment leaves either this
    /// checkpoint or the one before.
    ///
    /// # Errors
    /// If the disk is full or the folder cannot be written; the checkpoint before is unharmed.
    pub fn save(&self, trainer: &Trainer, tokenizer: &Tokenizer, progress: &Progress) -> Result<(), TrainError> {
        let (writing, last, previous) = (self.writing(), self.last(), self.previous());
        self.recover()?;
        remove(&writing)?;
        let written = write(&writing, trainer, tokenizer, progress);
        if written.is_err() {
            // Half a checkpoint is worth nothing, and on a full disk its room is needed.
            let _ = fs::remove_dir_all(&writing);
            return written;
        }
        if last.exists() {
            fs::rename(&last, &previous).map_err(TrainError::io(&last))?;
        }
        fs::rename(&writing, &last).map_err(TrainError::io(&last))?;
        sync(&self.folder)?;
        remove(&previous)
    }

    /// Puts right what a kill in the middle of [`save`](Saved::save) left behind.
    fn recover(&self) -> Result<(), TrainError> {
        let (last, previous) = (self.last(), self.previous());
        if last.exists() {
            return remove(&previous);
        }
        // Killed between the two renames: the new folder is whole, since its manifest comes last.
        for candidate in [self.writing(), previous] {
            if candidate.join(Manifest::FILE).exists() {
                return fs::rename(&candidate, &last).map_err(TrainError::io(&last));
            }
        }
        Ok(())
    }

    /// The progress of the newest checkpoint, if there is one.
    ///
    /// # Errors
    /// If it cannot be read or understood.
    pub fn progress(&self) -> Result<Option<Progress>, TrainError> {
        self.recover()?;
        let (path, last) = (self.last().join(STATE), self.last());
        if !last.exists() {
            return Ok(None);
        }
        Manifest::required(&last)?.verify(&last, |name| name == STATE)?;
        let text = files::read_to_string(&path).map_err(TrainError::io(&path))?;
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| TrainError::Checkpoint { path, what: format!("expected a trainer's state, got {error}") })
    }

    /// Puts the newest checkpoint's weights and state into `trainer`.
    ///
    /// # Errors
    /// If the checkpoint does not belong to this model or is damaged.
    pub fn restore(&self, trainer: &mut Trainer, progress: &Progress) -> Result<(), TrainError> {
        let path = self.last();
        Manifest::required(&path)?.verify(&path, |_| true)?;
        let wrong = |what: String| TrainError::Checkpoint { path: path.clone(), what };
        let checkpoint = Checkpoint::open(&path).map_err(|e| wrong(e.to_string()))?;
        let (policy, optimizer) = trainer.parts_mut();
        policy.restore(&checkpoint).map_err(|e| wrong(e.to_string()))?;
        policy.set_version(progress.version);
        optimizer.set_taken(progress.optimizer_steps);
        let moments = path.join(MOMENTS);
        let mut stored: std::collections::BTreeMap<String, Tensor> = Tensor::read_safetensors(&moments)
            .map_err(|e| TrainError::Checkpoint { path: moments.clone(), what: e.to_string() })?
            .into_iter()
            .collect();
        for (name, mut state) in optimizer.state(policy) {
            let loaded = stored.remove(&name).ok_or_else(|| TrainError::Checkpoint {
                path: moments.clone(),
                what: format!("`{name}` is missing"),
            })?;
            if loaded.size() != state.size() {
                let what = format!("`{name}`: expected shape {:?}, got {:?}", state.size(), loaded.size());
                return Err(TrainError::Checkpoint { path: moments, what });
            }
            state.copy_(&loaded);
        }
        Ok(())
    }
}

fn write(dir: &Path, trainer: &Trainer, tokenizer: &Tokenizer, progress: &Progress) -> Result<(), TrainError> {
    fs::create_dir_all(dir).map_err(TrainError::io(dir))?;
    let policy = trainer.policy();
    save_folder(dir, policy.config(), policy.named(), tokenizer, Kind::Float)
        .map_err(|e| TrainError::Checkpoint { path: dir.to_owned(), what: e.to_string() })?;
    let moments = dir.join(MOMENTS);
    let state = trainer.optimizer().state(policy);
    let state: Vec<_> = state.into_iter().map(|(name, tensor)| (name, tensor.to_device(Device::Cpu))).collect();
    Tensor::write_safetensors(&state, &moments)
        .map_err(|e| TrainError::Checkpoint { path: moments.clone(), what: e.to_string() })?;
    sync(&moments)?;
    let path = dir.join(STATE);
    let text = serde_json::to_string_pretty(progress).expect("plain numbers");
    fs::write(&path, text + "\n").map_err(TrainError::io(&path))?;
    sync(&path)?;
    sync(dir)?;
    // The manifest says that all else is there, so it must appear last and in one go.
    let (path, manifest) = (dir.join(Manifest::FILE), Manifest::of(dir)?);
    let text = serde_json::to_string_pretty(&manifest).expect("names and hashes");
    files::write(&path, text + "\n").map_err(TrainError::io(&path))?;
    sync(dir)
}

fn sync(path: &Path) -> Result<(), TrainError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(TrainError::io(path))
}

fn remove(path: &Path) -> Result<(), TrainError> {
    if path.exists() { fs::remove_dir_all(path).map_err(TrainError::io(path)) } else { Ok(()) }
}
