// Streamed answers, by the OpenAI SDK.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { APIError, APIUserAbortError } from 'openai';

import { withCoze } from './fake_coze.mjs';
import { session, user } from './session.mjs';
import { events } from './wire.mjs';

const it = session();

const stream = (model, text, more = {}) =>
  it.client.chat.completions.create({ model, messages: user(text), stream: true, ...more });

async function textOf(chunks) {
  let text = '';
  for await (const chunk of chunks) text += chunk.choices[0]?.delta.content ?? '';
  return text;
}

test('an answer comes in pieces', async () => {
  assert.equal(await textOf(await stream('echo', 'Hello there, 世界 👋')), 'Hello there, 世界 👋');
  assert.ok(events(it.wire.last).length > 5);
  assert.equal(events(it.wire.last).at(-1), '[DONE]');
});

test('usage comes last where it is asked for', async () => {
  const chunks = [];
  for await (const chunk of await stream('echo', 'hi', { stream_options: { include_usage: true } })) {
    chunks.push(chunk);
  }
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.ok(chunks.at(-1).usage.total_tokens > 0);
});

test('thinking is apart from the words', async () => {
  let thinking = '';
  let text = '';
  for await (const chunk of await stream('storyteller', 'A story')) {
    const { delta } = chunk.choices[0];
    thinking += delta.reasoning_content ?? '';
    text += delta.content ?? '';
  }
  assert.match(thinking, /want a story/);
  assert.match(text, /lighthouse/);
  assert.ok(!text.includes('want a story'));
});

test('the stream helper', async () => {
  const helper = it.client.chat.completions.stream({ model: 'echo', messages: user('Hello there') });
  const pieces = [];
  helper.on('content', (piece) => pieces.push(piece));
  assert.equal(await helper.finalContent(), 'Hello there');
  assert.equal(pieces.join(''), 'Hello there');
  const final = await helper.finalChatCompletion();
  assert.equal(final.choices[0].finish_reason, 'stop');
  assert.equal(final.choices[0].message.role, 'assistant');
});

test('stop cuts across chunks', async () => {
  for (const [stop, expected] of [['STOP', 'one two '], ['o STOP th', 'one tw'], [['never', 'two'], 'one ']]) {
    assert.equal(await textOf(await stream('echo', 'one two STOP three', { stop })), expected);
  }
});

for (const n of [2, 3]) {
  test(`each of ${n} choices is whole`, async () => {
    const texts = Array(n).fill('');
    for await (const chunk of await stream('echo', 'the same', { n })) {
      for (const choice of chunk.choices) texts[choice.index] += choice.delta.content ?? '';
    }
    assert.deepEqual(texts, Array(n).fill('the same'));
    const helper = it.client.chat.completions.stream({ model: 'echo', messages: user('the same'), n });
    const final = await helper.finalChatCompletion();
    assert.deepEqual(
      final.choices.map((choice) => choice.message.content),
      texts,
    );
  });
}

const isUpstreamError = (error) => error instanceof APIError && error.code === 'upstream_error';

test('a failure in the middle is raised after the words so far', async () => {
  let text = '';
  await assert.rejects(async () => {
    for await (const chunk of await stream('broken', 'hi')) text += chunk.choices[0].delta.content ?? '';
  }, isUpstreamError);
  assert.equal(text.trim(), 'Once upon a');
  assert.equal(it.wire.exchanges.length, 1);
});

test('a failure in the middle is raised by the stream helper', async () => {
  const helper = it.client.chat.completions.stream({ model: 'broken', messages: user('hi') });
  let text = '';
  helper.on('content', (piece) => (text += piece));
  await assert.rejects(helper.finalContent(), isUpstreamError);
  assert.equal(text.trim(), 'Once upon a');
});

test('a client that aborts a stream ends the turn', async () => {
  const chunks = await stream('storyteller', 'A story');
  for await (const _ of chunks) chunks.controller.abort();
  const entry = await it.gateway.logged(it.wire.last.response.headers.get('x-request-id'));
  assert.equal(entry.outcome, 'client_left');
});

test('a client that breaks out of the loop ends the turn', async () => {
  for await (const _ of await stream('storyteller', 'A story')) break;
  const entry = await it.gateway.logged(it.wire.last.response.headers.get('x-request-id'));
  assert.equal(entry.outcome, 'client_left');
});

test('the stream helper, aborted, ends the turn', async () => {
  const helper = it.client.chat.completions.stream({ model: 'storyteller', messages: user('A story') });
  const done = assert.rejects(helper.done(), APIUserAbortError);
  await new Promise((resolve) => helper.once('chunk', resolve));
  helper.abort();
  await done;
  const entry = await it.gateway.logged(it.wire.last.response.headers.get('x-request-id'));
  assert.equal(entry.outcome, 'client_left');
});

for (const streamed of [false, true]) {
  test(`a client that aborts before the first word leaves no chat open (stream: ${streamed})`, async () => {
    const aborter = new AbortController();
    let chats = 0;
    let closed;
    const left = new Promise((resolve) => (closed = resolve));
    const silent = (response) => {
      chats += 1;
      response.on('close', closed);
      response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
      aborter.abort();
    };
    await withCoze(it.wire, silent, async (client, gateway) => {
      const headers = { 'x-request-id': 'aborted-early' };
      await assert.rejects(
        client.chat.completions.create(
          { model: 'bot', messages: user('hi'), stream: streamed },
          { signal: aborter.signal, headers },
        ),
        APIUserAbortError,
      );
      await left;
      assert.equal((await gateway.logged('aborted-early')).outcome, 'client_left');
      assert.equal(chats, 1);
    });
  });
}
