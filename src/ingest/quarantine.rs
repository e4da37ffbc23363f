//! Refused rows on their way into `<data source>_quarantine`.
//!
//! In: [`Rejected`] rows. Out: a [`Block`] with every column of the data source as text and the reasons.
//! The table itself is made elsewhere, with [`QUARANTINE_COLUMNS`] besides the data source's columns.

use super::decode::{Problem, Rejected, Schema};
use crate::{
    ddl::QUARANTINE_COLUMNS,
    name::ColumnName,
    native::{Block, Buffer},
    sql::ColumnType,
};

/// One block of everything that was refused. `now` is in seconds since 1970: of the batch, not of the row,
/// so that a batch that is inserted again is the same.
pub fn block(schema: &Schema, rejected: &[Rejected], import_id: Option<&str>, now: u32) -> Block {
    let text = ColumnType::Plain("String");
    let nullable = ColumnType::Nullable(Box::new(text.clone()));
    let array = ColumnType::Array(Box::new(text.clone()));
    let date_time = ColumnType::DateTime { zone: None };
    let mut columns: Vec<(ColumnName, &ColumnType, Buffer)> = Vec::new();
    for (at, name) in schema.columns().enumerate() {
        if QUARANTINE_COLUMNS.iter().any(|(extra, _)| *extra == name.as_str()) {
            continue;
        }
        let mut buffer = Buffer::new(&nullable);
        for row in rejected {
            match row.values.get(at).and_then(Option::as_ref) {
                Some(value) => buffer.push(value.as_bytes()),
                None => buffer.push_null(),
            }
        }
        columns.push((name.clone(), &nullable, buffer));
    }
    let mut extra = |name: &str, column_type, push: &dyn Fn(&mut Buffer, &Rejected)| {
        let mut buffer = Buffer::new(column_type);
        rejected.iter().for_each(|row| push(&mut buffer, row));
        columns.push((ColumnName::new(name).expect("a name of ours"), column_type, buffer));
    };
    let texts = |buffer: &mut Buffer, row: &Rejected, of: fn(&Problem) -> &str| {
        row.errors.iter().for_each(|it| buffer.items().push(of(it).as_bytes()));
        buffer.end();
    };
    extra("c__error_column", &array, &|buffer, row| texts(buffer, row, |it| &it.column));
    extra("c__error", &array, &|buffer, row| texts(buffer, row, |it| &it.message));
    extra("c__import_id", &nullable, &|buffer, _| match import_id {
        Some(id) => buffer.push(id.as_bytes()),
        None => buffer.push_null(),
    });
    extra("c__raw", &text, &|buffer, row| buffer.push(&row.raw));
    extra("c__source", &text, &|buffer, row| buffer.push(row.source.as_bytes()));
    extra("insertion_date", &date_time, &|buffer, _| buffer.push(&now.to_le_bytes()));
    let columns = columns.into_iter().map(|(name, column_type, buffer)| ((name, column_type), buffer));
    let (heads, buffers): (Vec<_>, Vec<_>) = columns.unzip();
    Block::encode(heads.iter().zip(buffers).map(|((name, column_type), buffer)| (name, *column_type, buffer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_has_the_columns_that_the_table_has() {
        let schema = Schema::default();
        let row = Rejected { raw: b"{".to_vec(), ..Rejected::default() };
        let block = block(&schema, &[row], None, 0);
        let columns = block.columns.iter().map(|(name, it)| (name.as_str().to_owned(), it.to_string()));
        let wanted = QUARANTINE_COLUMNS.map(|(name, it)| (name.to_owned(), it.to_owned()));
        assert_eq!(columns.collect::<Vec<_>>(), wanted);
        assert_eq!(block.rows, 1);
    }
}
