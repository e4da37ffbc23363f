// charts and flock.js in a real browser, in a page of another origin than the server's.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import http from 'node:http'
import { build } from 'esbuild'
import puppeteer from 'puppeteer-core'
import { client, host, passes, rows, token, until } from './desk.mjs'

const chart = `
  import React from 'react'
  import { createRoot } from 'react-dom/client'
  import { BarChart, Table, useQuery } from '@tinybirdco/charts'
  const query = { endpoint: '${host}/v0/pipes/weights.json', token: '${token}' }
  const long = 'wren' + ' '.repeat(3000)
  function Hook() {
    const { data, error } = useQuery({ ...query, params: { name: new URL(location).searchParams.get('long') ? long : 'tit' } })
    return <pre id="hook">{error ? 'error: ' + error : data ? JSON.stringify(data) : ''}</pre>
  }
  createRoot(document.getElementById('root')).render(
    <div>
      <div id="bar" style={{ width: 400, height: 300 }}>
        <BarChart {...query} index="name" categories={['weight']} height="300px" />
      </div>
      <div id="table"><Table {...query} index="name" categories={['name', 'weight']} /></div>
      <Hook />
    </div>,
  )`
const bundle = await build({
  stdin: { contents: chart, loader: 'jsx', resolveDir: import.meta.dirname },
  bundle: true,
  write: false,
  define: { 'process.env.NODE_ENV': '"production"' },
})
const flock = await readFile(new URL('node_modules/@tinybirdco/flock.js/dist/index.js', import.meta.url))
const pages = {
  '/chart': `<!doctype html><div id="root"></div><script src="/chart.js"></script>`,
  '/chart.js': bundle.outputFiles[0].text,
  '/garden': `<!doctype html><title>Garden</title>
    <script defer src="/flock.js" data-host="${host}" data-token="${token}" tb_place="garden"></script>`,
  '/flock.js': flock,
}
const server = http.createServer((request, response) => {
  const path = request.url.split('?')[0]
  response.setHeader('Content-Type', path.endsWith('.js') ? 'text/javascript' : 'text/html')
  response.statusCode = path in pages ? 200 : 404
  response.end(pages[path] ?? '')
})
await new Promise((ready) => server.listen(0, '127.0.0.1', ready))
const site = `http://localhost:${server.address().port}`

// flock.js keeps silent where a browser says that it is driven.
const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-blink-features=AutomationControlled'],
})
try {
  const page = await browser.newPage()
  const complaints = []
  page.on('pageerror', (error) => complaints.push(String(error)))
  page.on('requestfailed', (request) => complaints.push(`${request.method()} ${request.url()}: ${request.failure().errorText}`))

  const at = '2026-01-02 03:04:05'
  const sent = await fetch(`${host}/v0/events?name=sightings&wait=true`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${token}` },
    body: ['wren', 'tit'].map((name, i) => JSON.stringify({ at, name, weight: 9 + 2 * i })).join('\n'),
  })
  assert.equal(sent.status, 200)

  client('@tinybirdco/charts')
  await passes('a chart, a table, the hook', async () => {
    await page.goto(`${site}/chart`)
    await page.waitForFunction(() => document.querySelector('#hook')?.textContent, { timeout: 60000 })
    const hook = JSON.parse(await page.$eval('#hook', (it) => it.textContent))
    assert.deepEqual(hook, [{ name: 'tit', sightings: 1, weight: 11 }])
    await page.waitForFunction(() => document.querySelector('#table')?.textContent.includes('wren'), { timeout: 60000 })
    await page.waitForSelector('#bar canvas, #bar svg', { timeout: 60000 })
    assert.deepEqual(complaints, [])
  })
  await passes('parameters too long for a URL, by POST', async () => {
    await page.goto(`${site}/chart?long=1`)
    await page.waitForFunction(() => document.querySelector('#hook')?.textContent, { timeout: 60000 })
    assert.equal(await page.$eval('#hook', (it) => it.textContent), '[]')
    assert.deepEqual(complaints, [])
  })

  client('@tinybirdco/flock.js')
  await passes('page hits and events of its own', async () => {
    await page.goto(`${site}/garden`)
    await page.waitForFunction(() => window.Tinybird)
    await page.evaluate(() => window.Tinybird.trackEvent('seen', { bird: 'wren', password: 'secret' }))
    const events = await until(async () => {
      const found = await rows("SELECT action, payload FROM analytics_events ORDER BY action")
      return found.length >= 2 && found
    })
    assert.deepEqual(events.map((it) => it.action), ['page_hit', 'seen'])
    assert.equal(JSON.parse(events[0].payload).pathname, '/garden')
    assert.deepEqual(JSON.parse(events[1].payload), { bird: 'wren', password: '********', place: 'garden' })
    assert.deepEqual(complaints, [])
  })
} finally {
  await browser.close()
  server.close()
}
