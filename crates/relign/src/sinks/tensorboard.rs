//! TensorBoard's event files: TFRecords (length, masked CRC-32C, data, masked CRC-32C) of `Event`
//! protocol buffers. Of those RELIGN needs four fields, so they are written by hand.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use relign_core::{Event, Sink};
use serde_json::Value;

/// Writes one event file.
pub(crate) struct TensorBoard {
    file: File,
}

impl TensorBoard {
    /// A new event file in `folder`; with `step` above 0 it goes on after that step and TensorBoard
    /// forgets what older files say about later ones.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub(crate) fn create(folder: &Path, step: u64) -> io::Result<Self> {
        let nanos = now().as_nanos();
        // TensorBoard reads files in the order of their names, which must hold `tfevents`.
        let path = folder.join(format!("events.out.tfevents.{nanos:020}.relign"));
        let file = File::create(&path).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
        let mut board = Self { file };
        board.record(0, |event| bytes(event, 3, b"brain.Event:2"))?;
        if step > 0 {
            // Event.session_log = 7 { status = 1: START }
            board.record(step + 1, |event| bytes(event, 7, &[0x08, 0x01]))?;
        }
        Ok(board)
    }

    fn record(&mut self, step: u64, what: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut event = Vec::new();
        event.push(0x09); // Event.wall_time = 1, double
        event.extend(now().as_secs_f64().to_le_bytes());
        event.push(0x10); // Event.step = 2, varint
        varint(&mut event, step);
        what(&mut event);
        let length = (event.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(event.len() + 16);
        record.extend(length);
        record.extend(masked_crc(&length).to_le_bytes());
        record.extend(&event);
        record.extend(masked_crc(&event).to_le_bytes());
        self.file.write_all(&record)
    }

    fn scalars(&mut self, step: u64, values: &[(String, f64)]) -> io::Result<()> {
        self.record(step, |event| {
            let mut summary = Vec::new();
            for (tag, value) in values {
                let mut entry = Vec::new();
                bytes(&mut entry, 1, tag.as_bytes()); // Value.tag = 1
                entry.push(0x15); // Value.simple_value = 2, float
                entry.extend((*value as f32).to_le_bytes());
                bytes(&mut summary, 1, &entry); // Summary.value = 1
            }
            bytes(event, 5, &summary); // Event.summary = 5
        })
    }
}

impl Sink for TensorBoard {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        match event {
            Event::Step { metrics, timings } => {
                let mut values = Vec::new();
                flatten("", &serde_json::to_value(metrics)?, &mut values);
                flatten("timings", &serde_json::to_value(timings)?, &mut values);
                values.retain(|(tag, _)| tag != "step" && tag != "timings/step");
                self.scalars(metrics.step, &values)
            }
            Event::Evaluated { step, accuracy } => {
                let mut values = Vec::new();
                flatten("heldout", &serde_json::to_value(accuracy)?, &mut values);
                self.scalars(*step, &values)
            }
            _ => Ok(()),
        }
    }
}

/// Every number in `value`, named by its path.
fn flatten(path: &str, value: &Value, into: &mut Vec<(String, f64)>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                flatten(&if path.is_empty() { key.clone() } else { format!("{path}/{key}") }, value, into);
            }
        }
        Value::Number(number) => into.extend(number.as_f64().map(|number| (path.to_owned(), number))),
        _ => {}
    }
}

fn now() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A field of length-delimited bytes.
fn bytes(into: &mut Vec<u8>, field: u8, content: &[u8]) {
    into.push(field << 3 | 2);
    varint(into, content.len() as u64);
    into.extend(content);
}

fn varint(into: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

/// The checksum of a TFRecord: CRC-32C, rotated and shifted so that a file of checksums checks well.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use relign_core::{StepMetrics, StepTimings};

    #[test]
    fn the_masked_checksum_is_tensorflows() {
        // The first 12 bytes of every event file TensorFlow writes: length 24 and its checksum.
        assert_eq!(masked_crc(&24_u64.to_le_bytes()).to_le_bytes(), [0xa3, 0x7f, 0x4b, 0x22]);
    }

    #[test]
    fn records_are_framed_and_hold_every_metric() {
        let folder = tempfile::tempdir().unwrap();
        let mut board = TensorBoard::create(folder.path(), 3).unwrap();
        let metrics = StepMetrics { step: 4, tokens: 300, ..StepMetrics::default() };
        board.event(&Event::Step { metrics: &metrics, timings: &StepTimings::default() }).unwrap();
        let path = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let data = std::fs::read(path).unwrap();
        let (mut at, mut records) = (0, Vec::new());
        while at < data.len() {
            let length = u64::from_le_bytes(data[at..at + 8].try_into().unwrap()) as usize;
            let body = &data[at + 12..at + 12 + length];
            assert_eq!(masked_crc(body).to_le_bytes(), data[at + 12 + length..at + 16 + length]);
            records.push(body.to_vec());
            at += 16 + length;
        }
        assert_eq!(records.len(), 3, "version, session start, step");
        let step = String::from_utf8_lossy(&records[2]);
        for tag in ["rollouts/reward", "update/engine_gap", "tokens", "timings/rollout_seconds"] {
            assert!(step.contains(tag), "{tag}");
        }
    }
}
