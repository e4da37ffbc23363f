"""tinybird-python-sdk (its module is called `tb`): buffered events, and its handler of Python's logging."""

import logging
from importlib.metadata import version

import requests
from desk import HOST, TOKEN, passes, until
from tb.datasource import Datasource
from tb.logger import TinybirdLoggingHandler

passes.client("tinybird-python-sdk", version("tinybird-python-sdk"))


def rows(sql):
    answer = requests.get(f"{HOST}/v0/sql", params={"q": f"{sql} FORMAT JSON", "token": TOKEN}, timeout=60)
    answer.raise_for_status()
    return answer.json()["data"]


with passes("events, buffered"):
    with Datasource("sightings", TOKEN, api_url=HOST) as sightings:
        for weight in range(1000):
            sightings << {"at": "2026-01-02 03:04:05", "name": "wren", "weight": weight}
    until(lambda: rows("SELECT count() AS c, sum(weight) AS s FROM sightings") == [{"c": 1000, "s": 499500}])

with passes("a handler of Python's logging"):
    logger = logging.getLogger("birds")
    logger.addHandler(TinybirdLoggingHandler(TOKEN, HOST, "garden", ds_name="tb_logs"))
    logger.warning("a cat in the garden")
    seen = until(lambda: rows("SELECT levelname, formatted_message FROM tb_logs WHERE name = 'birds'"))
    assert seen == [{"levelname": "WARNING", "formatted_message": "a cat in the garden"}], seen
