//! What to do about an error of a room below, in the words of flags and manifest keys.
//!
//! Those rooms state facts, for they serve programs too; here a fact gets its remedy, by the variant
//! of the error and never by its text.

use std::{borrow::Cow, io};

use crate::{
    data::{self, INCEPTION, Likely, RangeError},
    networks::{
        checkpoint::CheckpointError,
        compile::{CompileError, PYTHON},
        compiled::CompiledError,
        conversion::ConvertError,
        features::FeatureError,
        open_error::OpenError,
        weights::WeightsError,
    },
};

/// A fact and what to do about it, as one sentence.
pub(crate) fn sentence(fact: &str, remedy: Option<&str>) -> String {
    match remedy {
        Some(remedy) if fact.ends_with('?') => format!("{fact} {remedy}"),
        Some(remedy) => format!("{fact}; {remedy}"),
        None => fact.to_owned(),
    }
}

/// What to do about a file that cannot be written, for a command that keeps nothing of its work.
pub(crate) fn unwritten(error: &io::Error) -> Option<&'static str> {
    use io::ErrorKind as K;
    match error.kind() {
        K::StorageFull | K::QuotaExceeded | K::FileTooLarge => {
            Some("nothing was written: make room, or name another place, and start again")
        }
        K::ReadOnlyFilesystem | K::PermissionDenied => {
            Some("nothing was written: name a place that can be written to")
        }
        _ => None,
    }
}

/// What is wrong with a set of images, with its remedy.
pub(crate) fn images(error: &data::Error) -> String {
    use data::Error as E;
    let remedy: Option<Cow<'static, str>> = match error {
        E::Missing(missing) if missing.name == INCEPTION.name => {
            return missing.or_let("`ddim stats --features inception --download`");
        }
        E::Missing(missing) => return missing.or_let("--download"),
        E::Sizes { .. } => Some("--resize center-crop:SIDE or squash:SIDE makes them so".into()),
        E::Pad { side, .. } => {
            Some(format!("--resize center-crop:{side} or squash:{side} makes them smaller").into())
        }
        E::NoSplits { .. } => Some("leave --split out".into()),
        E::NoExclusions { .. } => Some("leave --exclude out".into()),
        E::Range { problem, .. } => range(problem),
        _ => None,
    };
    sentence(&error.to_string(), remedy.as_deref())
}

fn range(problem: &RangeError) -> Option<Cow<'static, str>> {
    const SIGNED: &str = "--value-range -1,1 takes them as they are";
    Some(match problem {
        RangeError::NotFinite { .. } => return None,
        RangeError::Bytes { .. } => "leave --value-range out".into(),
        RangeError::Beyond { .. } => "give the values of black and white as --value-range".into(),
        RangeError::Unlikely { likely, .. } => match likely {
            Likely::Bytes => {
                "give --value-range 0,255 if they are, or save x / 127.5 - 1 (or bytes, as uint8)"
                    .into()
            }
            Likely::Unit => {
                format!("give --value-range 0,1 if they are, or save 2 * x - 1; {SIGNED}").into()
            }
            Likely::Half => {
                format!("give --value-range -0.5,0.5 if they are, or save 2 * x; {SIGNED}").into()
            }
            Likely::Normalised => {
                format!("save x * std + mean and give --value-range 0,1; {SIGNED}").into()
            }
        },
    })
}

/// What is wrong with a network, with its remedy.
pub(crate) fn network(error: &OpenError) -> String {
    let remedy: Option<Cow<'static, str>> = match error {
        OpenError::Weights(WeightsError::Checkpoint(error)) => average(error).map(Into::into),
        OpenError::AverageFolder { .. } => {
            Some("--raw (`model.raw = true`) takes the network beside it".into())
        }
        OpenError::Compiled(error) => compiled(error).map(Into::into),
        OpenError::CompiledPrecision { wanted, .. } => Some(
            format!(
                "leave the precision out, or compile it again with --precision {}",
                wanted.name()
            )
            .into(),
        ),
        _ => None,
    };
    sentence(&error.to_string(), remedy.as_deref())
}

/// What is wrong with a file of weights, with its remedy.
pub(super) fn checkpoint(error: &CheckpointError) -> String {
    sentence(&error.to_string(), average(error))
}

fn average(error: &CheckpointError) -> Option<&'static str> {
    match error {
        CheckpointError::Average { raw: true, .. } => Some(
            "--raw (`model.raw = true`) takes the weights as they were trained, or save the average \
             by itself as a state_dict",
        ),
        CheckpointError::Average { raw: false, .. } => Some("save the average as a state_dict"),
        _ => None,
    }
}

fn compiled(error: &CompiledError) -> Option<String> {
    match error {
        CompiledError::File(error) => average(error).map(str::to_owned),
        CompiledError::Device { made, here, .. } => {
            Some(format!("use --device {made}, or compile it again with --device {here}"))
        }
        _ => None,
    }
}

/// What is wrong with an extractor of features, with its remedy; it has no raw weights to ask for.
pub(super) fn extractor(error: &FeatureError) -> String {
    let remedy = match error {
        FeatureError::Checkpoint(CheckpointError::Average { .. })
        | FeatureError::Weights(WeightsError::Checkpoint(CheckpointError::Average { .. })) => {
            Some("save the average by itself as a state_dict")
        }
        _ => None,
    };
    sentence(&error.to_string(), remedy)
}

/// Why a network was not converted, with its remedy.
pub(super) fn conversion(error: &ConvertError) -> String {
    match error {
        ConvertError::Open(error) => network(error),
        ConvertError::Range { .. } => sentence(&error.to_string(), Some("convert without --half")),
        other => other.to_string(),
    }
}

/// Why nothing was compiled, with its remedy.
pub(super) fn compilation(error: &CompileError) -> String {
    let remedy = match error {
        CompileError::Open(error) => return network(error),
        CompileError::Convert(error) => return conversion(error),
        CompileError::Load(error) => compiled(error),
        CompileError::Size { .. } => Some("say so with --shape 3,H,W".to_owned()),
        CompileError::Python { .. } | CompileError::Unfit { .. } => Some(format!(
            "--python PATH (or {PYTHON}) names a Python that has torch 2.6 to 2.11, for instance of \
             `python3 -m venv net && net/bin/pip install torch==2.11.0`"
        )),
        _ => None,
    };
    sentence(&error.to_string(), remedy.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::networks::placement::Precision;

    #[test]
    fn values_beyond_their_range_are_told_the_flag_that_takes_them() {
        let said = |problem| images(&data::Error::Range { path: "x.npy".into(), problem });
        for (likely, remedy) in [
            (
                Likely::Bytes,
                "0 to 255? give --value-range 0,255 if they are, or save x / 127.5 - 1",
            ),
            (
                Likely::Unit,
                "0 to 255? give --value-range 0,1 if they are, or save 2 * x - 1; --value-r",
            ),
            (
                Likely::Half,
                "0 to 255? give --value-range -0.5,0.5 if they are, or save 2 * x; --value",
            ),
            (
                Likely::Normalised,
                "0 to 255? save x * std + mean and give --value-range 0,1; --value-r",
            ),
        ] {
            let problem = "0 to 255?".to_owned();
            let said = said(RangeError::Unlikely { seen: "from 0 to 9".into(), problem, likely });
            assert!(said.contains(remedy), "{said}");
        }
        let stated = "0,1".parse().unwrap();
        let said = said(RangeError::Bytes { stated });
        assert!(
            said.ends_with("is [0, 255], not [0, 1] as stated; leave --value-range out"),
            "{said}"
        );
    }

    #[test]
    fn a_package_for_another_machine_or_precision_is_told_how_to_make_the_right_one() {
        let device =
            CompiledError::Device { path: "net.pt2".into(), made: "cuda".into(), here: "cpu" };
        insta::assert_snapshot!(network(&device.into()), @"net.pt2 was compiled for cuda, and this runs on cpu; use --device cuda, or compile it again with --device cpu");
        let precision = OpenError::CompiledPrecision {
            name: "net.pt2".into(),
            own: Precision::Bf16,
            wanted: Precision::F32,
        };
        insta::assert_snapshot!(network(&precision), @"net.pt2 was compiled for bf16, not f32; leave the precision out, or compile it again with --precision f32");
    }

    #[test]
    fn numbers_beyond_f16_are_told_to_stay_f32() {
        let error = ConvertError::Range { name: "conv_in.weight".into() };
        let expected =
            "`conv_in.weight` holds numbers beyond the range of F16; convert without --half";
        assert_eq!(conversion(&error), expected);
        assert_eq!(compilation(&error.into()), expected);
    }

    #[test]
    fn an_average_that_cannot_be_read_is_told_raw_only_where_raw_weights_are() {
        let average = |raw| CheckpointError::Average {
            path: "a.pt".into(),
            place: "ema".into(),
            why: "it is a number".into(),
            raw,
        };
        assert!(checkpoint(&average(true)).ends_with(
            "it is a number; --raw (`model.raw = true`) takes the weights as they were trained, or \
             save the average by itself as a state_dict"
        ));
        assert!(
            checkpoint(&average(false)).ends_with("a number; save the average as a state_dict")
        );
        let said = extractor(&average(true).into());
        assert!(said.ends_with("a number; save the average by itself as a state_dict"), "{said}");
    }
}
