// One gateway for the tests of a file; a client and a view of its wire for
// each test.

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach } from 'node:test';

import OpenAI from 'openai';

import { Gateway } from './gateway.mjs';
import { Wire } from './wire.mjs';

/** What a test works with; filled in before each. */
export function session() {
  const session = {};
  before(async () => {
    session.gateway = await Gateway.demo();
    session.key = await session.gateway.printedKey();
  });
  beforeEach(() => {
    session.wire = new Wire();
    session.client = new OpenAI({
      baseURL: session.gateway.baseURL,
      apiKey: session.key,
      organization: null,
      project: null,
      fetch: session.wire.fetch,
    });
  });
  afterEach(() => session.wire.check());
  after(async () => assert.equal(await session.gateway?.stop(), 0, session.gateway?.log.text));
  return session;
}

export const user = (content) => [{ role: 'user', content }];
