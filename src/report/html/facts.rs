//! What the manifest and the provenance say.

use maud::{Markup, html};
use serde_json::Value;

use super::parts::rich;
use crate::{
    report::text::capital,
    results::{date, folder::Folder},
};

/// The manifest's opening comment: each `Word: text` with its continuation lines.
pub(super) fn question(text: &str) -> Markup {
    let mut entries: Vec<(&str, String)> = vec![];
    let mut open = false;
    for line in text.lines().map_while(|line| line.strip_prefix('#')) {
        let (words, indented) = (line.trim(), line.starts_with("  "));
        let key = words.split_once(": ").filter(|(key, _)| {
            !indented
                && key.chars().all(|c| c.is_alphabetic() || c == ' ')
                && key.starts_with(char::is_uppercase)
                && key.len() < 20
        });
        match (key, entries.last_mut()) {
            _ if words.is_empty() => open = false,
            (Some((key, text)), _) => {
                // A command stays as typed.
                let text = text.trim();
                let text = if key == "As run" { text.to_owned() } else { capital(text) };
                entries.push((key, text));
                open = true;
            }
            (None, Some((_, entry))) if open => {
                entry.push(' ');
                entry.push_str(words);
            }
            (None, _) => {
                entries.push(("Note", words.to_owned()));
                open = true;
            }
        }
    }
    html! {
        @if !entries.is_empty() {
            dl.question {
                @for (key, text) in &entries { dt { (key) } dd { (rich(text)) } }
            }
        }
    }
}

pub(super) fn manifest(folder: &Folder) -> Markup {
    html! {
        details {
            summary { "manifest.toml, as run" }
            pre tabindex="0" { code { (folder.plan.text) } }
        }
    }
}

pub(super) fn provenance(folder: &Folder) -> Markup {
    let Some(Value::Object(entries)) = &folder.provenance else {
        return html! {
            p.soft { "Written when a run ends; none has ended in this folder." }
        };
    };
    html! {
        dl.facts {
            @for (key, value) in entries {
                @match value {
                    Value::Object(inner) => {
                        @for (role, value) in inner { (fact(&format!("{key}: {role}"), value)) }
                    }
                    value => (fact(key, value)),
                }
            }
        }
    }
}

fn fact(key: &str, value: &Value) -> Markup {
    let is_time = key == "finished";
    let text = match value {
        Value::Null => "unknown".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => match number.as_u64().filter(|_| is_time) {
            Some(seconds) => date::short(seconds), // in files from before 2026-11-26
            None => number.to_string(),
        },
        Value::String(text) => match date::seconds(text).filter(|_| is_time) {
            Some(seconds) => date::short(seconds),
            None => text.clone(),
        },
        Value::Array(words) => {
            let word = |word: &Value| word.as_str().map_or_else(|| word.to_string(), str::to_owned);
            words.iter().map(word).collect::<Vec<_>>().join(" ")
        }
        Value::Object(inner) => {
            let plain =
                |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let each = inner.iter().map(|(name, value)| format!("{name} {}", plain(value)));
            each.collect::<Vec<_>>().join(", ")
        }
    };
    let is_code = matches!(value, Value::Array(_))
        || (text.len() >= 40 && text.chars().all(|c| c.is_ascii_hexdigit()));
    html! {
        dt { (key) }
        dd { @if is_code { code { (text) } } @else { (text) } }
        "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_opening_comment_is_read_word_by_word() {
        let text = "# Question: why?\n#   Because: <b>.\n# Paper: one\n#\n# As run: a.toml\n\n# not this\n";
        insta::assert_snapshot!(question(text).into_string().replace("><", ">\n<"), @r#"
    <dl class="question">
    <dt>Question</dt>
    <dd>Why? Because: &lt;b&gt;.</dd>
    <dt>Paper</dt>
    <dd>One</dd>
    <dt>As run</dt>
    <dd>a.toml</dd>
    </dl>
    "#);
    }
}
