// zod-bird: typed events and typed endpoints.
import { Tinybird } from '@chronark/zod-bird'
import assert from 'node:assert/strict'
import { z } from 'zod'
import { client, host, passes, token } from './desk.mjs'

client('@chronark/zod-bird')
const bird = new Tinybird({ baseUrl: host, token })

await passes('events', async () => {
  const send = bird.buildIngestEndpoint({
    datasource: 'sightings',
    event: z.object({ at: z.string(), name: z.string(), weight: z.number() }),
    wait: true,
  })
  const at = '2026-01-02 03:04:05'
  const sent = await send([
    { at, name: 'wren', weight: 9 },
    { at, name: 'tit', weight: 11 },
  ])
  assert.deepEqual(sent, { successful_rows: 2, quarantined_rows: 0 })
})

await passes('endpoints and their parameters', async () => {
  const weights = bird.buildPipe({
    pipe: 'weights',
    parameters: z.object({ name: z.string().optional() }),
    data: z.object({ name: z.string(), sightings: z.number(), weight: z.number() }),
  })
  assert.equal((await weights({})).data.length, 2)
  assert.deepEqual((await weights({ name: 'tit' })).data, [{ name: 'tit', sightings: 1, weight: 11 }])
})

await passes('errors', async () => {
  const none = bird.buildPipe({ pipe: 'no_such_pipe', data: z.any() })
  await assert.rejects(none({}), /no_such_pipe/)
  const stranger = new Tinybird({ baseUrl: host, token: 'p.nobody' }).buildPipe({ pipe: 'weights', data: z.any() })
  await assert.rejects(stranger({}), /Unauthorized/)
})
