//! Where a model is computed.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Where a model is computed; recipes write `cpu`, or `cuda:0` for the first GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Device {
    /// The CPU and its memory.
    #[default]
    Cpu,
    /// The GPU of this number.
    Cuda(usize),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |digits: &str| digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()));
        match text.strip_prefix("cuda:").and_then(number) {
            Some(index) => Ok(Self::Cuda(index)),
            None if text == "cpu" => Ok(Self::Cpu),
            None => Err(format!("expected cpu or cuda:N, got {text}")),
        }
    }
}

impl TryFrom<String> for Device {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

impl JsonSchema for Device {
    fn schema_name() -> Cow<'static, str> {
        "Device".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "`cpu`, or `cuda:N` for the GPU of that number.",
            "type": "string",
            "pattern": "^(cpu|cuda:[0-9]+)$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_written_as_they_are_read() {
        for (text, device) in [("cpu", Device::Cpu), ("cuda:0", Device::Cuda(0)), ("cuda:12", Device::Cuda(12))] {
            assert_eq!((text.parse(), device.to_string()), (Ok(device), text.to_owned()));
            assert_eq!(serde_json::from_value::<Device>(text.into()).expect("reads"), device);
        }
        for text in
            ["", "CPU", "cuda", "cuda:", "cuda:-1", "cuda:+1", "cuda:x", "gpu:0", "cuda:99999999999999999999999"]
        {
            assert_eq!(text.parse::<Device>(), Err(format!("expected cpu or cuda:N, got {text}")));
        }
    }
}
