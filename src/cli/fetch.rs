//! Models of the Hub, downloaded before they are needed.

use std::{path::PathBuf, sync::atomic::Ordering};

use super::{INTERRUPTED, Talk};
use crate::{
    harness::{
        build,
        error::{Error, Result},
        plan,
        progress::Progress,
    },
    models::hub::{Event, HubModel},
};

/// Downloads the models that cells name and that this machine lacks.
pub(super) fn models<'a>(
    specs: impl Iterator<Item = &'a plan::ModelSpec>,
    talk: &Talk,
) -> Result<()> {
    for model in build::to_download(specs)? {
        fetch(&model, talk)?;
    }
    Ok(())
}

/// The folder or file of a source, downloaded if it is of the Hub and not here yet.
pub(super) fn source(source: &str, talk: &Talk) -> Result<PathBuf> {
    match build::hub_model(source)? {
        Some(model) => fetch(&model, talk),
        None => Ok(PathBuf::from(source)),
    }
}

fn fetch(model: &HubModel, talk: &Talk) -> Result<PathBuf> {
    let mut bar: Option<Progress> = None;
    let mut began: Option<String> = None;
    let path = model.fetch(&mut |event| {
        match event {
            // The client says twice that a file begins.
            Event::Begin { file, .. } if began.as_deref() == Some(file) => {}
            Event::Begin { file, size } => {
                if let Some(done) = bar.take() {
                    done.finish();
                }
                began = Some(file.to_owned());
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
        if INTERRUPTED.load(Ordering::Relaxed) {
            // The client cannot be stopped otherwise; it keeps its part and goes on from there.
            eprintln!("error: {}", Error::Interrupted);
            std::process::exit(130);
        }
    });
    if let Some(bar) = bar {
        bar.finish();
    }
    let path = path?;
    talk.note(|| format!("{model} is in {}", path.display()));
    Ok(path)
}
