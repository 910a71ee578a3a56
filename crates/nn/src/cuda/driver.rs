//! A real card, by NVIDIA's driver. Its library is opened here, at run time, and nowhere else.

use super::PTX;
use super::card::{Card, Kernel, Pointers, Shape, Task};
use crate::Error;
use cudarc::driver::{DriverError, result, sys};
use std::ffi::{CString, c_void};
use std::ptr::null_mut;

/// The least compute capability that the kernels are compiled for.
const LEAST: (i32, i32) = (7, 5);

/// The first card of this process, its context and the kernels.
pub struct Driver {
    device: sys::CUdevice,
    module: sys::CUmodule,
    functions: Vec<sys::CUfunction>,
    name: String,
}

fn failed(what: &str, e: DriverError) -> Error {
    let name = e.error_name().ok().and_then(|n| n.to_str().ok()).unwrap_or("an unknown error");
    if e.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
        return Error::Memory(format!("the GPU has no memory left: {what}"));
    }
    Error::Device(format!("the GPU failed: {what}: {name}"))
}

impl Driver {
    /// Opens the driver's library, the first card, and the kernels.
    ///
    /// # Errors
    /// `Error::Device`.
    pub fn open() -> Result<Driver, Error> {
        // SAFETY: opens a library that every program of NVIDIA's driver opens, which has no conditions.
        if !unsafe { sys::is_culib_present() } {
            return Err(Error::Device("no CUDA driver found".into()));
        }
        result::init().map_err(|e| failed("the driver does not start", e))?;
        if result::device::get_count().map_err(|e| failed("cards cannot be counted", e))? < 1 {
            return Err(Error::Device("the CUDA driver knows no GPU".into()));
        }
        let device = result::device::get(0).map_err(|e| failed("the first card", e))?;
        let name = result::device::get_name(device).map_err(|e| failed("its name", e))?;
        use sys::CUdevice_attribute as Attribute;
        // SAFETY: the device is there.
        let attribute = |a| unsafe { result::device::get_attribute(device, a) };
        let capability = |a| attribute(a).map_err(|e| failed("its compute capability", e));
        let found = (
            capability(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            capability(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        );
        if found < LEAST {
            let ((a, b), (c, d)) = (found, LEAST);
            let message = format!("the GPU {name} has compute capability {a}.{b}, expected {c}.{d} or more");
            return Err(Error::Device(message));
        }
        let source = CString::new(PTX).map_err(|_| Error::Device("the kernels are damaged".into()))?;
        let mut driver = Driver { device, module: null_mut(), functions: vec![], name };
        // SAFETY: the device is there, its context is this process's, and the source ends in a zero.
        unsafe {
            let context = result::primary_ctx::retain(device).map_err(|e| failed("its context", e))?;
            result::ctx::set_current(context).map_err(|e| failed("its context", e))?;
            driver.module = result::module::load_data(source.as_ptr().cast())
                .map_err(|e| failed("its driver is older than the kernels, or does not take them", e))?;
            for kernel in Kernel::ALL {
                let name = CString::new(kernel.name()).unwrap_or_default();
                let function = result::module::get_function(driver.module, name);
                driver.functions.push(function.map_err(|e| failed(kernel.name(), e))?);
            }
        }
        Ok(driver)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // SAFETY: what `open` took; errors of a card that failed change nothing here.
        unsafe {
            if !self.module.is_null() {
                let _ = result::module::unload(self.module);
            }
            let _ = result::primary_ctx::release(self.device);
        }
    }
}

impl Card for Driver {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn memory(&self) -> Result<(u64, u64), Error> {
        let (free, all) = result::mem_get_info().map_err(|e| failed("its memory", e))?;
        Ok((free as u64, all as u64))
    }

    fn take(&self, bytes: usize) -> Result<u64, Error> {
        // SAFETY: what it holds is written before it is read.
        unsafe { result::malloc_sync(bytes) }.map_err(|e| failed(&format!("{bytes} bytes"), e))
    }

    fn give(&self, at: u64) {
        // SAFETY: taken by `take`, given back once; the driver waits for what still uses it.
        let _ = unsafe { result::free_sync(at) };
    }

    fn zero(&self, at: u64, bytes: usize) -> Result<(), Error> {
        // SAFETY: memory of ours of that size.
        unsafe { result::memset_d8_async(at, 0, bytes, null_mut()) }.map_err(|e| failed("zeroing memory", e))
    }

    fn write(&self, at: u64, from: &[u8]) -> Result<(), Error> {
        // SAFETY: memory of ours of that size; it returns when `from` has been read.
        unsafe { result::memcpy_htod_sync(at, from) }.map_err(|e| failed("copying to it", e))
    }

    fn read(&self, at: u64, to: &mut [u8]) -> Result<(), Error> {
        // SAFETY: memory of ours of that size.
        unsafe { result::memcpy_dtoh_sync(to, at) }.map_err(|e| failed("copying from it", e))
    }

    unsafe fn launch(
        &self,
        kernel: Kernel,
        Shape { grid: g, block: b }: Shape,
        task: &Task,
        mut pointers: Pointers,
    ) -> Result<(), Error> {
        if g.contains(&0) {
            return Ok(());
        }
        let mut task = *task;
        let mut arguments = vec![(&raw mut task).cast::<c_void>()];
        arguments.extend(pointers.iter_mut().map(|p| (&raw mut *p).cast::<c_void>()));
        let (grid, block) = ((g[0], g[1], g[2]), (b[0], b[1], b[2]));
        let function = self.functions.get(kernel as usize).copied().unwrap_or(null_mut());
        // SAFETY: the arguments are those of every kernel; the caller vouches for the pointers.
        let launched = unsafe { result::launch_kernel(function, grid, block, 0, null_mut(), &mut arguments) };
        launched.map_err(|e| failed(kernel.name(), e))
    }
}
