// A Coze of one handler, and a gateway before it, for what no demo bot does.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';

import OpenAI from 'openai';

import { Gateway } from './gateway.mjs';

const KEY = 'sk-a-key-for-the-tests-only';

/** Calls `test` with a client whose model `bot` is answered by `handler`. */
export async function withCoze(wire, handler, test) {
  const coze = createServer((request, response) => {
    request.resume().on('end', () => handler(response));
  });
  coze.listen(0, '127.0.0.1');
  await once(coze, 'listening');
  const folder = await mkdtemp(path.join(tmpdir(), 'cozeway-'));
  const config = path.join(folder, 'cozeway.toml');
  await writeFile(
    config,
    `[server]
listen = "127.0.0.1:0"
[coze.fake]
base_url = "http://127.0.0.1:${coze.address().port}"
token = "pat_the_gateways_own"
[models.bot]
bot_id = "7530512345678900001"
[keys.test]
key = "${KEY}"
`,
  );
  let gateway;
  try {
    gateway = await Gateway.serving(config);
    await test(new OpenAI({ baseURL: gateway.baseURL, apiKey: KEY, fetch: wire.fetch }), gateway);
  } finally {
    const code = await gateway?.stop();
    coze.closeAllConnections();
    coze.close();
    await rm(folder, { recursive: true });
    if (gateway) assert.equal(code, 0, gateway.log.text);
  }
}
