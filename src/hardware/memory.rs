//! Images in as many parts as memory asks for.
//!
//! Noise is keyed by sample and no image sees another, so a batch that does not fit can be computed in parts.
//! What changes is what another batch size changes: the last bits of a network's output, and the
//! steps of an adaptive method, which the images of a call share.

use std::{cell::Cell, ops::Range};

use crate::error::{Error, Result};

/// How many images are computed at once: as many as are asked for, or fewer since memory ran out.
#[derive(Debug, Default)]
pub struct Limit {
    most: Cell<Option<usize>>,
    told: Cell<Option<usize>>,
}

impl Limit {
    /// The most images at once; none if memory never ran out.
    pub fn most(&self) -> Option<usize> {
        self.most.get()
    }

    /// Does `work` for a range of images and gives `take` what it makes, part by part and in order.
    ///
    /// A part ends at the latest where a multiple of `batch` does. Where `work` has no memory, the same
    /// images are done in parts of the next smaller power of two, down to one: half of 512, and the same
    /// for a last batch of 300, with which an interrupted run may go on. The smaller number stays,
    /// for later ranges too.
    ///
    /// # Errors
    /// Whatever `work` and `take` return, and a single image that does not fit into memory.
    pub fn each<T>(
        &self,
        batch: usize,
        images: Range<usize>,
        mut work: impl FnMut(Range<usize>) -> Result<T>,
        mut take: impl FnMut(Range<usize>, T) -> Result<()>,
    ) -> Result<()> {
        let mut first = images.start;
        while first < images.end {
            let rest = (batch - first % batch).min(images.end - first);
            let part = first..first + rest.min(self.most().unwrap_or(rest));
            match work(part.clone()) {
                Err(error) if error.is_out_of_memory() && part.len() > 1 => {
                    self.most.set(Some(part.len().div_ceil(2).next_power_of_two()));
                }
                Err(error) if error.is_out_of_memory() => {
                    return Err(Error::Failed(format!(
                        "{error}: not even one image at a time fits; free memory, or take a smaller \
                         network, precision bf16, or another --device"
                    )));
                }
                made => {
                    first = part.end;
                    take(part, made?)?;
                }
            }
        }
        Ok(())
    }

    /// A line about a number that became smaller, once for each that turned out to fit.
    pub fn news(&self, what: &str) -> Option<String> {
        let most = self.most().filter(|most| self.told.get() != Some(*most))?;
        self.told.set(Some(most));
        Some(format!("warning: out of memory: {what} are computed {most} at a time from here on"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core;

    /// Work that has room for `room` images, and the parts that it was asked for and did.
    fn parts(
        limit: &Limit,
        batch: usize,
        images: Range<usize>,
        room: usize,
    ) -> [Vec<Range<usize>>; 2] {
        let (mut asked, mut done) = (vec![], vec![]);
        let work = |part: Range<usize>| {
            asked.push(part.clone());
            if part.len() > room {
                return Err(
                    core::Error::model("CUDA out of memory. Tried to allocate 2.00 GiB.").into()
                );
            }
            Ok(part.start)
        };
        limit
            .each(batch, images, work, |part, start| {
                assert_eq!(part.start, start);
                done.push(part);
                Ok(())
            })
            .unwrap();
        [asked, done]
    }

    #[test]
    fn what_fits_is_done_batch_by_batch() {
        let limit = Limit::default();
        let [asked, done] = parts(&limit, 4, 4..10, 4);
        assert_eq!((asked, done), (vec![4..8, 8..10], vec![4..8, 8..10]));
        assert_eq!((limit.most(), limit.news("images")), (None, None));
    }

    #[test]
    fn what_does_not_fit_is_done_in_smaller_parts_from_then_on() {
        let limit = Limit::default();
        let [asked, done] = parts(&limit, 12, 0..19, 4);
        assert_eq!(asked[..3], [0..12, 0..8, 0..4]);
        assert_eq!(asked[2..], done);
        assert_eq!(done, [0..4, 4..8, 8..12, 12..16, 16..19]);
        let line = limit.news("images").unwrap();
        assert!(line.ends_with("images are computed 4 at a time from here on"), "{line}");
        assert_eq!(limit.news("images"), None);
        // A range that begins later has the same parts, whatever is left of the last batch.
        assert_eq!(parts(&Limit::default(), 12, 12..19, 4)[1], [12..16, 16..19]);
        assert_eq!(parts(&limit, 12, 12..19, 4)[0], [12..16, 16..19]);
        // Less room later.
        let [asked, done] = parts(&limit, 12, 0..4, 1);
        assert_eq!(asked, [0..4, 0..2, 0..1, 1..2, 2..3, 3..4]);
        assert_eq!(done.len(), 4);
        assert!(limit.news("images").unwrap().contains("1 at a time"));
    }

    #[test]
    fn an_image_that_does_not_fit_and_any_other_error_end_the_work() {
        let fail = |error: fn() -> Error| {
            let work = |_: Range<usize>| Err::<(), _>(error());
            Limit::default().each(8, 0..8, work, |_, ()| Ok(())).unwrap_err()
        };
        let error = fail(|| core::Error::model("std::bad_alloc").into());
        assert_eq!(error.exit_code(), 1);
        assert!(
            error.to_string().contains("not even one image at a time fits; free memory"),
            "{error}"
        );
        let error = fail(|| core::Error::model("the program failed").into());
        assert!(matches!(error, Error::Core(core::Error::Model(_))));
    }
}
