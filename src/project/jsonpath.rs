//! Jsonpaths, compiled.

use super::{JsonPath, JsonStep};

impl JsonPath {
    /// Compiles `$.a.b`, `$.['x.y']`, `$.a[:].b`, `$.a[0]` and `$`; the error says what is wrong and where.
    pub fn parse(text: &str) -> Result<JsonPath, (usize, String)> {
        let mut rest = text.strip_prefix('$').ok_or_else(|| (0, "a jsonpath begins with `$`".to_owned()))?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let at = text.len() - rest.len();
            let (step, after) = step(rest).map_err(|message| (at, message))?;
            steps.push(step);
            rest = after;
        }
        Ok(JsonPath { text: text.to_owned(), steps })
    }
}

fn step(rest: &str) -> Result<(JsonStep, &str), String> {
    if let Some(inside) = rest.strip_prefix('[').or_else(|| rest.strip_prefix(".[")) {
        if let Some(quote) = inside.chars().next().filter(|it| matches!(it, '\'' | '"')) {
            let inside = &inside[1..];
            let end = inside.find(quote).ok_or_else(|| format!("the quote {quote} is not closed"))?;
            let after = inside[end + 1..].strip_prefix(']').ok_or("`]` is missing after the quoted key")?;
            return Ok((JsonStep::Key(inside[..end].to_owned()), after));
        }
        let (index, after) = inside.split_once(']').ok_or("`]` is missing")?;
        return match index.trim() {
            ":" | "*" => Ok((JsonStep::Each, after)),
            index => match index.parse() {
                Ok(index) => Ok((JsonStep::Index(index), after)),
                Err(_) => Err(format!("`[{index}]` is neither an index nor `[:]`, which means every item")),
            },
        };
    }
    let key = rest.strip_prefix('.').ok_or("a step begins with `.` or `[`")?;
    let end = key.find(['.', '[']).unwrap_or(key.len());
    if end == 0 {
        return Err("a key is missing after `.`".to_owned());
    }
    Ok((JsonStep::Key(key[..end].to_owned()), &key[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_steps() {
        let key = |it: &str| JsonStep::Key(it.to_owned());
        for (text, steps) in [
            ("$", vec![]),
            ("$.a.b", vec![key("a"), key("b")]),
            ("$.['x-y.z']", vec![key("x-y.z")]),
            ("$['$geo'].c", vec![key("$geo"), key("c")]),
            ("$.a[:].b", vec![key("a"), JsonStep::Each, key("b")]),
            ("$.list[0].v", vec![key("list"), JsonStep::Index(0), key("v")]),
            ("$.tags[:]", vec![key("tags"), JsonStep::Each]),
        ] {
            assert_eq!(JsonPath::parse(text).map(|it| it.steps), Ok(steps), "{text}");
        }
    }

    #[test]
    fn wrong_paths_say_where() {
        for (text, at) in [("a.b", 0), ("$.", 1), ("$..a", 1), ("$.a[x]", 3), ("$.a['b]", 3), ("$a", 1), ("$.a[", 3)] {
            assert_eq!(JsonPath::parse(text).map_err(|(at, _)| at), Err(at), "{text}");
        }
    }
}
