//! The forms that an answer can have: those of the API, and the further ones that ClickHouse's own clients ask for.
//!
//! In: the name after FORMAT. Out: a [`Format`], which knows how the engine calls it and how the chunks of a streamed
//! answer fit together. Who may ask for which is not known here.

/// The output formats that callers can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    Json,
    Csv,
    CsvWithNames,
    Tsv,
    TsvWithNames,
    PrettyCompact,
    JsonEachRow,
    Parquet,
    Prometheus,
    /// One that the API does not offer.
    Wire(&'static WireFormat),
}

/// A format of ClickHouse by its name.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct WireFormat {
    pub name: &'static str,
    pub chunks: Chunks,
    pub content_type: &'static str,
}

/// What the engine repeats in every chunk of a streamed answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Chunks {
    /// Nothing: one after another they are the answer.
    Seamless,
    /// So many lines; in CSV a name may hold line breaks between quotes.
    Lines { count: usize, quoted: bool },
    /// The names of the columns in binary, and perhaps their types.
    Names { types: bool },
    /// Each is a document of its own, so the answer is made whole.
    Whole,
}

const TEXT: &str = "text/plain; charset=UTF-8";
const CSV: &str = "text/csv; charset=UTF-8; header=present";
const TSV: &str = "text/tab-separated-values; charset=UTF-8";
const JSON: &str = "application/json; charset=UTF-8";
const LINES: &str = "application/x-ndjson; charset=UTF-8";
const BINARY: &str = "application/octet-stream";

const fn wire(name: &'static str, chunks: Chunks, content_type: &'static str) -> WireFormat {
    WireFormat { name, chunks, content_type }
}

const fn lines(count: usize) -> Chunks {
    Chunks::Lines { count, quoted: false }
}

static WIRE: &[WireFormat] = &[
    wire("Native", Chunks::Seamless, BINARY),
    wire("RowBinary", Chunks::Seamless, BINARY),
    wire("RowBinaryWithNames", Chunks::Names { types: false }, BINARY),
    wire("RowBinaryWithNamesAndTypes", Chunks::Names { types: true }, BINARY),
    wire("TabSeparatedWithNamesAndTypes", lines(2), TSV),
    wire("TabSeparatedRaw", Chunks::Seamless, TSV),
    wire("TabSeparatedRawWithNames", lines(1), TSV),
    wire("TabSeparatedRawWithNamesAndTypes", lines(2), TSV),
    wire("CSVWithNamesAndTypes", Chunks::Lines { count: 2, quoted: true }, CSV),
    wire("JSONStringsEachRow", Chunks::Seamless, LINES),
    wire("JSONCompactEachRow", Chunks::Seamless, LINES),
    wire("JSONCompactEachRowWithNames", lines(1), LINES),
    wire("JSONCompactEachRowWithNamesAndTypes", lines(2), LINES),
    wire("JSONCompactStringsEachRow", Chunks::Seamless, LINES),
    wire("JSONCompactStringsEachRowWithNames", lines(1), LINES),
    wire("JSONCompactStringsEachRowWithNamesAndTypes", lines(2), LINES),
    wire("JSONCompact", Chunks::Whole, JSON),
    wire("JSONStrings", Chunks::Whole, JSON),
    wire("JSONCompactStrings", Chunks::Whole, JSON),
    wire("JSONColumns", Chunks::Whole, JSON),
    wire("JSONCompactColumns", Chunks::Whole, JSON),
    wire("JSONColumnsWithMetadata", Chunks::Whole, JSON),
    wire("JSONObjectEachRow", Chunks::Whole, JSON),
    wire("MsgPack", Chunks::Seamless, "application/vnd.msgpack"),
    wire("BSONEachRow", Chunks::Seamless, BINARY),
    wire("Null", Chunks::Seamless, TEXT),
    wire("RawBLOB", Chunks::Seamless, BINARY),
    wire("Arrow", Chunks::Whole, BINARY),
    wire("ArrowStream", Chunks::Whole, BINARY),
    wire("ORC", Chunks::Whole, BINARY),
    wire("Avro", Chunks::Whole, BINARY),
    wire("Values", Chunks::Whole, TEXT),
    wire("SQLInsert", Chunks::Whole, TEXT),
    wire("Vertical", Chunks::Whole, TEXT),
    wire("Markdown", Chunks::Whole, "text/markdown; charset=UTF-8"),
    wire("XML", Chunks::Whole, "application/xml; charset=UTF-8"),
    wire("Pretty", Chunks::Whole, TEXT),
    wire("PrettyNoEscapes", Chunks::Whole, TEXT),
    wire("PrettyMonoBlock", Chunks::Whole, TEXT),
    wire("PrettyCompactMonoBlock", Chunks::Whole, TEXT),
    wire("PrettyCompactNoEscapes", Chunks::Whole, TEXT),
    wire("PrettySpace", Chunks::Whole, TEXT),
    wire("PrettyJSONEachRow", Chunks::Seamless, LINES),
];

impl Format {
    /// Those of the API.
    pub const ALL: [Format; 9] = [
        Format::Json,
        Format::Csv,
        Format::CsvWithNames,
        Format::Tsv,
        Format::TsvWithNames,
        Format::PrettyCompact,
        Format::JsonEachRow,
        Format::Parquet,
        Format::Prometheus,
    ];

    /// Whether it shows a column as it is in memory: the list of all paths that its rows ever had.
    pub(super) fn shows_form(self) -> bool {
        self.engine_name() == "Native"
    }

    /// The name that callers know it by.
    pub fn name(self) -> &'static str {
        match self {
            Format::Tsv => "TSV",
            Format::TsvWithNames => "TSVWithNames",
            other => other.engine_name(),
        }
    }

    /// The engine's own name of the format.
    pub fn engine_name(self) -> &'static str {
        match self {
            Format::Json => "JSON",
            Format::Csv => "CSV",
            Format::CsvWithNames => "CSVWithNames",
            Format::Tsv => "TabSeparated",
            Format::TsvWithNames => "TabSeparatedWithNames",
            Format::PrettyCompact => "PrettyCompact",
            Format::JsonEachRow => "JSONEachRow",
            Format::Parquet => "Parquet",
            Format::Prometheus => "Prometheus",
            Format::Wire(wire) => wire.name,
        }
    }

    /// The format of the API that a `FORMAT x` names, in any case.
    pub fn parse(name: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|it| it.name().eq_ignore_ascii_case(name))
    }

    /// Any format that ClickHouse's clients may ask for, in any case; `TSV` is short for `TabSeparated`.
    pub fn parse_wire(name: &str) -> Option<Format> {
        let long =
            name.get(..3).filter(|it| it.eq_ignore_ascii_case("TSV")).map(|_| format!("TabSeparated{}", &name[3..]));
        let name = long.as_deref().unwrap_or(name);
        let name = match name.to_ascii_lowercase().as_str() {
            "ndjson" | "jsonlines" => "JSONEachRow".to_owned(),
            _ => name.to_owned(),
        };
        let of_api = Format::ALL.into_iter().find(|it| it.engine_name().eq_ignore_ascii_case(&name));
        of_api.or_else(|| WIRE.iter().find(|it| it.name.eq_ignore_ascii_case(&name)).map(Format::Wire))
    }

    /// Whether rows can come in this format. Those that could make the engine open a file or run an expression are none.
    pub fn takes_rows(self) -> bool {
        match self {
            Format::Json | Format::JsonEachRow | Format::Parquet => true,
            Format::Csv | Format::CsvWithNames | Format::Tsv | Format::TsvWithNames => true,
            Format::PrettyCompact | Format::Prometheus => false,
            Format::Wire(WireFormat { name, .. }) => {
                let begins = ["RowBinary", "TabSeparated", "CSV", "JSONCompact", "JSONStrings"];
                let others = ["Native", "Values", "Arrow", "ArrowStream", "JSONObjectEachRow", "JSONColumns"];
                (begins.iter().any(|it| name.starts_with(it)) || others.contains(name)) && *name != "JSONStrings"
            }
        }
    }

    /// How the chunks of a streamed answer fit together; nothing for JSON, whose documents are taken apart.
    pub fn chunks(self) -> Option<Chunks> {
        Some(match self {
            Format::Json => return None,
            Format::Csv | Format::Tsv | Format::JsonEachRow => Chunks::Seamless,
            Format::CsvWithNames => Chunks::Lines { count: 1, quoted: true },
            Format::TsvWithNames => Chunks::Lines { count: 1, quoted: false },
            Format::PrettyCompact | Format::Parquet | Format::Prometheus => Chunks::Whole,
            Format::Wire(wire) => wire.chunks,
        })
    }

    /// The media type that ClickHouse gives.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Json => JSON,
            Format::Csv => "text/csv; charset=UTF-8; header=absent",
            Format::CsvWithNames => CSV,
            Format::Tsv | Format::TsvWithNames => TSV,
            Format::PrettyCompact | Format::Prometheus => TEXT,
            Format::JsonEachRow => LINES,
            Format::Parquet => BINARY,
            Format::Wire(wire) => wire.content_type,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_have_one_name_and_some_a_short_one() {
        for (name, engine) in [
            ("TSV", "TabSeparated"),
            ("tsvwithnamesandtypes", "TabSeparatedWithNamesAndTypes"),
            ("TSVRaw", "TabSeparatedRaw"),
            ("native", "Native"),
            ("JSONLines", "JSONEachRow"),
            ("JSON", "JSON"),
        ] {
            assert_eq!(Format::parse_wire(name).map(Format::engine_name), Some(engine), "{name}");
        }
        assert_eq!(Format::parse_wire("Template"), None);
        assert_eq!(Format::parse("Native"), None);
        assert_eq!(Format::parse("TSV"), Some(Format::Tsv));
    }
}
