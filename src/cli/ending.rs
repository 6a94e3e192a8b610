//! How a verb ends that was interrupted.

use std::ffi::OsString;

use crate::{
    cli::Verb,
    cluster::shell,
    error::{Error, remedy},
    results::record::ResultsError,
};

/// What an interruption leaves of a verb's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// All that is finished: the same command continues.
    Finished,
    /// Nothing: its files appear when they are complete.
    Nothing,
}

impl Kept {
    /// What to do about a file that cannot be written any more.
    pub(super) fn remedy(self, error: &Error) -> Option<&'static str> {
        let Error::Results(results) = error else { return None };
        let ResultsError::Io { action: "write", source, .. } = results.downcast_ref()? else {
            return None;
        };
        match self {
            Self::Finished => Some(
                "what is finished is kept: when that is mended, the same command (without --fresh) continues",
            ),
            Self::Nothing => remedy::unwritten(source),
        }
    }
}

/// What a verb that computes does when it is interrupted, as the user is told, and what is left; none
/// of a verb that is done before one could interrupt it, which a signal ends at once.
pub(super) fn of(verb: &Verb) -> Option<(&'static str, Kept)> {
    match verb {
        Verb::Run(_) | Verb::Merge(_) => {
            Some(("finishing the batch, which is then kept", Kept::Finished))
        }
        Verb::Train(_) => Some(("finishing the step and writing a checkpoint", Kept::Finished)),
        Verb::Sample(_)
        | Verb::Encode(_)
        | Verb::Decode(_)
        | Verb::Reconstruct(_)
        | Verb::Interpolate(_)
        | Verb::Bits(_)
        | Verb::Speed(_)
        | Verb::Stats(_)
        | Verb::Evaluate(_)
        | Verb::Tau(_)
        | Verb::Compile(_) => Some(("stopping after the next step", Kept::Nothing)),
        Verb::Plan(_)
        | Verb::Check(_)
        | Verb::Submit(_)
        | Verb::Table(_)
        | Verb::Plot(_)
        | Verb::Completions(_)
        | Verb::Models(_)
        | Verb::Solvers(_)
        | Verb::Taus(_)
        | Verb::Metrics(_)
        | Verb::Manifest(_)
        | Verb::Inspect(_)
        | Verb::Convert(_) => None,
    }
}

/// The error of an interrupted verb.
pub(super) fn interrupted(kept: Kept) -> Error {
    match kept {
        Kept::Finished => Error::Continue(again(std::env::args_os())),
        Kept::Nothing => Error::Stopped,
    }
}

/// The command that continues what one began: the same, without a flag that begins anew.
fn again(arguments: impl Iterator<Item = OsString>) -> String {
    shell::line(&arguments.filter(|word| word != "--fresh").collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_continues_is_the_same_but_does_not_begin_anew() {
        let again = |words: &[&str]| again(words.iter().map(OsString::from));
        assert_eq!(
            again(&["ddim", "run", "my exp.toml", "--fresh", "--set", "sweep.\"grid.steps\"=[1]"]),
            r#"ddim run 'my exp.toml' --set 'sweep."grid.steps"=[1]'"#
        );
        assert_eq!(again(&["./ddim", "train", "it's.toml"]), r"./ddim train 'it'\''s.toml'");
    }
}
