//! A step's images, divided over threads.
//!
//! LibTorch divides each operation over its threads, and a step of a thousand operations waits a
//! thousand times for the slower one. Where a loss is a mean over images, the images are divided
//! instead: each thread carries its part through the whole network by itself, and they wait once.

use rayon::prelude::*;
use tch::TchError;

/// Threads of one operation each: a pool of its own, apart from the one that prepares batches.
#[derive(Debug)]
pub struct Workers {
    pool: rayon::ThreadPool,
}

impl Workers {
    /// As many threads.
    ///
    /// # Errors
    /// When the system refuses them.
    pub fn new(threads: usize) -> Result<Self, TchError> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|error| TchError::Io(std::io::Error::other(error)))?;
        let all = tch::get_num_threads();
        // The number belongs to the thread that sets it. A new thread takes the last one set anywhere
        // when it first asks, and only then keeps its own; other new threads are to take `all`.
        pool.broadcast(|_| {
            tch::get_num_threads();
            tch::set_num_threads(1);
        });
        tch::set_num_threads(all);
        Ok(Self { pool })
    }

    /// The number of threads.
    pub fn count(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// The results of work on parts, in their order.
    pub fn map<P: Send, R: Send>(
        &self,
        parts: Vec<P>,
        work: impl Fn(P) -> R + Send + Sync,
    ) -> Vec<R> {
        self.pool.install(|| parts.into_par_iter().with_max_len(1).map(work).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_compute_alone_and_leave_other_threads_as_they_were() {
        let before = tch::get_num_threads();
        let workers = Workers::new(3).unwrap();
        assert_eq!(
            workers.map(vec![5, 7, 9], |part| (part, tch::get_num_threads())),
            [(5, 1), (7, 1), (9, 1)]
        );
        assert_eq!(tch::get_num_threads(), before);
    }
}
