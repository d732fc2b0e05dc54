// What really went over the wire: every exchange of a client, byte by byte,
// held against OpenAI's JSON Schemas.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';

import Ajv2020 from 'ajv/dist/2020.js';

import { ROOT } from './gateway.mjs';

const ajv = new Ajv2020({ strict: false, validateFormats: false, allErrors: true });
const validators = new Map();

export function assertValid(name, value) {
  if (!validators.has(name)) {
    const file = path.join(ROOT, 'tests', 'schemas', `${name}.schema.json`);
    validators.set(name, ajv.compile(JSON.parse(readFileSync(file, 'utf8'))));
  }
  const validate = validators.get(name);
  assert.ok(validate(value), `not a ${name}: ${ajv.errorsText(validate.errors)}\n${JSON.stringify(value)}`);
}

/** Every exchange of the clients that were given its `fetch`. */
export class Wire {
  exchanges = [];

  get last() {
    return this.exchanges.at(-1);
  }

  fetch = async (url, init) => {
    const exchange = {
      path: new URL(url).pathname,
      headers: new Headers(init?.headers),
      request: init?.body ? JSON.parse(init.body) : undefined,
      body: '',
      complete: false,
    };
    this.exchanges.push(exchange);
    const response = await fetch(url, init);
    exchange.response = response;
    if (!response.body) return response;
    const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
    const recorded = response.body.pipeThrough(
      new TransformStream({
        transform(bytes, controller) {
          exchange.body += decoder.decode(bytes, { stream: true });
          controller.enqueue(bytes);
        },
        flush() {
          exchange.complete = true;
        },
      }),
    );
    const { status, statusText, headers } = response;
    return new Response(recorded, { status, statusText, headers });
  };

  /** Holds each exchange against the schemas and the rules of a stream. */
  check() {
    for (const exchange of this.exchanges) {
      const { response } = exchange;
      if (!response) continue; // The client left before there was an answer.
      assert.ok(response.headers.get('x-request-id'), 'an answer without x-request-id');
      if (response.headers.get('content-type')?.startsWith('text/event-stream')) checkStream(exchange);
      else if (exchange.complete) checkWhole(exchange);
    }
  }
}

/** The data of each event that arrived whole. */
export function events({ body }) {
  return body
    .split('\n\n')
    .slice(0, -1)
    .filter((event) => !event.startsWith(':'))
    .map((event) => {
      assert.match(event, /^data: [^\n]*$/, 'an event is one `data:` line');
      return event.slice('data: '.length);
    });
}

function checkWhole({ path: route, response, body, request }) {
  const value = JSON.parse(body);
  if (response.status >= 400) {
    assertValid('error', value);
    assert.deepEqual(Object.keys(value.error).sort(), ['code', 'message', 'param', 'type']);
  } else if (route.endsWith('/chat/completions')) {
    assertValid('chat_completion', value);
    assert.equal(value.model, request.model);
  } else if (route.endsWith('/models')) {
    assertValid('model_list', value);
  } else {
    assertValid('model', value);
  }
}

function checkStream(exchange) {
  const { request } = exchange;
  const wantsUsage = request.stream_options?.include_usage ?? false;
  const finished = new Set();
  const opened = new Set();
  const ids = new Set();
  let over = false;
  for (const event of events(exchange)) {
    assert.ok(!over, `something after the end: ${event}`);
    if (event === '[DONE]') {
      assert.deepEqual([...finished], [...Array(request.n ?? 1).keys()]);
      over = true;
      continue;
    }
    const chunk = JSON.parse(event);
    if ('error' in chunk) {
      assertValid('error', chunk);
      assert.ok(!('choices' in chunk), 'an error beside choices is swallowed by one client');
      over = true;
      continue;
    }
    assertValid('chat_completion_chunk', chunk);
    assert.equal('usage' in chunk, wantsUsage);
    ids.add(`${chunk.id} ${chunk.created} ${chunk.model}`);
    for (const { index, delta, finish_reason } of chunk.choices) {
      assert.ok(!finished.has(index), 'a chunk after a choice has ended');
      assert.equal('role' in delta, !opened.has(index), 'the role stands in the first chunk only');
      opened.add(index);
      if (finish_reason !== null) finished.add(index);
    }
  }
  assert.ok(ids.size <= 1, 'one stream, several ids, times or models');
  assert.ok(over || !exchange.complete, 'a stream ends with [DONE] or an error');
}
