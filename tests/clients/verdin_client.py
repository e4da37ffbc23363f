"""verdin, as its documentation uses it: events, appends, queries, resources."""

from importlib.metadata import version

from desk import HOST, TOKEN, passes, the_error

from verdin.client import Client
from verdin.pipe import PipeError
from verdin.query import OutputFormat, QueryError

AT = "2026-01-02 03:04:05"

passes.client("verdin", version("verdin"))
client = Client(TOKEN, HOST)
sightings = client.datasource("sightings")
weights = client.pipe("weights")


def count():
    return client.sql("SELECT count() AS c FROM sightings").json().data[0]["c"]


with passes("events"):
    sent = sightings.send_events([{"at": AT, "name": "wren", "weight": 9}], wait=True)
    assert (sent.successful_rows, sent.quarantined_rows) == (1, 0)
    assert count() == 1

with passes("append CSV and NDJSON"):
    assert sightings.append_csv([[AT, "tit", 11]]).json()["invalid_lines"] == 0
    assert sightings.append_ndjson([{"at": AT, "name": "robin", "weight": 18}]).json()["quarantine_rows"] == 0
    assert count() == 3

with passes("endpoints, their parameters, SQL over them, pages"):
    everything = [("robin", 18), ("tit", 11), ("wren", 9)]
    answer = weights.query()
    assert [(row["name"], row["weight"]) for row in answer.data] == everything, answer.data
    assert answer.meta == [("name", "String"), ("sightings", "UInt64"), ("weight", "Int64")], answer.meta
    assert [row["weight"] for row in weights.query({"name": "tit"}).data] == [11]
    assert weights.sql("SELECT max(weight) AS most FROM _").data == [{"most": 18}]
    assert [[row["name"] for row in page.data] for page in weights.pages(page_size=2)] == [["robin", "tit"], ["wren"]]

with passes("/v0/sql in each of its formats"):
    firsts = {
        OutputFormat.CSV: '"robin"\n',
        OutputFormat.CSVWithNames: '"name"\n"robin"\n',
        OutputFormat.TSV: "robin\n",
        OutputFormat.TSVWithNames: "name\nrobin\n",
        OutputFormat.JSONEachRow: '{"name":"robin"}\n',
    }
    for output in OutputFormat:
        text = client.sql("SELECT name FROM sightings ORDER BY name LIMIT 1").get(output).text
        assert "robin" in text, (output, text)
        assert firsts.get(output, text) == text, (output, text)

with passes("errors"):
    assert "nope" in str(the_error(QueryError, client.sql("SELECT nope FROM sightings").json))
    assert "nope" in str(the_error(PipeError, lambda: weights.sql("SELECT nope FROM _")))

with passes("lists, tokens, variables, truncate"):
    assert "sightings" in [it["name"] for it in client.api.datasources.list().datasources]
    assert client.api.datasources.get_information("sightings").info["name"] == "sightings"
    assert "weights" in [it["name"] for it in client.api.pipes.list().pipes]
    assert client.api.pipes.get_information("weights").info["name"] == "weights"
    assert client.api.tokens.list().tokens
    variables = client.api.variables
    variables.create("nest", "box", "secret")
    assert [it["name"] for it in variables.list().variables] == ["nest"]
    variables.update("nest", "tree")
    variables.delete("nest")
    assert variables.list().variables == []
    sightings.truncate()
    assert count() == 0
