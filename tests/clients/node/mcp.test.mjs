// Bots as tools, by the TypeScript SDK of the Model Context Protocol.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

import { KEY, remembering } from './coze.mjs';
import { ROOT } from './gateway.mjs';

/** A key that may use two models alone. */
const FEW_KEY = 'sk-a-key-of-few-tools-for-the-tests';

const it = remembering(`[keys.few]\nkey = "${FEW_KEY}"\nmodels = ["echo", "slow"]\n`);

/** A client, connected. */
function connect(t, key = KEY) {
  return connectTo(t, `${it.gateway.address}/mcp`, { authorization: `Bearer ${key}` });
}

function connectTo(t, url, headers) {
  return connectBy(t, new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }));
}

async function connectBy(t, transport) {
  const client = new Client({ name: 'test', version: '1' });
  await client.connect(transport);
  t.after(() => client.close());
  return client;
}

const call = (client, name, args, options) => client.callTool({ name, arguments: args }, undefined, options);

/** Waits until no call runs; not for as long as the slow bot is silent. */
async function idle() {
  for (let tries = 0; tries < 40; tries++) {
    const text = await (await fetch(`${it.gateway.address}/metrics`)).text();
    const streams = text.split('\n').filter((line) => line.startsWith('cozeway_upstream_open_streams'));
    assert(streams.length > 0, text);
    if (streams.every((line) => line.endsWith(' 0'))) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  assert.fail('a call still runs');
}

test('tools are listed, with schemas that the SDK checks answers against', async (t) => {
  const client = await connect(t);
  const { tools } = await client.listTools();
  const echo = tools.find((tool) => tool.name === 'echo');
  assert.equal(echo.description, 'Says what you said.');
  assert.deepEqual(echo.inputSchema.required, ['message']);
  const { structuredContent, isError } = await call(client, 'echo', { message: 'hello' });
  assert.equal(isError, false);
  assert.equal(structuredContent.answer, 'hello');
});

test('keys see their own tools', async (t) => {
  const names = async (client) => (await client.listTools()).tools.map(({ name }) => name);
  const few = await connect(t, FEW_KEY);
  assert.deepEqual(await names(few), ['echo', 'slow']);
  const team = await names(await connect(t));
  for (const name of ['echo', 'poem', 'trip']) assert(team.includes(name), `${team}`);
  await assert.rejects(call(few, 'poem', { message: 'tea' }), { code: -32602 });
});

test('a conversation goes on', async (t) => {
  const client = await connect(t);
  const first = await call(client, 'context', { message: 'one' });
  const { conversation } = first.structuredContent;
  assert.match(first.content[1].text, new RegExp(conversation));
  const second = await call(client, 'context', { message: 'two', conversation });
  assert.match(second.structuredContent.answer, /^user: one\n/);
});

test('progress keeps a short timer from firing', async (t) => {
  const client = await connect(t);
  const told = [];
  const options = { timeout: 1_500, resetTimeoutOnProgress: true, onprogress: ({ progress }) => told.push(progress) };
  const { structuredContent } = await call(client, 'slow', { message: 'x' }, options);
  assert(structuredContent.answer);
  assert(told.length >= 1 && told.every((step, at) => step === at + 1), `${told}`);
});

test('a failure is a result, and passes the schema too', async (t) => {
  const client = await connect(t);
  await client.listTools();
  const failed = await call(client, 'broken', { message: 'x' });
  assert.equal(failed.isError, true);
  assert.equal(failed.structuredContent.error.code, 'upstream_error');
  const unknown = await call(client, 'echo', { message: 'x', conversation: 'conv_0' });
  assert.equal(unknown.structuredContent.error.code, 'conversation_not_found');
  assert.equal(unknown.structuredContent.error.param, null);
  await assert.rejects(call(client, 'nothing', { message: 'x' }), { code: -32602 });
});

test('a call that takes too long is called off, and its bot is freed', async (t) => {
  const client = await connect(t);
  const begun = performance.now();
  await assert.rejects(call(client, 'slow', { message: 'x' }, { timeout: 300 }), { code: -32001 });
  await idle();
  assert(performance.now() - begun < 1_800, 'before the bot said anything');
  // The session goes on.
  assert.equal((await call(client, 'echo', { message: 'y' })).structuredContent.answer, 'y');
});

test('a wrong key is refused', async (t) => {
  await assert.rejects(connect(t, 'sk-wrong'), /401|Incorrect API key/);
});

test('the example is a whole client', async (t) => {
  const folder = await folderFor(t);
  // Packages are found beside the file.
  await cp(path.join(ROOT, 'examples/agents/mcp_client.mjs'), path.join(folder, 'mcp_client.mjs'));
  await symlink(path.join(ROOT, 'tests/clients/node/node_modules'), path.join(folder, 'node_modules'));
  const env = { ...process.env, COZEWAY_URL: it.gateway.address, COZEWAY_KEY: KEY };
  const { stdout } = await promisify(execFile)(process.execPath, [path.join(folder, 'mcp_client.mjs')], { env });
  const lines = stdout.trim().split('\n');
  assert(lines.includes('tool: echo: Says what you said.'), stdout);
  assert(lines.includes('progress: 1 The bot is at work.'), stdout);
  const said = lines.filter((line) => !/^(tool|progress): /.test(line));
  assert.deepEqual(said, ['answer: hello', 'answer: and again', 'error: upstream_error', 'timeout: -32001']);
});

/** A folder for the time of a test. */
async function folderFor(t) {
  const folder = await mkdtemp(path.join(tmpdir(), 'cozeway-'));
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

test('the configs of the README lead to the tools', async (t) => {
  const readme = await readFile(path.join(ROOT, 'README.md'), 'utf8');
  const section = readme.slice(readme.indexOf('## Give your bots to an agent'));
  /** The first block of JSON behind a heading, for this gateway. */
  const config = (heading) => {
    const [, json] = /```json\n([^]*?)```/.exec(section.slice(section.indexOf(heading)));
    return JSON.parse(json.replaceAll('http://127.0.0.1:8787', it.gateway.address).replaceAll('sk-cozeway-demo-key', KEY));
  };
  const lists = async (client) => {
    const { tools } = await client.listTools();
    assert(tools.some(({ name }) => name === 'echo'));
    assert.equal((await call(client, 'echo', { message: 'x' })).structuredContent.answer, 'x');
  };

  const cursor = config('**Cursor**').mcpServers.coze;
  await lists(await connectTo(t, cursor.url, cursor.headers));

  const { command, args, env } = config('**Claude Desktop**').mcpServers.coze;
  assert.deepEqual([command, ...args.slice(0, 2)], ['npx', '-y', 'mcp-remote']);
  const remote = new StdioClientTransport({
    command: path.join(ROOT, 'tests/clients/node/node_modules/.bin/mcp-remote'),
    args: args.slice(2),
    env: { ...process.env, ...env, MCP_REMOTE_CONFIG_DIR: await folderFor(t) },
    stderr: 'ignore',
  });
  await lists(await connectBy(t, remote));

  const [plain, mcp] = config('**Open WebUI.**');
  await lists(await connectTo(t, mcp.url, { authorization: `Bearer ${mcp.key}` }));
  const response = await fetch(`${plain.url}/${plain.path}`, { headers: { authorization: `Bearer ${plain.key}` } });
  const { paths } = await response.json();
  assert.equal(paths['/echo'].post.operationId, 'echo');
});
