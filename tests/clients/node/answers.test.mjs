// Whole answers, by the OpenAI SDK.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { session, user } from './session.mjs';

const it = session();

test('an answer', async () => {
  const answer = await it.client.chat.completions.create({ model: 'echo', messages: user('Hello there') });
  assert.equal(answer.object, 'chat.completion');
  assert.equal(answer.model, 'echo');
  assert.equal(answer.choices[0].message.role, 'assistant');
  assert.equal(answer.choices[0].message.content, 'Hello there');
  assert.equal(answer.choices[0].finish_reason, 'stop');
  const { prompt_tokens, completion_tokens, total_tokens } = answer.usage;
  assert.ok(prompt_tokens > 0 && completion_tokens > 0);
  assert.equal(total_tokens, prompt_tokens + completion_tokens);
});

for (const text of [
  '你好，世界！再见。',
  '👩‍👩‍👧‍👦 e\u0301 \u202eabc\u202c \ufeff ﷺ',
  'quotes " and \\ and </script> and & and \u2028\u2029',
  'data: [DONE]\n\ndata: {}\n\n: comment',
]) {
  test(`any text comes back as it went: ${JSON.stringify(text)}`, async () => {
    const answer = await it.client.chat.completions.create({ model: 'echo', messages: user(text) });
    assert.equal(answer.choices[0].message.content, text);
  });
}

test('thinking and follow-ups are visible', async () => {
  const answer = await it.client.chat.completions.create({ model: 'storyteller', messages: user('A story') });
  assert.match(answer.choices[0].message.content, /lighthouse/);
  assert.match(answer.choices[0].message.reasoning_content, /want a story/);
  assert.equal(answer.coze.follow_ups.length, 3);
});

test('stop cuts', async () => {
  for (const [stop, expected] of [['STOP', 'one two '], [['never', 'two'], 'one '], ['one', '']]) {
    const answer = await it.client.chat.completions.create({
      model: 'echo',
      messages: user('one two STOP three'),
      stop,
    });
    assert.equal(answer.choices[0].message.content, expected);
  }
});

for (const n of [2, 3]) {
  test(`each of ${n} choices is whole`, async () => {
    const answer = await it.client.chat.completions.create({ model: 'echo', messages: user('the same'), n });
    assert.deepEqual(
      answer.choices.map(({ index, message }) => [index, message.content]),
      [...Array(n).keys()].map((index) => [index, 'the same']),
    );
    assert.equal(answer.coze.chats.length, n);
  });
}

test('the bot sees each message once and in order', async () => {
  const answer = await it.client.chat.completions.create({
    model: 'context',
    messages: [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'first' },
      { role: 'assistant', content: 'second' },
      { role: 'user', content: 'third' },
    ],
  });
  assert.deepEqual(answer.choices[0].message.content.split('\n'), [
    'user: Be brief.',
    'user: first',
    'assistant: second',
    'user: third',
  ]);
});

test('what a bot cannot honour is ignored and named', async () => {
  const { data, response, request_id } = await it.client.chat.completions
    .create(
      { model: 'echo', messages: user('hi'), temperature: 0, seed: 7, max_completion_tokens: 5 },
      { headers: { 'x-request-id': 'trace:1.a-b_c' } },
    )
    .withResponse();
  assert.equal(data.choices[0].message.content, 'hi');
  assert.equal(response.headers.get('x-cozeway-ignored'), 'max_completion_tokens, seed, temperature');
  assert.equal(request_id, 'trace:1.a-b_c');
});

test('models are listed and shown', async () => {
  const names = [];
  for await (const model of it.client.models.list()) names.push(model.id);
  for (const name of ['echo', 'storyteller', 'context', 'broken', 'slow', 'ask']) assert.ok(names.includes(name));
  assert.equal((await it.client.models.retrieve('echo')).id, 'echo');
});
