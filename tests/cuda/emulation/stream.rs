//! Work that an emulated card does when somebody waits for it.

use std::collections::VecDeque;
use std::sync::Arc;

use sarm::device::DeviceError;
use sarm::device::cuda::device::{Address, Launch, Mark};

use super::{Shared, failed};

/// Work that was asked for and not done yet.
#[derive(Debug, Default)]
pub struct Stream {
    waiting: VecDeque<Task>,
    done: u64,
    /// What failed first: it is the error of all that comes after it, as on a card.
    problem: Option<String>,
}

/// A piece of it.
#[derive(Debug)]
pub enum Task {
    Launch(Launch),
    Write(Address, Vec<u8>),
    Fill(Address, u8, usize),
}

impl Shared {
    /// Take on work, which is done now or when it is waited for.
    ///
    /// # Safety
    /// A launch is as for [`Device::launch`].
    pub unsafe fn ask(&self, work: Task) -> Result<(), DeviceError> {
        if self.late {
            let mut stream = self.stream.lock().unwrap();
            stream.waiting.push_back(work);
            return stream.problem.clone().map_or(Ok(()), failed);
        }
        // SAFETY: by this method's contract.
        unsafe { self.work(&work) }
    }

    /// Pieces of work asked for so far.
    pub fn asked(&self) -> u64 {
        let stream = self.stream.lock().unwrap();
        stream.done + stream.waiting.len() as u64
    }

    /// Do the first `count` pieces of work, as far as that is not done.
    pub fn wait(&self, count: u64) -> Result<(), DeviceError> {
        let mut stream = self.stream.lock().unwrap();
        while stream.done < count && stream.problem.is_none() {
            let work = stream.waiting.pop_front().expect("work that was asked for");
            stream.done += 1;
            // SAFETY: whoever asked for it promised that what it names is there until it is done.
            stream.problem = unsafe { self.work(&work) }.err().map(|e| e.to_string());
        }
        stream.problem.clone().map_or(Ok(()), failed)
    }

    /// # Safety
    /// A launch is as for [`Device::launch`].
    unsafe fn work(&self, work: &Task) -> Result<(), DeviceError> {
        match work {
            // SAFETY: by this method's contract.
            Task::Launch(launch) => unsafe { self.launch(launch) },
            Task::Write(to, bytes) => {
                let start = self.range("write", *to, bytes.len())?;
                // SAFETY: `range` found the bytes in one allocation.
                unsafe { start.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
                Ok(())
            }
            Task::Fill(to, byte, count) => {
                let start = self.range("fill", *to, *count)?;
                // SAFETY: `range` found the bytes in one allocation.
                unsafe { start.write_bytes(*byte, *count) };
                Ok(())
            }
        }
    }
}

/// A mark behind the first so many pieces of work.
pub struct Marked {
    pub device: Arc<Shared>,
    pub asked: u64,
}

impl Mark for Marked {
    fn wait(&self) -> Result<(), DeviceError> {
        self.device.wait(self.asked)
    }
}
