// The conformance checks of the Model Context Protocol's own package, for the
// newest revision with a handshake and for the one without. What a gateway of
// bots does not pass, and why, is in the files of expected failures.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Coze } from '../node/coze.mjs';
import { Gateway } from '../node/gateway.mjs';

const FOLDER = path.dirname(fileURLToPath(import.meta.url));
const CHECKS = path.join(FOLDER, 'node_modules/@modelcontextprotocol/conformance/dist/index.js');

/** How long the slow workflow takes: three notes of progress. */
const SLOW_MS = 2_300;

/** How long the checks of one revision may take. */
const PATIENCE_MS = 120_000;

let coze;
let slow;
let folder;
let gateway;

/** A workflow that takes its time, which no flow of the simulated Coze does. */
function takeTime(request, response) {
  request.resume().on('end', () => {
    response.setHeader('content-type', 'text/event-stream');
    response.flushHeaders();
    const said = { content: 'done', content_type: 'text', node_is_finish: true, node_type: 'End', node_title: 'End' };
    const events = `id: 0\nevent: Message\ndata: ${JSON.stringify(said)}\n\nid: 1\nevent: Done\ndata: {}\n\n`;
    setTimeout(() => response.end(events), SLOW_MS);
  });
}

before(async () => {
  coze = await Coze.start();
  slow = createServer(takeTime).listen(0, '127.0.0.1');
  await once(slow, 'listening');
  folder = await mkdtemp(path.join(tmpdir(), 'cozeway-'));
  const config = path.join(folder, 'cozeway.toml');
  // The checks send no key. They call some tools by name, and without
  // arguments: a workflow of JSON needs none.
  await writeFile(
    config,
    `auth.mode = "none"
[server]
listen = "127.0.0.1:0"
[state]
url = "memory:"
${coze.config().replace('[models.broken]', '[models.test_error_handling]')}
[models.test_simple_text]
coze = "local"
workflow_id = "7530512345678910001"
input_format = "json"
[coze.slow]
base_url = "http://127.0.0.1:${slow.address().port}"
token = "pat_slow"
[models.test_tool_with_progress]
coze = "slow"
workflow_id = "7530512345678910009"
input_format = "json"
`.replaceAll(/(\n\[models\.\w+\]\n)(?!coze)/g, '$1coze = "local"\n'),
  );
  gateway = await Gateway.serving(config);
});

after(async () => {
  const code = await gateway?.stop();
  await coze?.stop();
  slow?.closeAllConnections();
  slow?.close();
  if (folder) await rm(folder, { recursive: true });
  assert.equal(code, 0, gateway?.log.text);
});

for (const [revision, atLeast] of [
  ['2025-11-25', 41],
  ['2026-07-28', 99],
]) {
  test(`the checks of ${revision}`, async () => {
    const results = path.join(folder, revision);
    const settings = ['--url', `${gateway.address}/mcp`, '--requirements', revision, '--output-dir', results];
    settings.push('--expected-failures', path.join(FOLDER, `expected-${revision}.yml`));
    const checks = spawn(process.execPath, [CHECKS, 'server', ...settings], {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: PATIENCE_MS,
    });
    let printed = '';
    for (const pipe of [checks.stdout, checks.stderr]) pipe.on('data', (data) => (printed += data));
    const [code] = await once(checks, 'close');
    const summary = printed.slice(printed.indexOf('=== SUMMARY ==='));
    assert.equal(code, 0, summary);
    // That nothing unexpected fails says little if nothing is checked.
    const [, passed] = /Total: (\d+) passed/.exec(summary);
    console.log(`${passed} checks of ${revision} are passed`);
    assert(Number(passed) >= atLeast, summary);
  });
}
