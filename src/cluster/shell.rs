//! Words as a POSIX shell reads them.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
};

/// A word that a shell reads as it stands, in quotes where it has to be.
pub fn word(word: &OsStr) -> OsString {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"%+,-./:=@_".contains(byte);
    let bytes = word.as_bytes();
    if !bytes.is_empty() && bytes.iter().all(is_plain) {
        return word.to_owned();
    }
    let mut quoted = vec![b'\''];
    for &byte in bytes {
        match byte {
            b'\'' => quoted.extend(br"'\''"),
            other => quoted.push(other),
        }
    }
    quoted.push(b'\'');
    OsString::from_vec(quoted)
}

/// A command that can be typed.
pub fn line(words: &[OsString]) -> String {
    let words: Vec<String> =
        words.iter().map(|each| word(each).to_string_lossy().into_owned()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_back_every_word() {
        for text in
            ["", "plain", "a b", "it's", "$HOME", "`x`", "\"", "a\\b", "*", "a\nb", "~", "é", "#x"]
        {
            let script = format!("printf %s {}", word(OsStr::new(text)).display());
            let output = Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text, "{script}");
        }
        let words = ["ddim", "run", "sweep.\"grid.steps\"=[10, 20]"].map(OsString::from);
        assert_eq!(line(&words), "ddim run 'sweep.\"grid.steps\"=[10, 20]'");
    }
}
