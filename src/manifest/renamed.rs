//! The old name of the reference solution in manifests, which is still read.

use crate::{
    diagnostic::Diagnostic,
    manifest::overlay::{Table, Value},
};

/// The old name, of the section and of the source of images.
pub(crate) const TRUTH: &str = "truth";

/// The remark on a manifest that has the old name somewhere.
pub(crate) const REMARK: &str = "`[truth]` is called `[solution]` now; both are read";

/// The new form of a dotted path that begins with the old name; absent for any other.
pub(crate) fn renamed(path: &str) -> Option<String> {
    let rest = path.strip_prefix(TRUTH)?;
    (rest.is_empty() || rest.starts_with('.')).then(|| format!("solution{rest}"))
}

impl Table {
    /// Gives `[truth]` its new name, in this table, its profiles and its bundles; returns whether it
    /// was there.
    ///
    /// Axes keep their names, because these are columns of results on disk: what they set is renamed
    /// where they are read.
    pub(crate) fn rename_truth(&mut self, problems: &mut Vec<Diagnostic>) -> bool {
        let mut found = self.rename_keys(problems);
        for entry in self.entries_mut() {
            match (entry.key.as_str(), &mut entry.node.value) {
                ("profile", Value::Table(profiles)) => {
                    for profile in profiles.entries_mut() {
                        if let Value::Table(table) = &mut profile.node.value {
                            found |= table.rename_truth(problems);
                        }
                    }
                }
                ("remove", Value::Array(items)) => {
                    for item in items {
                        if let Value::String(path) = &mut item.value
                            && let Some(new) = renamed(path)
                        {
                            *path = new;
                            found = true;
                        }
                    }
                }
                ("sweep", Value::Table(axes)) => {
                    for axis in axes.entries_mut() {
                        let Value::Array(items) = &mut axis.node.value else { continue };
                        for item in items {
                            if let Value::Table(bundle) = &mut item.value {
                                found |= bundle.rename_keys(problems);
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        found
    }

    fn rename_keys(&mut self, problems: &mut Vec<Diagnostic>) -> bool {
        let mut found = false;
        for index in 0..self.entries().len() {
            let old = &self.entries()[index];
            let Some(new) = renamed(&old.key) else { continue };
            if let Some(other) = self.get(&new) {
                let message =
                    format!("`{}` is the old name of `{new}`, which is here too", old.key);
                problems.push(
                    Diagnostic::error(old.place.clone(), message)
                        .also(other.place.clone(), "the other")
                        .help(format!("keep `{new}`")),
                );
            } else {
                self.entries_mut()[index].key = new;
            }
            found = true;
        }
        found
    }
}
