// The library of mockingbird: events made from a schema, at a rate, up to a limit.
import { TinybirdGenerator } from '@tinybirdco/mockingbird'
import assert from 'node:assert/strict'
import { client, host, passes, rows, token, until } from './desk.mjs'

client('@tinybirdco/mockingbird')

await passes('a generator of events', async () => {
  const generator = new TinybirdGenerator({
    schema: {
      at: { type: 'mockingbird.datetimeNow' },
      name: { type: 'mockingbird.pick', params: [{ values: ['wren', 'robin'] }] },
      weight: { type: 'number.int', params: [{ min: 5, max: 20 }] },
    },
    eps: 100,
    limit: 200,
    endpoint: host,
    datasource: 'sightings',
    token,
  })
  await generator.generate()
  const [seen] = await until(async () => {
    const found = await rows(
      "SELECT count() AS c, countIf(name IN ('wren', 'robin') AND weight BETWEEN 5 AND 20) AS good FROM sightings",
    )
    return found[0].c >= 200 && found
  })
  assert.equal(seen.good, seen.c)
})
