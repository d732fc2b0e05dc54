// Images and files by openai, LangChain and the AI SDK: by URL and by their
// bytes.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { test } from 'node:test';

import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { HumanMessage } from '@langchain/core/messages';
import { ChatOpenAI } from '@langchain/openai';
import { generateText, streamText } from 'ai';

import { session, user } from './session.mjs';

const it = session();

const URL_OF_A_CAT = 'https://example.com/cat.png?a=1&b=2';
const png = (name) => Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), Buffer.from(name)]);
const PDF = Buffer.from('%PDF-1.7 of a test');

/** What the address of an upload says of its bytes. */
const place = (content) => `/bot_files/${createHash('sha256').update(content).digest('hex').slice(0, 32)}/`;

const text = (words) => ({ type: 'text', text: words });
const image = (url) => ({ type: 'image_url', image_url: { url } });
const inline = (content) => image(`data:image/png;base64,${content.toString('base64')}`);

/** Whether the `context` bot has seen the cat, and then these bytes. */
function assertSeen(said, content) {
  const [words, cat, upload] = said.split(' http').map((part, at) => (at ? `http${part}` : part));
  assert.deepEqual([words, cat], ['user: look', URL_OF_A_CAT]);
  assert.ok(upload.includes(place(content)), said);
}

test('openai: by URL and inline', async () => {
  const messages = user([text('look'), image(URL_OF_A_CAT), inline(png('openai'))]);
  const answer = await it.client.chat.completions.create({ model: 'context', messages });
  assertSeen(answer.choices[0].message.content, png('openai'));
  let said = '';
  const stream = await it.client.chat.completions.create({ model: 'context', messages, stream: true });
  for await (const chunk of stream) said += chunk.choices[0].delta.content ?? '';
  assertSeen(said, png('openai'));
});

test('openai: a file', async () => {
  const file = { filename: 'report.pdf', file_data: `data:application/pdf;base64,${PDF.toString('base64')}` };
  const messages = user([text('read'), { type: 'file', file }]);
  const answer = await it.client.chat.completions.create({ model: 'echo', messages });
  assert.ok(answer.choices[0].message.content.includes(`${place(PDF)}report.pdf`));
});

test('openai: a file by URL', async () => {
  const file = { file_url: 'https://example.org/report.pdf' };
  const messages = user([text('read'), { type: 'file', file }]);
  const answer = await it.client.chat.completions.create({ model: 'echo', messages });
  assert.ok(answer.choices[0].message.content.includes(file.file_url));
});

test('openai: what is no image is told by its part', async () => {
  const messages = user([text('look'), image('data:image/png;base64,aGVsbG8=')]);
  await assert.rejects(it.client.chat.completions.create({ model: 'echo', messages }), (error) => {
    assert.deepEqual([error.status, error.code], [400, 'unsupported_content']);
    assert.equal(error.param, 'messages[0].content[1]');
    return true;
  });
});

test('LangChain: by URL and inline', async () => {
  const model = new ChatOpenAI({
    model: 'context',
    apiKey: it.key,
    useResponsesApi: false,
    configuration: { baseURL: it.gateway.baseURL, fetch: it.wire.fetch },
  });
  const content = [text('look'), image(URL_OF_A_CAT), inline(png('langchain'))];
  assertSeen((await model.invoke([new HumanMessage({ content })])).content, png('langchain'));
});

test('the AI SDK: by URL and inline', async () => {
  const provider = createOpenAICompatible({
    name: 'cozeway',
    baseURL: it.gateway.baseURL,
    apiKey: it.key,
    fetch: it.wire.fetch,
    // What a URL points to it would fetch by itself.
    supportedUrls: () => ({ 'image/*': [/^https:/] }),
  });
  const content = [
    text('look'),
    { type: 'image', image: new URL(URL_OF_A_CAT) },
    { type: 'image', image: png('ai'), mediaType: 'image/png' },
  ];
  const answer = await generateText({ model: provider('context'), messages: user(content) });
  assertSeen(answer.text, png('ai'));
  let said = '';
  for await (const part of streamText({ model: provider('context'), messages: user(content) }).textStream) said += part;
  assertSeen(said, png('ai'));
});

test('the AI SDK: a file', async () => {
  const provider = createOpenAICompatible({
    name: 'cozeway',
    baseURL: it.gateway.baseURL,
    apiKey: it.key,
    fetch: it.wire.fetch,
  });
  const content = [text('read'), { type: 'file', data: PDF, mediaType: 'application/pdf', filename: 'a.pdf' }];
  const { text: said } = await generateText({ model: provider('echo'), messages: user(content) });
  assert.ok(said.includes(place(PDF)), said);
});

test('the AI SDK: a file by URL, which it fetches itself', async () => {
  const server = createServer((_, response) => response.setHeader('content-type', 'application/pdf').end(PDF));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const provider = createOpenAICompatible({
    name: 'cozeway',
    baseURL: it.gateway.baseURL,
    apiKey: it.key,
    fetch: it.wire.fetch,
  });
  // It fetches nothing from this machine by itself.
  const download = (wanted) =>
    Promise.all(
      wanted.map(async ({ url }) => {
        const bytes = await (await fetch(url)).arrayBuffer();
        return { data: new Uint8Array(bytes), mediaType: 'application/pdf' };
      }),
    );
  const url = new URL(`http://127.0.0.1:${server.address().port}/a.pdf`);
  const content = [text('read'), { type: 'file', data: url, mediaType: 'application/pdf', filename: 'a.pdf' }];
  const asked = { model: provider('echo'), messages: user(content), experimental_download: download };
  try {
    const { text: said } = await generateText(asked);
    assert.ok(said.includes(place(PDF)), said);
  } finally {
    server.close();
  }
});

test('LangChain: a file inline and by URL', async () => {
  const model = new ChatOpenAI({
    model: 'echo',
    apiKey: it.key,
    configuration: { baseURL: it.gateway.baseURL, fetch: it.wire.fetch },
  });
  const inlined = { filename: 'a.pdf', file_data: `data:application/pdf;base64,${PDF.toString('base64')}` };
  const url = 'https://example.org/report.pdf';
  for (const [file, seen] of [
    [inlined, place(PDF)],
    [{ file_url: url }, url],
  ]) {
    const answer = await model.invoke([new HumanMessage({ content: [text('read'), { type: 'file', file }] })]);
    assert.ok(answer.content.includes(seen), answer.content);
  }
});
