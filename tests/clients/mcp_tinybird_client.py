"""mcp-tinybird over stdio, driven by the MCP library's own client: each of its tools that needs no other host."""

import asyncio
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from desk import HOST, TOKEN, passes
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

SERVER = StdioServerParameters(
    command=str(Path(sys.executable).with_name("mcp-tinybird")),
    env={
        "TB_API_URL": HOST,
        "TB_ADMIN_TOKEN": TOKEN,
        # It reports its own use to a host of its makers; this leads nowhere.
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "PATH": os.environ["PATH"],
    },
)


async def main():
    passes.client("mcp-tinybird", version("mcp-tinybird"))
    with open(os.devnull, "w") as quiet:
        async with stdio_client(SERVER, errlog=quiet) as (reads, writes), ClientSession(reads, writes) as session:
            await session.initialize()
            await use(session)


async def use(session):
    async def tool(name, **arguments):
        answer = await session.call_tool(name, arguments)
        text = answer.content[0].text
        assert not answer.isError, (name, text)
        return text

    with passes("save-event"):
        event = '{"at":"2026-01-02 03:04:05","name":"wren","weight":9}'
        assert '"successful_rows":1' in await tool("save-event", datasource_name="sightings", data=event)
    with passes("list-data-sources, get-data-source"):
        assert "name='sightings'" in await tool("list-data-sources")
        assert "'weight'" in await tool("get-data-source", datasource_id="sightings")
    with passes("list-pipes, get-pipe"):
        assert "name='weights'" in await tool("list-pipes")
        assert "FROM sightings" in await tool("get-pipe", pipe_id="weights")
    with passes("run-select-query, request-pipe-data"):
        while "[{'c': 1}]" not in await tool("run-select-query", select_query="SELECT count() AS c FROM sightings"):
            await asyncio.sleep(0.05)
        assert "'weight': 9" in await tool("request-pipe-data", pipe_id="weights", params={"name": "wren"})
    with passes("analyze-pipe"):
        assert "sightings" in await tool("analyze-pipe", pipe_name="weights")
    with passes("push-datafile"), tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "nests.datasource")
        file.write_text('SCHEMA >\n    `eggs` Int32\n\nENGINE "MergeTree"\nENGINE_SORTING_KEY "eggs"\n')
        await tool("push-datafile", files=str(file))
        assert "name='nests'" in await tool("list-data-sources")


asyncio.run(main())
