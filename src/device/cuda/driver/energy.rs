//! The energy that a card has used, from NVML: the library of nvidia-smi, which comes with the driver, is looked
//! for when the program runs, and may be missing.

use std::ffi::{CString, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::ptr::null_mut;

use cudarc::driver::result;
use libloading::Library;

use super::library;

/// NVML's own handle of a card.
type Handle = *mut c_void;

/// The counter of one card's energy, started by the driver, in all programs together.
pub struct Energy {
    nvml: Library,
    card: Handle,
}

impl Energy {
    /// The counter of card `ordinal` as the driver counts, or none where NVML is missing or does not know the card
    /// (a part of one, for example, has no counter of its own).
    pub fn of(ordinal: usize) -> Option<Self> {
        let count = library::start().ok()?;
        let number = c_int::try_from(ordinal).ok().filter(|n| *n < count)?;
        if !library::has("cuDeviceGetUuid_v2") {
            return None;
        }
        let device = result::device::get(number).ok()?;
        let uuid = result::device::get_uuid(device).ok()?;
        Self::of_uuid(uuid.bytes.map(|byte| byte as u8))
    }

    /// NVML counts cards in another order than the driver: the identifier is what they share.
    fn of_uuid(uuid: [u8; 16]) -> Option<Self> {
        // SAFETY: a library of NVML's name is opened, as the loader does for any program.
        let nvml = unsafe { Library::new("libnvidia-ml.so.1") }.ok()?;
        // SAFETY: NVML's interface, which has not changed since the function is there: int nvmlInit_v2(void).
        unsafe {
            let start = nvml.get::<unsafe extern "C" fn() -> c_uint>(b"nvmlInit_v2");
            if start.ok()?() != 0 {
                return None;
            }
        }
        // From here on an early return shuts NVML down.
        let mut energy = Self {
            nvml,
            card: null_mut(),
        };
        let name = CString::new(name(uuid)).ok()?;
        // SAFETY: as above: int nvmlDeviceGetHandleByUUID(const char *, nvmlDevice_t *), and both pointers are to
        // what lives until it returns.
        let found = unsafe {
            let find = energy
                .nvml
                .get::<unsafe extern "C" fn(*const c_char, *mut Handle) -> c_uint>(
                    b"nvmlDeviceGetHandleByUUID",
                );
            find.ok()?(name.as_ptr(), &mut energy.card)
        };
        (found == 0 && energy.joules().is_some()).then_some(energy)
    }

    /// Joules used since the driver was loaded. The counter moves some ten times a second.
    pub fn joules(&self) -> Option<f64> {
        let mut millijoules: c_ulonglong = 0;
        // SAFETY: as above: int nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t, unsigned long long *); the handle
        // came from NVML, which runs until this is dropped, and the pointer is to a local integer.
        let outcome = unsafe {
            let read = self
                .nvml
                .get::<unsafe extern "C" fn(Handle, *mut c_ulonglong) -> c_uint>(
                    b"nvmlDeviceGetTotalEnergyConsumption",
                );
            read.ok()?(self.card, &mut millijoules)
        };
        (outcome == 0).then_some(millijoules as f64 / 1e3)
    }
}

impl Drop for Energy {
    fn drop(&mut self) {
        // SAFETY: as above: int nvmlShutdown(void), once for the start in `of_uuid`.
        unsafe {
            if let Ok(stop) = self
                .nvml
                .get::<unsafe extern "C" fn() -> c_uint>(b"nvmlShutdown")
            {
                stop();
            }
        }
    }
}

/// A card's identifier as NVML writes it: `GPU-00112233-4455-6677-8899-aabbccddeeff`.
fn name(uuid: [u8; 16]) -> String {
    let mut text = String::from("GPU");
    for (place, byte) in uuid.iter().enumerate() {
        if [0, 4, 6, 8, 10].contains(&place) {
            text.push('-');
        }
        text += &format!("{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::process::Command;

    #[test]
    fn identifiers_are_written_as_nvml_writes_them() {
        let uuid = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xff];
        assert_eq!(name(uuid), "GPU-00010203-0405-0607-0809-0a0b0c0d0eff");
    }

    /// On an imitation of NVML (tests/cuda/driver/libnvidia-ml.cpp), which the loader takes for the library of that name
    /// once it is loaded.
    #[test]
    fn joules_are_those_of_the_card_of_that_identifier() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("libnvidia-ml.so.1");
        let source =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cuda/driver/libnvidia-ml.cpp");
        let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
        let done = Command::new(compiler)
            .args(["-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1", "-o"])
            .args([&file, &source])
            .status();
        assert!(done.unwrap().success());
        // SAFETY: the imitation was compiled above, and does nothing when it is loaded.
        let imitation = unsafe { Library::new(&file) }.unwrap();
        let users = || {
            // SAFETY: as libnvidia-ml.cpp has it: int imitation_users(void).
            unsafe {
                imitation
                    .get::<unsafe extern "C" fn() -> c_int>(b"imitation_users")
                    .unwrap()()
            }
        };
        let energy = Energy::of_uuid([7; 16]).unwrap();
        let before = energy.joules().unwrap();
        assert_eq!(energy.joules().unwrap() - before, 1.5);
        assert_eq!(users(), 1);
        drop(energy);
        assert_eq!(users(), 0);
        // A card that NVML does not know, and one that has no counter.
        assert!(Energy::of_uuid([8; 16]).is_none());
        assert!(Energy::of_uuid([9; 16]).is_none());
        assert_eq!(users(), 0);
    }
}
