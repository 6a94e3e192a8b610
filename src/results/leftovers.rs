//! Deletes what earlier runs left in a folder for cells that no longer exist.
//!
//! Only files that those runs would have overwritten are deleted: those named after a cell's key, and
//! those that the last run's manifest named. Everything else in the folder is left alone.

use std::path::{Path, PathBuf};

use crate::results::{
    folder,
    listing::{self, delete},
    partial, provenance,
    record::ResultsError,
    sink::Planned,
};

/// Deletes the strips of cells that are not planned, what there is of unfinished cells and of the shards
/// that drew it, and the files that are in `before` but not in `now`.
///
/// # Errors
/// A file that cannot be deleted.
pub(crate) fn remove(
    path: &Path,
    planned: &[Planned],
    before: &[String],
    now: &[String],
) -> Result<(), ResultsError> {
    let keep: Vec<PathBuf> =
        planned.iter().map(|cell| folder::strip_path(path, &cell.key)).collect();
    let strips = listing::between(&path.join(folder::STRIPS), folder::STRIP)
        .filter_map(|(key, strip)| listing::is_key(&key).then_some(strip));
    let partials = partial::all(path).map(|file| file.path);
    let shards = provenance::of_shards(path).into_iter().map(|(_, path)| path);
    let named = before.iter().filter(|name| !now.contains(name)).map(|name| path.join(name));
    let strips = strips.filter(|strip| !keep.contains(strip));
    strips.chain(partials).chain(shards).chain(named).try_for_each(delete)
}

/// Deletes what shards noted down about themselves, once it stands in `provenance.json`.
///
/// # Errors
/// A file that cannot be deleted.
pub(crate) fn remove_shards(path: &Path) -> Result<(), ResultsError> {
    provenance::of_shards(path).into_iter().try_for_each(|(_, file)| delete(file))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_no_run_made_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = ("0123456789abcdef", "fedcba9876543210");
        let made = [
            format!("strips/{old}.png"),
            format!("partial-{old}.f32"),
            format!("partial-{new}.f32"),
            format!("partial-{new}-2of8.f32"),
            "provenance-2of8.json".into(),
            "curve.png".into(),
        ];
        let kept = [
            format!("strips/{new}.png"),
            "table.md".into(),
            // Files of the user, with names that no run uses.
            "strips/0123456789ABCDEF.png".into(),
            "strips/best.png".into(),
            format!("strips/{old}0.png"),
            format!("{old}.png"),
            "partial-results.f32".into(),
            format!("partial-{new}-mine.f32"),
            "provenance-mine.json".into(),
            "notes.png".into(),
        ];
        fs::create_dir(dir.path().join("strips")).unwrap();
        for name in made.iter().chain(&kept) {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let planned = [Planned { key: new.repeat(4), params: vec![] }];
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let before = names(&["curve.png", "curve.svg", "table.md"]);
        remove(dir.path(), &planned, &before, &names(&["table.md"])).unwrap();
        assert!(made.iter().all(|name| !dir.path().join(name).exists()));
        for name in &kept {
            assert!(dir.path().join(name).exists(), "{name} is gone");
        }
    }

    #[test]
    fn a_folder_without_leftovers_needs_nothing() {
        let dir = tempfile::tempdir().unwrap();
        remove(&dir.path().join("new"), &[], &["table.md".into()], &[]).unwrap();
    }
}
