// @clickhouse/client over the ClickHouse interface: queries, streams, inserts.
import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { createClient } from '@clickhouse/client'
import { client, passes, token } from './desk.mjs'

const connect = (more) => createClient({ url: process.env.CLICKHOUSE_URL, username: 'anyone', password: token, ...more })
const db = connect()
client('@clickhouse/client')

await passes('ping', async () => {
  assert.equal((await db.ping()).success, true)
  assert.equal((await db.ping({ select: true })).success, true)
})

const at = '2026-01-02 03:04:05'
await passes('insert of values and of a stream', async () => {
  const values = [{ at, name: 'heron', weight: 1700 }, { at, name: 'wren', weight: 9 }]
  await db.insert({ table: 'sightings', values, format: 'JSONEachRow' })
  const stream = Readable.from([[at, 'kite', 900], [at, 'owl', 450]], { objectMode: true })
  await db.insert({ table: 'sightings', values: stream, format: 'JSONCompactEachRow', columns: ['at', 'name', 'weight'] })
  const csv = Readable.from([`"${at}","tit",18\n`], { objectMode: false })
  await db.insert({ table: 'sightings', values: csv, format: 'CSV' })
})

await passes('query, with parameters, in JSON, JSONEachRow, CSV', async () => {
  const answer = await db.query({
    query: 'SELECT name, weight FROM sightings WHERE weight > {least: Int32} AND name != {not: String} ORDER BY name',
    query_params: { least: 100, not: 'owl' },
    format: 'JSON',
  })
  const json = await answer.json()
  assert.deepEqual(json.data, [{ name: 'heron', weight: 1700 }, { name: 'kite', weight: 900 }])
  assert.equal(json.meta[1].type, 'Int32')
  const rows = await db.query({ query: 'SELECT count() AS n FROM sightings', format: 'JSONEachRow' })
  assert.equal(Number((await rows.json())[0].n), 5)
  const csv = await db.query({ query: 'SELECT 1 AS a', format: 'CSVWithNames' })
  assert.equal(await csv.text(), '"a"\n1\n')
})

await passes('streams of a million rows', async () => {
  const answer = await db.query({ query: 'SELECT number FROM numbers(1000000)', format: 'JSONCompactEachRow' })
  let seen = 0
  for await (const rows of answer.stream()) seen += rows.length
  assert.equal(seen, 1_000_000)
})

await passes('packed answers and bodies', async () => {
  const packed = connect({ compression: { response: true, request: true } })
  await packed.insert({ table: 'sightings', values: [{ at, name: 'rook', weight: 400 }], format: 'JSONEachRow' })
  const answer = await packed.query({ query: 'SELECT count() AS n FROM sightings', format: 'JSONEachRow' })
  assert.equal(Number((await answer.json())[0].n), 6)
  await packed.close()
})

await passes('SHOW, DESCRIBE and system.columns', async () => {
  const tables = await db.query({ query: 'SHOW TABLES', format: 'JSONEachRow' })
  assert.ok((await tables.json()).some((it) => it.name === 'sightings'))
  const described = await db.query({ query: 'DESCRIBE TABLE weights', format: 'JSONEachRow' })
  assert.ok((await described.json()).length > 0)
})

await passes('errors with their codes, also amid rows', async () => {
  const wrong = await db.query({ query: 'SELECT nope FROM sightings', format: 'JSON' }).catch((it) => it)
  assert.equal(wrong.code, '47')
  assert.equal(wrong.type, 'UNKNOWN_IDENTIFIER')
  const denied = await connect({ password: 'p.nothing' }).query({ query: 'SELECT 1' }).catch((it) => it)
  assert.equal(denied.code, '516')
  const query = 'SELECT number, throwIf(number = 900000) FROM numbers(1000000)'
  const cut = await db
    .query({ query, format: 'JSONEachRow' })
    .then((it) => it.text())
    .catch((it) => it)
  assert.ok(cut instanceof Error, String(cut).slice(-500))
})

await db.close()
