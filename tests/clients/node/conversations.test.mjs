// Chats by the OpenAI SDK: whole transcripts, names, and what is new alone.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { BadRequestError, ConflictError, NotFoundError } from 'openai';

import { KEY, OTHER_KEY, remembering, said, shown } from './coze.mjs';

const it = remembering();

const TEN = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

const NAME = 'x-conversation-id';

/** How a client of the SDK may name a conversation. */
const WAYS = {
  header: (name) => [{}, { headers: { [NAME]: encodeURIComponent(name) } }],
  body: (name) => [{ conversation_id: name }, {}],
  metadata: (name) => [{ metadata: { conversation_id: name } }, {}],
};

/** A request of just these messages: the answer, and what is told beside it. */
async function send(model, messages, { stream = false, named = [{}, {}], client = it.client } = {}) {
  const [fields, options] = named;
  const { data, response } = await client.chat.completions
    .create({ model, messages, stream, ...fields }, options)
    .withResponse();
  let text = '';
  let coze;
  if (stream) {
    for await (const chunk of data) {
      text += chunk.choices[0].delta.content ?? '';
      coze = chunk.coze ?? coze;
    }
  } else {
    text = data.choices[0].message.content;
    coze = data.coze;
  }
  return {
    text,
    memory: response.headers.get('x-cozeway-conversation'),
    name: response.headers.get(NAME),
    place: coze.conversation_id,
  };
}

/** The next turn of a client that resends its transcript. */
async function ask(messages, text, model, settings) {
  messages.push({ role: 'user', content: text });
  const turn = await send(model, messages, settings);
  messages.push({ role: 'assistant', content: turn.text });
  return turn;
}

/** The next turn of a client that sends what is new alone. */
async function tell(messages, text, model, settings) {
  const message = { role: 'user', content: text };
  const turn = await send(model, [message], settings);
  messages.push(message, { role: 'assistant', content: turn.text });
  return turn;
}

for (const stream of [false, true]) {
  const form = stream ? 'stream' : 'whole';

  for (const system of [[], [{ role: 'system', content: 'Be brief.' }]]) {
    test(`a chat of ten turns is one conversation: ${form}, ${system.length} system text`, async () => {
      const before = await it.coze.conversations('context');
      const messages = [...system];
      const turns = [];
      for (const n of TEN) {
        turns.push(await ask(messages, `${it.topic}, ${n}`, 'context', { stream }));
        assert.equal(turns.at(-1).text, shown(messages.slice(0, -1)));
        assert.equal(turns.at(-1).memory, n === 1 ? 'new' : 'continued');
      }
      const [{ place, name }] = turns;
      assert.ok(turns.every((turn) => turn.place === place && turn.name === name));
      assert.deepEqual(await it.coze.conversations('context'), [...before, place]);
      assert.deepEqual(await it.coze.stored(place), said(messages));
    });
  }

  test(`an edit goes on in a conversation of its own: ${form}`, async () => {
    const messages = [];
    let old;
    for (const n of TEN) old = await ask(messages, `${it.topic}, ${n}`, 'context', { stream });
    const edited = messages.slice(0, 8);
    let turn;
    for (const n of TEN.slice(4)) {
      turn = await ask(edited, `${it.topic}, ${n}, edited`, 'context', { stream });
      assert.equal(turn.memory, n === 5 ? 'replayed; reason=edited' : 'continued');
    }
    assert.notEqual(turn.place, old.place);
    assert.deepEqual(await it.coze.stored(turn.place), said(edited));
    const back = await ask(messages, 'and?', 'context', { stream });
    assert.deepEqual([back.memory, back.place], ['continued', old.place]);
  });

  test(`a regeneration is a conversation of its own: ${form}`, async () => {
    const messages = [];
    let first;
    for (const n of [1, 2, 3]) first = await ask(messages, `${it.topic}, ${n}`, 'context', { stream });
    const again = await send('context', messages.slice(0, -1), { stream });
    assert.deepEqual([again.memory, again.text], ['replayed; reason=edited', first.text]);
    assert.notEqual(again.place, first.place);
    const turn = await ask(messages, 'and?', 'context', { stream });
    assert.equal(turn.memory, 'replayed; reason=ambiguous');
    assert.equal(turn.text, shown(messages.slice(0, -1)));
  });

  for (const [way, named] of Object.entries(WAYS)) {
    for (const [what, next] of [['transcripts', ask], ['deltas', tell]]) {
      test(`${what} under a name: ${way}, ${form}`, async () => {
        const name = `${it.topic} 你好 100%`;
        const messages = [];
        let turn;
        for (const n of TEN) {
          turn = await next(messages, `${it.topic}, ${n}`, 'context', { stream, named: named(name) });
          assert.equal(turn.memory, n === 1 ? 'new' : 'continued');
          assert.equal(decodeURIComponent(turn.name), name);
          assert.equal(turn.text, shown(messages.slice(0, -1)));
        }
        assert.deepEqual(await it.coze.stored(turn.place), said(messages));
      });
    }
  }

  test(`the name in an answer names the conversation: ${form}`, async () => {
    const messages = [];
    const first = await ask(messages, it.topic, 'context', { stream });
    assert.match(first.name, /^conv_/);
    for (const n of TEN) {
      const turn = await tell(messages, `${n}`, 'context', { stream, named: WAYS.header(first.name) });
      assert.deepEqual([turn.memory, turn.place, turn.name], ['continued', first.place, first.name]);
      assert.equal(turn.text, shown(messages.slice(0, -1)));
    }
  });

  test(`a question of the bot's is answered: ${form}`, async () => {
    for (const [next, named] of [[ask, undefined], [tell, WAYS.body(it.topic)]]) {
      const messages = [];
      const asked = await next(messages, `${it.topic}: the weather?`, 'ask', { stream, named });
      assert.match(asked.text, /Which city/);
      const answered = await next(messages, 'Paris', 'ask', { stream, named });
      assert.deepEqual([answered.memory, answered.place], ['resumed', asked.place]);
      assert.equal(answered.text, 'The weather in Paris will be sunny.');
    }
  });

  test(`a conversation that nobody knows is not found: ${form}`, async () => {
    for (const named of Object.values(WAYS)) {
      await assert.rejects(tell([], 'hi', 'echo', { stream, named: named('conv_nobody') }), (error) => {
        assert.ok(error instanceof NotFoundError, `${error}`);
        assert.equal(error.code, 'conversation_not_found');
        return true;
      });
    }
    assert.equal(it.wire.exchanges.length, 3, 'a 404 is not tried again');
  });
}

test("another key's conversation is not found", async () => {
  const first = await ask([], it.topic, 'echo');
  const client = it.clientOf(OTHER_KEY);
  await assert.rejects(
    tell([], 'hi', 'echo', { client, named: WAYS.body(first.name) }),
    (error) => error instanceof NotFoundError && error.code === 'conversation_not_found',
  );
});

test('names that differ are refused', async () => {
  const named = [{ conversation_id: 'one' }, { headers: { [NAME]: 'other' } }];
  await assert.rejects(
    tell([], 'hi', 'echo', { named }),
    (error) => error instanceof BadRequestError && error.param === 'conversation_id',
  );
});

test('a busy conversation is locked, and the SDK tries again', async () => {
  const named = WAYS.header(it.topic);
  // The bot is silent for a while, the head of the answer is there before.
  const first = await it.client.chat.completions.create(
    { model: 'slow', messages: [{ role: 'user', content: it.topic }], stream: true },
    named[1],
  );
  await assert.rejects(
    tell([], 'and?', 'slow', { named, client: it.clientOf(KEY, { maxRetries: 0 }) }),
    (error) => {
      assert.ok(error instanceof ConflictError, `${error}`);
      assert.equal(error.code, 'conversation_locked');
      assert.ok(Number(error.headers.get('retry-after')) >= 1);
      return true;
    },
  );
  const second = await tell([], 'and?', 'slow', { named, client: it.clientOf(KEY, { maxRetries: 20 }) });
  assert.equal(second.memory, 'continued');
  let text = '';
  for await (const chunk of first) text += chunk.choices[0].delta.content ?? '';
  assert.equal(text, second.text);
});

test('many chats at once never mix', async () => {
  const chats = [...Array(12).keys()].map(async (at) => {
    const messages = [];
    let turn;
    for (const n of TEN) {
      turn = await ask(messages, `${it.topic}, chat ${at}, ${n}`, 'echo', { stream: at % 2 === 0 });
      assert.equal(turn.memory, n === 1 ? 'new' : 'continued');
    }
    assert.deepEqual(await it.coze.stored(turn.place), said(messages));
  });
  await Promise.all(chats);
});
