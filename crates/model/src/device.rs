//! Where tensors lie: in the memory of this machine or of a GPU.
//!
//! One binary serves both. It links what libtorch has for CPUs; the part for CUDA is loaded when a GPU is first asked
//! for, from the same folder, and registers itself with the rest.
#![allow(unsafe_code, reason = "a library loaded while running, and one of its functions")]

use std::cell::Cell;
use std::ffi::{CStr, CString, c_int};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tch::{Cuda, Device, Tensor};

/// A GPU that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("device {device}: expected {expected}, {found}")]
pub struct DeviceError {
    device: relign_core::Device,
    expected: String,
    found: String,
}

/// What to do where libtorch's part for CUDA does not load.
pub const CUDA_ADVICE: &str = "install PyTorch 2.11 with CUDA (pip install torch==2.11.0), set RELIGN_TORCH to its \
                               folder (python3 -c 'import torch; print(torch.__path__[0])') and run ./x again";

/// libtorch's name of a device, which is made ready.
///
/// # Errors
/// If libtorch has no such GPU; the message says what was found, and how to get a libtorch that has CUDA.
pub fn open(device: relign_core::Device) -> Result<Device, DeviceError> {
    let relign_core::Device::Cuda(index) = device else { return Ok(Device::Cpu) };
    let (expected, found) = match gpus() {
        Ok(count) if index < count => return Ok(Device::Cuda(index)),
        Ok(count) => (format!("a number below {count}"), format!("libtorch sees {count} GPUs")),
        Err(found) => ("a GPU that libtorch sees".to_owned(), found),
    };
    Err(DeviceError { device, expected, found })
}

/// How many GPUs libtorch sees.
///
/// # Errors
/// In words: why it can see none.
pub fn gpus() -> Result<usize, String> {
    static FOUND: OnceLock<Result<usize, String>> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            load()?;
            match usize::try_from(Cuda::device_count()) {
                Ok(count) if count > 0 => Ok(count),
                _ if Path::new("/proc/driver/nvidia/version").exists() => {
                    Err("there is an NVIDIA driver, but libtorch sees no GPU (nvidia-smi says what the driver sees)"
                        .to_owned())
                }
                _ => Err("libtorch's part for CUDA is loaded, but there is no NVIDIA driver".to_owned()),
            }
        })
        .clone()
}

/// The folder that libtorch was loaded from.
#[must_use]
pub fn libtorch_folder() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.ends_with("/libtorch_cpu.so"))?;
    Path::new(&line[line.find('/')?..]).parent().map(Path::to_owned)
}

/// Loads libtorch's part for CUDA. From its true folder, for it finds the libraries that it needs relative to that.
fn load() -> Result<(), String> {
    let folder = libtorch_folder().ok_or("libtorch's own folder was not found")?;
    let path = folder.join("libtorch_cuda.so");
    if !path.exists() {
        return Err(format!("{} has no libtorch_cuda.so: {CUDA_ADVICE}", folder.display()));
    }
    let name = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|error| error.to_string())?;
    // SAFETY: the library is the other half of the one that this program is linked with.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if handle.is_null() {
        // SAFETY: the message is read before another call could change it.
        let message = unsafe { libc::dlerror() };
        // SAFETY: after a failure it is a string that ends in 0, or null.
        let said = (!message.is_null()).then(|| unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned());
        return Err(format!("libtorch_cuda.so does not load ({}): {CUDA_ADVICE}", said.unwrap_or_default()));
    }
    Ok(())
}

/// The memory of a GPU in bytes, where CUDA's own library says it.
#[must_use]
pub fn gpu_memory(index: usize) -> Option<usize> {
    type Choose = unsafe extern "C" fn(c_int) -> c_int;
    type Ask = unsafe extern "C" fn(*mut usize, *mut usize) -> c_int;
    gpus().ok().filter(|&count| index < count)?;
    // SAFETY: both are looked for among what is loaded, by names that end in 0.
    let (choose, ask) = unsafe {
        (
            libc::dlsym(libc::RTLD_DEFAULT, c"cudaSetDevice".as_ptr()),
            libc::dlsym(libc::RTLD_DEFAULT, c"cudaMemGetInfo".as_ptr()),
        )
    };
    if choose.is_null() || ask.is_null() {
        return None;
    }
    // SAFETY: these are their signatures in CUDA's runtime since its first version.
    let (choose, ask) =
        unsafe { (std::mem::transmute::<*mut _, Choose>(choose), std::mem::transmute::<*mut _, Ask>(ask)) };
    let (mut free, mut total) = (0, 0);
    // SAFETY: both numbers are there to be written; 0 stands for success.
    let failed = unsafe { choose(c_int::try_from(index).ok()?) != 0 || ask(&raw mut free, &raw mut total) != 0 };
    (!failed && total > 0).then_some(total)
}

thread_local! {
    static WRITTEN_OUT: Cell<usize> = const { Cell::new(0) };
}

/// While it lives, this thread computes on the CPU as on a GPU: with libtorch's operations in place of the kernels. For
/// tests, which thereby see what runs on devices that they do not have. `RELIGN_KERNELS=none` does the same to a process.
#[doc(hidden)]
#[derive(Debug)]
pub struct WithoutKernels(PhantomData<*const ()>);

impl WithoutKernels {
    #[must_use]
    #[allow(clippy::new_without_default, reason = "a guard")]
    pub fn new() -> Self {
        WRITTEN_OUT.set(WRITTEN_OUT.get() + 1);
        Self(PhantomData)
    }
}

impl Drop for WithoutKernels {
    fn drop(&mut self) {
        WRITTEN_OUT.set(WRITTEN_OUT.get() - 1);
    }
}

/// Whether there are kernels for tensors on `device`.
pub(crate) fn has_kernels(device: Device) -> bool {
    static NONE: OnceLock<bool> = OnceLock::new();
    let none = || *NONE.get_or_init(|| std::env::var("RELIGN_KERNELS").is_ok_and(|wanted| wanted == "none"));
    device == Device::Cpu && WRITTEN_OUT.get() == 0 && !none()
}

/// Whether an operation on `x` is to be one of libtorch's.
pub(crate) fn is_written_out(x: &Tensor) -> bool {
    !has_kernels(x.device())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_that_is_not_there_is_an_error_that_says_so() {
        assert_eq!(open(relign_core::Device::Cpu), Ok(Device::Cpu));
        let error = open(relign_core::Device::Cuda(4096)).expect_err("nobody has that many").to_string();
        assert!(error.starts_with("device cuda:4096: expected "), "{error}");
        assert_eq!(gpu_memory(4096), None);
    }

    #[test]
    fn kernels_come_back() {
        assert!(has_kernels(Device::Cpu) && !has_kernels(Device::Cuda(0)));
        let outer = WithoutKernels::new();
        drop(WithoutKernels::new());
        assert!(!has_kernels(Device::Cpu));
        drop(outer);
        assert!(has_kernels(Device::Cpu));
    }
}
