//! A column as it is written in canonical order.

use super::ast::ColumnLine;
use crate::sql::ColumnType;

impl ColumnLine {
    /// The type without the `Nullable(..)` around it, and whether that was there.
    pub fn plain_type(&self) -> (&str, bool) {
        let text = self.type_text.as_str();
        let head = text.get(..9).filter(|it| it.eq_ignore_ascii_case("nullable("));
        match head.and(text.strip_suffix(')')) {
            Some(inner) => (&inner[9..], true),
            None => (text, false),
        }
    }

    /// DEFAULT or MATERIALIZED, and the expression behind it.
    pub fn default_value(&self) -> Option<(&'static str, &str)> {
        let default = self.default.as_ref().map(|it| ("DEFAULT", it.as_str()));
        default.or_else(|| self.materialized.as_ref().map(|it| ("MATERIALIZED", it.as_str())))
    }

    /// With its word in capitals, however it was written.
    pub fn codec_clause(&self) -> Option<String> {
        let text = self.codec.as_ref()?.as_str();
        Some(format!("CODEC{}", text.get(5..).unwrap_or_default().trim()))
    }

    /// Name, type, jsonpath, default, codec.
    pub fn written(&self) -> String {
        let mut text = format!("`{}`", self.name);
        let mut add = |part: &str| {
            text.push(' ');
            text.push_str(part);
        };
        match self.plain_type() {
            ("", _) => (),
            (plain, false) => add(plain),
            (plain, true) => match ColumnType::parse(plain) {
                Ok(ColumnType::SimpleAggregateFunction { function, argument }) => {
                    add(&format!("SimpleAggregateFunction({function}, Nullable({argument}))"));
                }
                _ => add(&format!("Nullable({plain})")),
            },
        }
        if let Some(path) = &self.jsonpath {
            add(&format!("`json:{path}`"));
        }
        if let Some((kind, value)) = self.default_value() {
            add(&format!("{kind} {value}"));
        }
        if let Some(codec) = self.codec_clause() {
            add(&codec);
        }
        text
    }
}
