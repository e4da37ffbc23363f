"""clickhouse-connect over the ClickHouse interface: queries, data frames, streams, inserts, what it asks by itself."""

import datetime
import os
from importlib.metadata import version
from urllib.parse import urlsplit

import clickhouse_connect
import numpy
import pandas
from clickhouse_connect.driver.exceptions import DatabaseError
from desk import TOKEN, passes, the_error

url = urlsplit(os.environ["CLICKHOUSE_URL"])


def connect(password=TOKEN, **more):
    return clickhouse_connect.get_client(host=url.hostname, port=url.port, username="anyone", password=password, **more)


passes.client("clickhouse-connect", version("clickhouse-connect"))
client = connect()
at = datetime.datetime(2026, 1, 2, 3, 4, 5)

with passes("insert by columns and rows"):
    rows = [[at, "heron", 1700], [at, "wren", 9]]
    written = client.insert("sightings", rows, column_names=["at", "name", "weight"])
    assert written.written_rows == 2, written.summary
    client.insert("sightings", [[at], ["kite"], [900]], column_names=["at", "name", "weight"], column_oriented=True)

with passes("query, with parameters"):
    result = client.query("SELECT name, weight, at FROM sightings ORDER BY name")
    assert result.result_rows == [("heron", 1700, at), ("kite", 900, at), ("wren", 9, at)], result.result_rows
    heavy = client.query("SELECT name FROM sightings WHERE weight > {least:Int32} ORDER BY name", parameters={"least": 500})
    assert heavy.result_columns == [["heron", "kite"]], heavy.result_columns
    assert client.query("SELECT %(it)s AS it", parameters={"it": "it's"}).first_row == ("it's",)

with passes("query_df and insert_df"):
    frame = client.query_df("SELECT name, weight FROM sightings ORDER BY name")
    assert list(frame["weight"]) == [1700, 900, 9], frame
    more = pandas.DataFrame({"at": [pandas.Timestamp(at)], "name": ["owl"], "weight": numpy.array([450], dtype="int32")})
    client.insert_df("sightings", more)
    assert client.command("SELECT count() FROM sightings") == 4

with passes("query_arrow and query_np"):
    table = client.query_arrow("SELECT name, weight FROM sightings ORDER BY name")
    assert table.column("name").to_pylist() == ["heron", "kite", "owl", "wren"], table
    assert client.query_np("SELECT weight FROM sightings ORDER BY weight").flatten().tolist() == [9, 450, 900, 1700]

with passes("streams of a million rows"):
    seen = 0
    with client.query_row_block_stream("SELECT number, toString(number) FROM numbers(1000000)") as blocks:
        for block in blocks:
            seen += len(block)
    assert seen == 1_000_000, seen

with passes("lz4, zstd, gzip and none"):
    for compress in ["lz4", "zstd", "gzip", False]:
        other = connect(compress=compress)
        assert other.query("SELECT sum(number) FROM numbers(10)").first_row == (45,), compress
        other.insert("test_results", [[at, "a", "b", "call", 0.5, "passed"]])

with passes("raw queries and inserts in other formats"):
    assert client.raw_query("SELECT 1 AS a", fmt="JSONEachRow") == b'{"a":1}\n'
    client.raw_insert("sightings", insert_block='{"at":"2026-01-02 03:04:05","name":"tit","weight":18}\n', fmt="JSONEachRow")
    assert client.command("SELECT count() FROM sightings WHERE name = 'tit'") == 1

with passes("SHOW, DESCRIBE, EXISTS, system.tables and system.columns"):
    assert "sightings" in client.command("SHOW TABLES")
    assert client.command("EXISTS TABLE sightings") == 1 and client.command("EXISTS nothing") == 0
    described = client.query("DESCRIBE TABLE sightings").result_rows
    assert [row[:2] for row in described] == [("at", "DateTime"), ("name", "String"), ("weight", "Int32")], described
    kinds = client.query("SELECT name, engine FROM system.tables WHERE name IN ('sightings', 'weights') ORDER BY name")
    assert kinds.result_rows == [("sightings", "MergeTree"), ("weights", "View")], kinds.result_rows
    columns = "SELECT name FROM system.columns WHERE table = 'sightings' ORDER BY position"
    assert client.query(columns).result_columns == [["at", "name", "weight"]]

with passes("errors with their codes"):
    wrong = the_error(DatabaseError, lambda: client.query("SELECT nope FROM sightings"))
    assert "UNKNOWN_IDENTIFIER" in str(wrong), wrong
    cut = the_error(Exception, lambda: client.query("SELECT throwIf(number = 900000) FROM numbers(1000000)"))
    assert "throwIf" in str(cut) or "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO" in str(cut), cut
    denied = the_error(DatabaseError, lambda: connect(password="p.nothing"))
    assert "AUTHENTICATION_FAILED" in str(denied), denied
