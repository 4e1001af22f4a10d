//! How much memory there is.

use std::fs::read_to_string;

use relign_model::Device;

/// Bytes of a device's memory; a GPU that does not say is taken for a small one.
pub(crate) fn of(device: Device) -> usize {
    match device {
        Device::Cuda(index) => relign_model::device::gpu_memory(index).unwrap_or(4 << 30),
        _ => total(),
    }
}

/// Bytes this process may use: the machine's memory, or its control group's limit where that is less.
/// Not what happens to be free, so that equal runs on one machine schedule alike.
fn total() -> usize {
    let machine = read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()
    });
    let group = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|path| read_to_string(path).ok()?.trim().parse::<usize>().ok());
    let machine = machine.map_or(4 << 30, |kib| kib << 10);
    group.map_or(machine, |limit| limit.min(machine))
}

#[cfg(test)]
mod tests {
    #[test]
    fn memory_is_found() {
        assert!(super::total() > 64 << 20);
    }
}
