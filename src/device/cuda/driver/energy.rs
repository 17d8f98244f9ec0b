//! The energy that a card has used, from NVML: the library of nvidia-smi, which comes with the driver, is looked
//! for when the program runs, and may be missing.

use std::ffi::{CString, c_char, c_uint, c_ulonglong, c_void};
use std::ptr::null_mut;

use libloading::Library;

use crate::device::cuda::device::Properties;

/// NVML's own handle of a card.
type Handle = *mut c_void;

/// The counter of one card's energy, started by the driver, in all programs together.
pub struct Energy {
    nvml: Library,
    card: Handle,
}

impl Energy {
    /// The counter of a card, by its [`uuid`](Properties::uuid).
    ///
    /// # Errors
    /// Why it has none, for people.
    pub fn of(card: &Properties) -> Result<Self, String> {
        // NVML counts cards in another order than the driver: the identifier is what they share.
        let uuid = (card.uuid.as_deref()).ok_or("the driver does not tell the card's UUID")?;
        // SAFETY: a library of NVML's name is opened, as the loader does for any program.
        let nvml = unsafe { Library::new("libnvidia-ml.so.1") }
            .map_err(|_| "there is no libnvidia-ml.so.1 (NVML, which comes with the driver)")?;
        // SAFETY: NVML's interface, which has not changed since the function is there: int nvmlInit_v2(void).
        unsafe {
            let start = nvml.get::<unsafe extern "C" fn() -> c_uint>(b"nvmlInit_v2");
            match start.map(|start| start()) {
                Ok(0) => {}
                _ => return Err("the library NVML does not start".into()),
            }
        }
        // From here on an early return shuts NVML down.
        let mut energy = Self {
            nvml,
            card: null_mut(),
        };
        let name = CString::new(uuid).map_err(|_| "the card's UUID is none")?;
        // SAFETY: as above: int nvmlDeviceGetHandleByUUID(const char *, nvmlDevice_t *), and both pointers are to
        // what lives until it returns.
        let found = unsafe {
            let find = energy
                .nvml
                .get::<unsafe extern "C" fn(*const c_char, *mut Handle) -> c_uint>(
                    b"nvmlDeviceGetHandleByUUID",
                );
            find.map_or(1, |find| find(name.as_ptr(), &mut energy.card))
        };
        if found != 0 {
            return Err(format!("the library NVML does not know {uuid}"));
        }
        match energy.joules() {
            Some(_) => Ok(energy),
            None if uuid.starts_with("MIG") => {
                Err("an instance of MIG has no counter of its own, only the whole card".into())
            }
            None => Err("this card does not count its energy".into()),
        }
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
        // SAFETY: as above: int nvmlShutdown(void), once for the start in `of`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::c_int;
    use std::path::Path;
    use std::process::Command;

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
        let of = |uuid: Option<&str>| {
            let card = Properties {
                name: "a card".into(),
                uuid: uuid.map(String::from),
                capability: (9, 0),
                multiprocessors: 1,
                shared_per_block: 0,
                shared_per_multiprocessor: 0,
                l2: 0,
                memory: 0,
            };
            Energy::of(&card)
        };
        let energy = of(Some("GPU-07070707-0707-0707-0707-070707070707")).unwrap();
        let before = energy.joules().unwrap();
        assert_eq!(energy.joules().unwrap() - before, 1.5);
        assert_eq!(users(), 1);
        drop(energy);
        assert_eq!(users(), 0);
        // A card that NVML does not know, one that has no counter, and so on.
        for (uuid, why) in [
            (
                Some("GPU-08080808-0808-0808-0808-080808080808"),
                "does not know GPU-0808",
            ),
            (
                Some("GPU-09090909-0909-0909-0909-090909090909"),
                "does not count",
            ),
            (
                Some("MIG-09090909-0909-0909-0909-090909090909"),
                "instance of MIG",
            ),
            (None, "UUID"),
        ] {
            let said = of(uuid).err().unwrap();
            assert!(said.contains(why), "{said}");
        }
        assert_eq!(users(), 0);
    }
}
