// What each client's script has at hand: where the server is, and how it says what passes.
import { readFileSync } from 'node:fs'

export const host = process.env.TB_HOST
export const token = process.env.TB_TOKEN

export function client(name) {
  const about = readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url))
  console.log(JSON.stringify({ client: name, version: JSON.parse(about).version }))
}

export async function passes(what, block) {
  await block()
  console.log(JSON.stringify({ passes: what }))
}

export async function rows(sql) {
  const url = new URL('/v0/sql', host)
  url.searchParams.set('q', `${sql} FORMAT JSON`)
  const answer = await fetch(url, { headers: { Authorization: `Bearer ${token}` } })
  const text = await answer.text()
  if (!answer.ok) throw new Error(text)
  return JSON.parse(text).data
}

// Many clients send events and do not wait for the insert.
export async function until(condition, seconds = 60) {
  const end = Date.now() + seconds * 1000
  for (;;) {
    const seen = await condition()
    if (seen) return seen
    if (Date.now() > end) throw new Error(`not within ${seconds} s`)
    await new Promise((done) => setTimeout(done, 50))
  }
}
