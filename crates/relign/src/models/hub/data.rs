//! Data sets: the files of one that are wanted.

use std::path::{Path, PathBuf};

use anyhow::Context;
use relign_tasks::data::{Fetched, HubId};

use super::cache::Repo;
use super::client::{Client, Refused};
use super::{Hub, Id, Kind};

use crate::console::note;

/// Which of a data set's files are wanted.
type Choose<'a> = &'a dyn Fn(&[String]) -> Result<Vec<String>, String>;

/// Fetches the files that `choose` picks.
///
/// # Errors
/// If there is no such data set, or it cannot be fetched.
pub(crate) fn fetch(id: &HubId, choose: Choose<'_>) -> Result<Fetched, String> {
    Hub::from_env().and_then(|hub| hub.fetch_data(id, choose)).map_err(|error| format!("{error:#}"))
}

impl Hub {
    /// Fetches what is missing of the chosen files. Where the hub cannot be reached, what was fetched
    /// before is taken as it is.
    pub(super) fn fetch_data(&self, id: &HubId, choose: Choose<'_>) -> anyhow::Result<Fetched> {
        let revision = id.revision.clone().unwrap_or_else(|| "main".to_owned());
        let id = Id { kind: Kind::Dataset, name: id.name.clone(), revision, file: None };
        let repo = Repo::new(&self.cache, id.kind, &id.name);
        if self.offline {
            return self
                .cached_data(&repo, &id, choose)
                .with_context(|| format!("data set {} without a network (HF_HUB_OFFLINE)", id.name));
        }
        let client = Client::new(self);
        let listing = match client.listing(&id) {
            Ok(listing) => listing,
            Err(Refused::Answer(error)) => return Err(error),
            Err(Refused::Unreachable(error)) => {
                let Ok(fetched) = self.cached_data(&repo, &id, choose) else { return Err(error) };
                note!("{error:#}; using what was fetched before");
                return Ok(fetched);
            }
        };
        let names: Vec<String> = listing.names().into_iter().map(str::to_owned).collect();
        let chosen = choose(&names).map_err(anyhow::Error::msg)?;
        let fetch = |name: String| Ok((name.clone(), client.fetch(&repo, &id, &listing.commit, &name)?));
        let files = chosen.into_iter().map(fetch).collect::<anyhow::Result<_>>()?;
        if id.revision != listing.commit {
            repo.set_ref(&id.revision, &listing.commit)?;
        }
        Ok(Fetched { commit: listing.commit, files })
    }

    /// The data set as an earlier fetch, ours or Python's, has left it.
    fn cached_data(&self, repo: &Repo, id: &Id, choose: Choose<'_>) -> anyhow::Result<Fetched> {
        let commit = repo.commit(&id.revision).with_context(|| {
            let cache = self.cache.display();
            format!("{cache} holds no revision {} of {}; fetch it once with a network", id.revision, id.name)
        })?;
        let snapshot = repo.snapshot(&commit);
        let mut names = Vec::new();
        list(&snapshot, &snapshot, &mut names).with_context(|| snapshot.display().to_string())?;
        names.sort();
        let chosen = choose(&names).map_err(anyhow::Error::msg)?;
        let files = chosen.into_iter().map(|name| (name.clone(), snapshot.join(&name))).collect();
        Ok(Fetched { commit, files })
    }
}

/// The paths of all files under `folder`, seen from `root`.
fn list(root: &Path, folder: &Path, names: &mut Vec<String>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path: PathBuf = entry?.path();
        if path.is_dir() {
            list(root, &path, names)?;
        } else if !path.is_file() {
            // A pipe or a device holds no rows, and reading it may never end.
        } else if let Ok(name) = path.strip_prefix(root) {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    Ok(())
}
