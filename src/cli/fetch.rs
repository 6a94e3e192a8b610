//! Downloads what is not on this machine before it is needed: models of the Hub, and image sets and
//! features known by name.

use std::{ops::ControlFlow, path::PathBuf};

use crate::cli::Talk;
use crate::{
    data::{
        self, Places,
        download::{self, Watch},
    },
    error::{Error, Result},
    networks::{
        home,
        hub::{Event, HubModel},
    },
    plan,
    run::{assemble, tasks},
    terminal::{interruption, progress::Progress},
};

/// Downloads the models that cells name and that this machine lacks, and returns whether there were
/// any. If so, make the plan again: a model states what it predicts and for which levels.
pub(super) fn models(plan: &plan::Plan, talk: &Talk) -> Result<bool> {
    let missing = assemble::to_download(plan.cells.iter().map(|cell| &cell.spec.model))?;
    for model in &missing {
        fetch(model, talk)?;
    }
    Ok(!missing.is_empty())
}

/// Downloads the image sets and the features that cells name and that this machine lacks.
pub(super) fn inputs(plan: &plan::Plan, talk: &Talk) -> Result<()> {
    for plan::Cell { spec, .. } in &plan.cells {
        if let Some((known, split)) = tasks::known_set(spec) {
            shown(talk, |watch| known.fetch(split, &Places::from_env(), watch))?;
        }
        if let Some(name) = spec.metrics.as_ref().and_then(|metrics| metrics.features.as_deref()) {
            features(name, talk)?;
        }
    }
    Ok(())
}

/// Downloads the weights of features known by name if this machine lacks them.
pub(super) fn features(name: &str, talk: &Talk) -> Result<()> {
    if name == data::INCEPTION.name {
        shown(talk, |watch| data::INCEPTION.fetch(&Places::from_env(), watch))?;
    }
    Ok(())
}

/// Runs work that may download a file, and shows the download.
pub(super) fn shown<T>(talk: &Talk, work: impl FnOnce(&mut Watch<'_>) -> T) -> T {
    let mut bar: Option<Progress> = None;
    let done = work(&mut |event| {
        match event {
            download::Event::Begin { url, have, total } => {
                let progress = Progress::new(total.unwrap_or(0), talk.mode());
                let size = total
                    .map_or_else(String::new, |total| format!(" ({:.1} MB)", total as f64 / 1e6));
                progress.cell(&format!("downloading {url}{size}"));
                progress.advance(have);
                bar = Some(progress);
            }
            download::Event::Advance(bytes) => {
                if let Some(bar) = &bar {
                    bar.advance(bytes);
                }
            }
        }
        if interruption::is_asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if let Some(bar) = bar {
        bar.finish();
    }
    done
}

/// The folder or file of a source, downloaded first if it is on the Hub and not here yet.
pub(super) fn source(source: &str, talk: &Talk) -> Result<PathBuf> {
    match assemble::hub_model(source)? {
        Some(model) => fetch(&model, talk),
        None => Ok(home::locate(source)),
    }
}

fn fetch(model: &HubModel, talk: &Talk) -> Result<PathBuf> {
    let mut bar: Option<Progress> = None;
    let path = model.fetch(&mut |event| {
        match event {
            Event::Begin { file, size } => {
                if let Some(done) = bar.take() {
                    done.finish();
                }
                let progress = Progress::new(size, talk.mode());
                progress
                    .cell(&format!("downloading {model}: {file} ({:.1} MB)", size as f64 / 1e6));
                bar = Some(progress);
            }
            Event::Advance(bytes) => {
                if let Some(bar) = &bar {
                    bar.advance(bytes);
                }
            }
        }
        if interruption::is_asked() {
            // There is no other way to stop the client; it keeps what it has and resumes from there.
            eprintln!("error: {}", Error::Interrupted);
            std::process::exit(interruption::exit_code().into());
        }
    });
    if let Some(bar) = bar {
        bar.finish();
    }
    let path = path?;
    talk.note(|| format!("{model} is in {}", path.display()));
    Ok(path)
}
