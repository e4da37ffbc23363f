//! What tables remember of inserts, put right before the engine opens them.
//!
//! The engine writes down that it knows an insert's token before the insert's part has its name, and a crash between
//! the two leaves a table that remembers rows which it has not: their repetition would be dropped. So what is
//! remembered of parts that are not there is forgotten.
//!
//! In: the engine's folder, while no engine uses it. Out: records that take back others, appended to
//! `deduplication_log_N.txt`. A record is `1` (known) or `2` (forgotten), the part, and the name of the insert in it,
//! with tabs between. A part is `partition_first_last_level`, and is there as well when another has taken it in.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

const FOLDER: &str = "deduplication_logs";

#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    partition: String,
    first: u64,
    last: u64,
}

/// Puts every table of a data folder right; gives how many inserts were forgotten.
pub(super) fn put_right(data: &Path) -> io::Result<usize> {
    let mut forgotten = 0;
    for group in folders(&data.join("store"))? {
        for table in folders(&group)? {
            if table.join(FOLDER).is_dir() {
                forgotten += put_table_right(&table)?;
            }
        }
    }
    Ok(forgotten)
}

fn put_table_right(table: &Path) -> io::Result<usize> {
    let logs = logs(&table.join(FOLDER))?;
    let Some((_, latest)) = logs.last_key_value() else { return Ok(0) };
    // By the insert's name in its partition. The engine reads the logs in this order too.
    let mut known = BTreeMap::new();
    for path in logs.values() {
        let text = fs::read(path)?;
        for record in String::from_utf8_lossy(&text).split_terminator('\n') {
            let mut fields = record.splitn(3, '\t');
            match (fields.next(), fields.next(), fields.next()) {
                (Some("1"), Some(part), Some(insert)) => _ = known.insert(insert.to_owned(), part.to_owned()),
                (Some("2"), _, Some(insert)) => _ = known.remove(insert),
                _ => {}
            }
        }
    }
    if known.is_empty() {
        return Ok(0);
    }
    let mut there: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for part in folders(table)?.iter().filter_map(|it| Part::read(it.file_name()?.to_str()?)) {
        there.entry(part.partition.clone()).or_default().push(part);
    }
    let is_there = |part: &Part| there.get(&part.partition).is_some_and(|all| all.iter().any(|it| it.has(part)));
    let gone = known.iter().filter(|(_, part)| Part::read(part).is_some_and(|it| !is_there(&it)));
    let records: Vec<_> = gone.map(|(insert, part)| format!("2\t{part}\t{insert}\n")).collect();
    if !records.is_empty() {
        let mut file = OpenOptions::new().append(true).open(latest)?;
        file.write_all(records.concat().as_bytes())?;
        file.sync_all()?;
    }
    Ok(records.len())
}

/// By their numbers. What a crash left of a record at the end of one was never a record, and goes.
fn logs(folder: &Path) -> io::Result<BTreeMap<u64, PathBuf>> {
    let mut res = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let number =
            path.file_name().and_then(|it| it.to_str()?.strip_prefix("deduplication_log_")?.strip_suffix(".txt"));
        let Some(number) = number.and_then(|it| it.parse().ok()) else { continue };
        let text = fs::read(&path)?;
        let whole = text.iter().rposition(|it| *it == b'\n').map_or(0, |it| it + 1);
        if whole < text.len() {
            OpenOptions::new().write(true).open(&path)?.set_len(whole as u64)?;
        }
        res.insert(number, path);
    }
    Ok(res)
}

fn folders(of: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(of) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(error),
    };
    let mut res = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            res.push(path);
        }
    }
    Ok(res)
}

impl Part {
    fn read(name: &str) -> Option<Part> {
        let mut fields = name.split('_');
        let partition = fields.next()?.to_owned();
        let [first, last, _level] =
            [fields.next()?.parse().ok()?, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?];
        // A mutation's number may follow.
        Some(Part { partition, first, last })
    }

    /// Of one partition.
    fn has(&self, other: &Part) -> bool {
        self.first <= other.first && other.last <= self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_of_parts_that_are_not_there_is_forgotten() {
        let data = tempfile::tempdir().unwrap();
        let table = data.path().join("store/abc/abcdef");
        let log = table.join(FOLDER);
        for part in ["all_1_3_1", "202601_1_1_0_7", "tmp_insert_all_5_5_0", "detached"] {
            fs::create_dir_all(table.join(part)).unwrap();
        }
        fs::create_dir_all(&log).unwrap();
        fs::create_dir_all(data.path().join("store/abc/without")).unwrap();
        fs::write(log.join("deduplication_log_2.txt"), "1\tall_4_4_0\tall_4\n1\tall_5_5_0\tall_5\n1\tall_6_6_0\tal")
            .unwrap();
        fs::write(
            log.join("deduplication_log_1.txt"),
            "1\tall_2_2_0\tall_2\n1\t202601_1_1_0\t202601_1\n2\tall_4_4_0\tall_4\n",
        )
        .unwrap();
        assert_eq!(put_right(data.path()).unwrap(), 2);
        let text = fs::read_to_string(log.join("deduplication_log_2.txt")).unwrap();
        let wanted = "1\tall_4_4_0\tall_4\n1\tall_5_5_0\tall_5\n2\tall_4_4_0\tall_4\n2\tall_5_5_0\tall_5\n";
        assert_eq!(text, wanted);
        assert_eq!(put_right(data.path()).unwrap(), 0, "once");
        assert_eq!(put_right(&data.path().join("nothing")).unwrap(), 0);
    }
}
