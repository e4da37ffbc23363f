//! Which field of a CSV file goes to which column.
//!
//! In: a file's first record. Out: a [`CsvLayout`]. Reading the file is not known here.

use super::Schema;

/// The place of each column in a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvLayout {
    /// By column of the schema: the field that holds it.
    fields: Vec<Option<usize>>,
    /// Fields that a record must have.
    width: usize,
    header: bool,
}

impl CsvLayout {
    /// A first record whose fields name columns, none twice, is a header; fields that name none are left out, if they
    /// look like names and are fewer than the others. Without a header, fields are in the order of the data source's
    /// columns.
    pub fn from_first_record<'a>(schema: &Schema, first: impl ExactSizeIterator<Item = &'a str> + Clone) -> CsvLayout {
        let mut fields = vec![None; schema.columns.len()];
        let mut header = true;
        let mut named = 0;
        for (at, name) in first.clone().enumerate() {
            let name = name.trim();
            match schema.columns.iter().position(|it| it.name.as_str() == name) {
                Some(column) if fields[column].is_none() => {
                    fields[column] = Some(at);
                    named += 1;
                }
                Some(_) => header = false,
                None => header &= looks_like_a_name(name),
            }
        }
        if header && 2 * named > first.len() {
            return CsvLayout { fields, width: first.len(), header };
        }
        fields.fill(None);
        for (at, column) in schema.positions.iter().enumerate() {
            if let Some(column) = column {
                fields[*column] = Some(at);
            }
        }
        CsvLayout { fields, width: schema.positions.len(), header }
    }

    /// Whether the first record names the columns and is no row.
    pub fn has_header(&self) -> bool {
        self.header
    }

    /// How many fields a record must have.
    pub fn width(&self) -> usize {
        self.width
    }

    /// A record's fields, by column. `field` gives them by their place in the record.
    pub fn arrange<'a>(&self, field: impl Fn(usize) -> Option<&'a str>, fields: &mut Vec<Option<&'a str>>) {
        fields.extend(self.fields.iter().map(|at| at.and_then(&field)));
    }
}

fn looks_like_a_name(text: &str) -> bool {
    let mut letters = text.chars();
    let first = letters.next().is_some_and(|it| it.is_alphabetic() || it == '_');
    first && letters.all(|it| it.is_alphanumeric() || matches!(it, '_' | '-' | '.' | ' '))
}
