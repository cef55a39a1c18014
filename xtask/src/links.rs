//! Links of the documents: each leads to a file, a heading or a test that is there.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

/// A link of a document: its text, its target and the line that it is on.
#[derive(Debug, PartialEq, Eq)]
struct Link<'a> {
    line: usize,
    text: &'a str,
    target: &'a str,
}

/// What is wrong with the links of a Markdown file, which has this text. `read` gives the text of a file of the
/// repository, and an empty one for a folder; `None` if neither is there.
pub(crate) fn broken(file: &str, text: &str, read: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    if !is_markdown(file) {
        return Vec::new();
    }
    links(text)
        .filter_map(|link| {
            let wrong = wrong(file, text, &link, read)?;
            Some(format!("{file}:{}: {wrong}", link.line))
        })
        .collect()
}

fn wrong(file: &str, text: &str, link: &Link<'_>, read: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let target = link.target;
    // Other sites can't be asked here.
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, heading) = target
        .split_once('#')
        .map_or((target, None), |(path, heading)| (path, Some(heading)));
    let (path, content) = if path.is_empty() {
        (file.to_owned(), text.to_owned())
    } else {
        let Some(path) = resolve(file, path) else {
            return Some(format!("{target} leads out of the repository"));
        };
        match read(&path) {
            Some(content) => (path, content),
            None => return Some(format!("{target} is not there")),
        }
    };
    if let Some(heading) = heading
        && is_markdown(&path)
        && !headings(&content).contains(heading)
    {
        return Some(format!("{path} has no heading #{heading}"));
    }
    // `[`name`](file.rs)` names a function, most often a test: who reads it must find it.
    let function = link.text.strip_prefix('`').and_then(|text| text.strip_suffix('`'))?;
    let named = function.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let is_source = Path::new(&path).extension().is_some_and(|ending| ending == "rs");
    (is_source && named && !content.contains(&format!("fn {function}(")))
        .then(|| format!("{path} has no function {function}"))
}

fn is_markdown(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|extension| extension == "md")
}

/// A target from the folder of the file that names it; `None` if it is outside of the repository.
fn resolve(file: &str, target: &str) -> Option<String> {
    let mut path = PathBuf::from(file);
    path.pop();
    for part in Path::new(target).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir if path.pop() => {}
            _ => return None,
        }
    }
    path.to_str().map(str::to_owned)
}

/// Lines outside of code blocks, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut code = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        (!code && !fence).then_some((number + 1, line))
    })
}

/// All inline links. A target has no brackets and no spaces; the repository's own don't.
fn links(text: &str) -> impl Iterator<Item = Link<'_>> {
    prose(text).flat_map(|(number, line)| {
        line.match_indices("](").filter_map(move |(middle, _)| {
            let text = &line[line[..middle].rfind('[')? + 1..middle];
            let rest = &line[middle + 2..];
            let target = &rest[..rest.find(')')?];
            (!target.is_empty() && !target.contains(' ')).then_some(Link {
                line: number,
                text,
                target,
            })
        })
    })
}

/// The names by which headings are linked to, as GitHub and others make them.
fn headings(text: &str) -> HashSet<String> {
    let mut found = HashSet::new();
    for (_, line) in prose(text) {
        let title = line.trim_start_matches('#');
        if title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let slug: String = title
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let again = (1..).map(|count| format!("{slug}-{count}"));
        let name = std::iter::once(slug.clone())
            .chain(again)
            .find(|name| !found.contains(name));
        found.extend(name);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> Option<String> {
        match path {
            "docs/b.md" => Some("# One\n```\n# no heading\n```\n## What's `new` (2)?\n## One\n".to_owned()),
            "tests/t.rs" => Some("async fn it_holds() {}".to_owned()),
            "docs" | "README.md" => Some(String::new()),
            _ => None,
        }
    }

    fn check(text: &str) -> Vec<String> {
        broken("docs/a.md", text, &read)
    }

    #[test]
    fn what_is_there_is_found() {
        let text = "# Here\n[a](b.md) and [b](../docs), [c](b.md#whats-new-2), [d](b.md#one-1), [e](#here),\n\
                    [f](https://example.com/x), [`it_holds`](../tests/t.rs), [the test](../tests/t.rs)\n\
                    ```\n[g](nowhere.md)\n```\n";
        assert_eq!(check(text), Vec::<String>::new());
        assert_eq!(broken("x.rs", "[a](nowhere.md)", &read), Vec::<String>::new());
    }

    #[test]
    fn what_is_not_there_is_told_with_its_line() {
        for (text, expected) in [
            ("\n[a](c.md)", "docs/a.md:2: c.md is not there"),
            (
                "[a](b.md#no-heading)",
                "docs/a.md:1: docs/b.md has no heading #no-heading",
            ),
            ("[a](#here)", "docs/a.md:1: docs/a.md has no heading #here"),
            ("[a](../../x.md)", "docs/a.md:1: ../../x.md leads out of the repository"),
            (
                "[`it_breaks`](../tests/t.rs)",
                "docs/a.md:1: tests/t.rs has no function it_breaks",
            ),
        ] {
            assert_eq!(check(text), [expected], "{text}");
        }
    }
}
