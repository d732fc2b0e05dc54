// Bots as tools, by the TypeScript SDK of the Model Context Protocol.

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

const url = process.env.COZEWAY_URL ?? 'http://127.0.0.1:8787';
const key = process.env.COZEWAY_KEY ?? 'sk-cozeway-demo-key';

const client = new Client({ name: 'example', version: '1' });
await client.connect(
  new StreamableHTTPClientTransport(new URL(`${url}/mcp`), {
    requestInit: { headers: { authorization: `Bearer ${key}` } },
  }),
);

// Bots may think for minutes, and without this a call has 60 s. As long as
// the gateway says that the bot is at work, the client waits.
const patience = {
  timeout: 60_000,
  resetTimeoutOnProgress: true,
  onprogress: ({ progress, message }) => console.log(`progress: ${progress} ${message}`),
};
const call = (name, args, options = patience) =>
  client.callTool({ name, arguments: args }, undefined, options);

for (const { name, description } of (await client.listTools()).tools) {
  console.log(`tool: ${name}: ${description}`);
}

const first = await call('echo', { message: 'hello' });
console.log(`answer: ${first.structuredContent.answer}`);

// The answer says what its conversation is called.
const { conversation } = first.structuredContent;
const second = await call('echo', { message: 'and again', conversation });
console.log(`answer: ${second.structuredContent.answer}`);

// A failure is a result too, with a code to act upon.
const failed = await call('broken', { message: 'hello' });
console.log(`error: ${failed.structuredContent.error.code}`);

// A client that waits no longer says so, and the bot is freed.
try {
  await call('slow', { message: 'hello' }, { timeout: 500 });
} catch (error) {
  console.log(`timeout: ${error.code}`);
}
await client.close();
