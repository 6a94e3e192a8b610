//! What a run shows on stderr while it works.
//!
//! One bar covers the whole job. Its unit is a model call on one sample, which is what takes the
//! time: a cell with S = 1000 moves it as far as a hundred cells with S = 10, and the remaining
//! time is right from the first cell on. The table grows below the bar; other lines appear above it.
//! If stderr is not a terminal, each cell is one plain line instead.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{core, terminal::interruption::Calling};

/// How much is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A bar, and the table below it.
    Bar,
    /// One line per cell.
    Lines,
    /// Nothing.
    Quiet,
}

impl Mode {
    /// The bar on a terminal, lines elsewhere, nothing when quiet.
    pub fn detect(quiet: bool) -> Self {
        match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Self::Quiet,
            (false, true) => Self::Bar,
            (false, false) => Self::Lines,
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("invariant: the template is well-formed")
}

/// The progress of one run.
#[derive(Debug)]
pub struct Progress {
    mode: Mode,
    area: MultiProgress,
    bar: ProgressBar,
    table: ProgressBar,
}

impl Progress {
    /// Starts the bar; `total` is the cost of all cells to be run, in model calls times samples.
    pub fn new(total: u64, mode: Mode) -> Self {
        let target = match mode {
            Mode::Bar => ProgressDrawTarget::stderr_with_hz(10),
            Mode::Lines | Mode::Quiet => ProgressDrawTarget::hidden(),
        };
        let area = MultiProgress::with_draw_target(target);
        let bar = area.add(ProgressBar::new(total));
        bar.set_style(
            style("{elapsed_precise} {bar:32} {percent:>3} %, {eta} left  {wide_msg}")
                .progress_chars("━╸─"),
        );
        let table = area.add(ProgressBar::new_spinner());
        table.set_style(style("{msg}"));
        if mode == Mode::Bar {
            // Keeps the clock running during a long cell.
            bar.enable_steady_tick(Duration::from_secs(1));
        }
        Self { mode, area, bar, table }
    }

    /// Work whose end nobody knows: a clock and a line of text.
    pub fn clock(mode: Mode) -> Self {
        let progress = Self::new(0, mode);
        progress.bar.set_style(style("{elapsed_precise} {wide_msg}"));
        progress
    }

    /// Sets the whole cost, if it is known by now.
    pub fn total(&self, total: Option<u64>) {
        match total {
            Some(total) => self.bar.set_length(total),
            None => self.bar.unset_length(),
        }
    }

    /// Shows the name of the cell that is running.
    pub fn cell(&self, name: &str) {
        self.bar.set_message(name.to_owned());
        self.log(name);
    }

    /// Adds finished work: model calls times samples.
    pub fn advance(&self, cost: u64) {
        self.bar.inc(cost);
    }

    /// The observer of a batch of `rows`, called after every step: moves the bar by the model calls, and
    /// stops the solver if interrupted.
    pub fn batch<'a>(
        &'a self,
        rows: usize,
        interrupted: &'a AtomicBool,
    ) -> impl FnMut(u64) -> core::Result<()> + 'a {
        let mut observe = self.whole_batch(rows);
        move |calls| {
            observe(calls)?;
            if interrupted.load(Ordering::Relaxed) { Err(core::Error::Interrupted) } else { Ok(()) }
        }
    }

    /// As [`Progress::batch`], of a batch that is finished even if interrupted.
    pub fn whole_batch(&self, rows: usize) -> impl FnMut(u64) -> core::Result<()> + '_ {
        let (mut seen, calling) = (0, Calling::begin());
        move |calls| {
            calling.returned();
            self.advance((calls - seen) * rows as u64);
            seen = calls;
            Ok(())
        }
    }

    /// Removes cost that will not arise from the total, for instance that of a diverged cell.
    pub fn skip(&self, cost: u64) {
        self.bar.dec_length(cost);
    }

    /// Prints a line above the bar.
    pub fn line(&self, text: &str) {
        if self.mode == Mode::Bar {
            // A run continues even if the terminal cannot be written.
            let _ = self.area.println(text);
        }
        self.log(text);
    }

    /// Replaces the table under the bar; only a terminal shows it.
    pub fn table(&self, text: &str) {
        self.table.set_message(text.trim_end().to_owned());
    }

    /// Removes the bar and leaves the table.
    pub fn finish(&self) {
        let table = self.table.message();
        self.bar.finish_and_clear();
        self.table.finish_and_clear();
        if self.mode == Mode::Bar && !table.is_empty() {
            eprintln!("{table}");
        }
    }

    fn log(&self, text: &str) {
        if self.mode == Mode::Lines {
            eprintln!("{text}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_counts_cost_and_forgets_what_will_not_be_paid() {
        let progress = Progress::new(1000, Mode::Quiet);
        progress.cell("S=10");
        progress.advance(400);
        progress.skip(100);
        assert_eq!((progress.bar.position(), progress.bar.length()), (400, Some(900)));
        let flag = AtomicBool::new(false);
        let mut batch = progress.batch(4, &flag);
        batch(10).unwrap();
        batch(25).unwrap();
        assert_eq!(progress.bar.position(), 500);
        flag.store(true, Ordering::Relaxed);
        assert!(matches!(batch(26), Err(core::Error::Interrupted)));
        progress.table("a table");
        progress.finish();
    }
}
