// Errors as the SDK's classes, and what the SDK tries again.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  APIConnectionTimeoutError,
  AuthenticationError,
  BadRequestError,
  InternalServerError,
  NotFoundError,
} from 'openai';

import { withCoze } from './fake_coze.mjs';
import { session, user } from './session.mjs';

const it = session();

const ask = (model, more = {}, options = {}) =>
  it.client.chat.completions.create({ model, messages: user('hi'), ...more }, options);

const is = (kind, fields) => (error) => {
  assert.ok(error instanceof kind, `${error}`);
  for (const [name, value] of Object.entries(fields)) assert.equal(error[name], value, name);
  return true;
};

test('a wrong key', async () => {
  const stranger = it.client.withOptions({ apiKey: 'sk-nobody-knows-me' });
  await assert.rejects(stranger.models.list(), is(AuthenticationError, { status: 401, code: 'invalid_api_key' }));
});

test('an unknown model', async () => {
  await assert.rejects(ask('nobody'), is(NotFoundError, { code: 'model_not_found', param: 'model' }));
  await assert.rejects(ask('nobody', { stream: true }), is(NotFoundError, { code: 'model_not_found' }));
  assert.equal(it.wire.exchanges.length, 2, 'a 404 is not tried again');
});

for (const [parameters, code, param] of [
  [{ messages: [] }, 'empty_array', 'messages'],
  [{ messages: user(' ') }, 'invalid_value', 'messages[0].content'],
  [{ temperature: 'hot' }, 'invalid_type', 'temperature'],
  [{ n: 9 }, 'integer_above_max_value', 'n'],
  [{ logprobs: true }, 'unsupported_parameter', 'logprobs'],
]) {
  test(`a bad parameter is named: ${JSON.stringify(parameters)}`, async () => {
    await assert.rejects(ask('echo', parameters), is(BadRequestError, { status: 400, code, param }));
    assert.equal(it.wire.exchanges.length, 1, 'a 400 is not tried again');
  });
}

test('too long a context says so', async () => {
  await assert.rejects(
    ask('echo', { messages: user('x'.repeat(70_000)) }),
    is(BadRequestError, { code: 'context_length_exceeded', param: 'messages' }),
  );
});

for (const maxRetries of [0, 1, 2]) {
  test(`a failing bot is asked again ${maxRetries} times if that is wanted`, async () => {
    await assert.rejects(
      ask('broken', {}, { maxRetries }),
      is(InternalServerError, { status: 502, code: 'upstream_error' }),
    );
    assert.deepEqual(
      it.wire.exchanges.map((exchange) => exchange.headers.get('x-stainless-retry-count')),
      [...Array(maxRetries + 1).keys()].map(String),
    );
  });
}

test('a client that gives up on silence ends the turn', async () => {
  const headers = { 'x-request-id': 'gives-up' };
  await assert.rejects(
    ask('slow', {}, { timeout: 400, maxRetries: 0, headers }),
    is(APIConnectionTimeoutError, {}),
  );
  assert.equal((await it.gateway.logged('gives-up')).outcome, 'client_left');
});

test('where a second try is no use the SDK makes none', async () => {
  let chats = 0;
  const refuse = (response) => {
    chats += 1;
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ code: 4100, msg: 'authentication is invalid' }));
  };
  await withCoze(it.wire, refuse, async (client) => {
    await assert.rejects(
      client.chat.completions.create({ model: 'bot', messages: user('hi') }),
      is(InternalServerError, { status: 502, code: 'upstream_auth_failed' }),
    );
    assert.equal(it.wire.last.response.headers.get('x-should-retry'), 'false');
    assert.equal(it.wire.exchanges.length, 1);
    assert.equal(chats, 1);
  });
});
