//! Recorded launches.

use std::sync::Arc;

use cudarc::driver::result;
use cudarc::driver::result::stream::StreamKind;
use cudarc::driver::sys;

use super::card::{Card, lock};
use crate::device::DeviceError;
use crate::device::cuda::device::{Launch, Recording};

/// Launches recorded as a CUDA graph.
pub struct Graph {
    card: Arc<Card>,
    graph: sys::CUgraphExec,
    kernels: Arc<str>,
    /// What was recorded, where it is to be launched one by one: a graph does not tell which of its kernels
    /// failed.
    steps: Vec<Launch>,
}

// SAFETY: a graph may be launched by any thread in which its context is current; `replay` sees to that.
unsafe impl Send for Graph {}

impl Graph {
    /// # Safety
    /// As for [`Device::record`].
    pub unsafe fn new(card: &Arc<Card>, launches: &[Launch]) -> Result<Self, DeviceError> {
        card.enter()?;
        // A stream of its own: what other threads put into the card's stream meanwhile is not recorded.
        let stream = result::stream::create(StreamKind::NonBlocking)
            .map_err(|e| card.failure("cuStreamCreate", e))?;
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream was made above and is destroyed below; the launches are good by this
        // function's contract; every graph is destroyed once, and the launchable one is returned.
        let graph = unsafe {
            let captured = result::stream::begin_capture(stream, mode)
                .map_err(|e| card.failure("cuStreamBeginCapture", e))
                .and_then(|()| {
                    let recorded = launches.iter().try_for_each(|l| card.launch(l, stream));
                    // Ended also after a failure, which spoils what was captured and is the error to report.
                    let graph = result::stream::end_capture(stream)
                        .map_err(|e| card.failure("cuStreamEndCapture", e));
                    match (recorded, graph) {
                        (Ok(()), graph) => graph,
                        (Err(problem), Ok(graph)) => {
                            result::graph::destroy(graph).ok();
                            Err(problem)
                        }
                        (Err(problem), Err(_)) => Err(problem),
                    }
                });
            result::stream::destroy(stream).ok();
            let captured = captured?;
            let graph = result::graph::instantiate(captured, sys::CUgraphInstantiate_flags(0));
            result::graph::destroy(captured).ok();
            graph.map_err(|e| card.failure("cuGraphInstantiate", e))?
        };
        let kernels = match launches {
            [] => "an empty recording".into(),
            [only] => format!("a recording of {}", only.kernel),
            [first, .., last] => format!(
                "a recording of {} kernels, {} to {}",
                launches.len(),
                first.kernel,
                last.kernel
            ),
        };
        let graph = Self {
            card: Arc::clone(card),
            graph,
            kernels: kernels.into(),
            steps: match card.stepping {
                true => launches.to_vec(),
                false => Vec::new(),
            },
        };
        // SAFETY: graph and stream live.
        unsafe { result::graph::upload(graph.graph, card.stream) }
            .map_err(|e| card.failure("cuGraphUpload", e))?;
        Ok(graph)
    }
}

impl Recording for Graph {
    fn replay(&self) -> Result<(), DeviceError> {
        self.card.enter()?;
        if self.card.stepping {
            // SAFETY: what the launches point to is the promise of whoever recorded them, as below.
            let run = |launch| unsafe { self.card.run(launch) };
            return self.steps.iter().try_for_each(run);
        }
        // SAFETY: graph and stream live; what the launches point to is the promise of whoever recorded them.
        unsafe { result::graph::launch(self.graph, self.card.stream) }
            .map_err(|e| self.card.failure("cuGraphLaunch", e))?;
        *lock(&self.card.last) = Arc::clone(&self.kernels);
        Ok(())
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // The driver keeps what is still running until it is done.
        if self.card.enter().is_ok() {
            // SAFETY: the graph is destroyed once, here.
            unsafe { result::graph::exec_destroy(self.graph) }.ok();
        }
    }
}
