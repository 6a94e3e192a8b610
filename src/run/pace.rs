//! How often a run shows what it has.

use std::time::{Duration, Instant};

use crate::error::Result;

/// When tables and the report are written: not after every cell where many short ones end in a row, for
/// both have a row for each.
#[derive(Default)]
pub(super) struct Pace {
    last: Option<(Instant, Duration)>,
    behind: bool,
}

impl Pace {
    /// How much longer computing takes than showing what was computed.
    const FACTOR: u32 = 10;

    /// Shows a cell's end, if it is time.
    pub(super) fn keep(&mut self, show: impl FnOnce() -> Result<()>) -> Result<()> {
        let due = self.last.is_none_or(|(end, took)| end.elapsed() >= Self::FACTOR * took);
        self.behind = !due;
        if due {
            let begin = Instant::now();
            show()?;
            self.last = Some((Instant::now(), begin.elapsed()));
        }
        Ok(())
    }

    /// Shows what is not shown yet.
    pub(super) fn catch_up(&mut self, show: impl FnOnce() -> Result<()>) -> Result<()> {
        if std::mem::take(&mut self.behind) { show() } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn what_takes_long_to_show_is_shown_less_often_and_at_the_latest_in_the_end() {
        let shown = std::cell::Cell::new(0);
        let show = || {
            shown.set(shown.get() + 1);
            Ok(())
        };
        let mut pace = Pace::default();
        pace.keep(show).unwrap();
        pace.catch_up(show).unwrap();
        assert_eq!(shown.get(), 1, "the first is shown, and nothing is left");
        pace.last = Some((Instant::now(), Duration::from_secs(3600)));
        pace.keep(show).unwrap();
        assert_eq!(shown.get(), 1);
        pace.catch_up(show).unwrap();
        pace.catch_up(show).unwrap();
        assert_eq!(shown.get(), 2, "once");
        pace.last = Some((Instant::now(), Duration::ZERO));
        pace.keep(show).unwrap();
        assert_eq!(shown.get(), 3);
        pace.last = None;
        let error = || Err(Error::Interrupted);
        assert!(pace.keep(error).is_err());
    }
}
