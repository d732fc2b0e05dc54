// The simulated Coze as a process of its own, what it has stored, and a
// gateway before it.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, afterEach, before, beforeEach } from 'node:test';

import OpenAI from 'openai';

import { Gateway, Lines, ROOT } from './gateway.mjs';
import { Wire } from './wire.mjs';

export const KEY = 'sk-the-teams-key-for-the-tests-only';
export const OTHER_KEY = 'sk-another-key-for-the-tests-only';

/** A running server. */
export class Coze {
  #process;
  #exited;
  #about;

  static async start() {
    const coze = new Coze();
    const gateway = path.resolve(ROOT, process.env.COZEWAY_BIN ?? 'target/debug/cozeway');
    const program = path.join(path.dirname(gateway), 'examples', 'simulator');
    if (!existsSync(program)) throw new Error(`${program} is not there: run \`cargo build --examples\``);
    coze.#process = spawn(program, { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] });
    coze.#exited = new Promise((resolve) => coze.#process.on('close', resolve));
    coze.#about = await new Lines(coze.#process.stdout).find(JSON.parse, 'the address');
    return coze;
  }

  /** The deployment and its bots, for a gateway's config. */
  config() {
    const { base_url, token, bots, flows } = this.#about;
    const models = Object.entries(bots).map(([name, id]) => `[models.${name}]\nbot_id = "${id}"\n`);
    models.push(...Object.entries(flows).map(([name, entry]) => `[models.${name}]\n${entry}`));
    return `[coze.local]\nbase_url = "${base_url}"\ntoken = "${token}"\n${models.join('')}`;
  }

  async #call(route, body) {
    const { base_url, token } = this.#about;
    const response = await fetch(base_url + route, {
      method: body ? 'POST' : 'GET',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: body && JSON.stringify(body),
    });
    assert.equal(response.status, 200);
    return response.json();
  }

  /** A bot's conversations, oldest first. */
  async conversations(bot) {
    const query = new URLSearchParams({ bot_id: this.#about.bots[bot], page_size: 100_000, sort_order: 'ASC' });
    const { data } = await this.#call(`/v1/conversations?${query}`);
    return (data.conversations ?? []).map(({ id }) => id);
  }

  /** What was said in a conversation, oldest first. */
  async stored(conversation) {
    const route = `/v1/conversation/message/list?conversation_id=${conversation}`;
    const { code, has_more, data } = await this.#call(route, { limit: 100_000 });
    assert.deepEqual([code, has_more], [0, false]);
    return (data ?? []).reverse().map(({ role, content }) => ({ role, content }));
  }

  async stop() {
    this.#process.kill();
    await this.#exited;
  }
}

/** What a test works with: a Coze and a gateway for the file, whose config may
 * say more, a client and a view of its wire for each test, and words that no
 * other test says. */
export function remembering(more = '') {
  const session = { topics: 0 };
  before(async () => {
    session.coze = await Coze.start();
    session.folder = await mkdtemp(path.join(tmpdir(), 'cozeway-'));
    const config = path.join(session.folder, 'cozeway.toml');
    await writeFile(
      config,
      `[server]
listen = "127.0.0.1:0"
keepalive = "300ms"
conversation_wait = "300ms"
[state]
url = "memory:"
[keys.team]
key = "${KEY}"
[keys.other]
key = "${OTHER_KEY}"
${more}${session.coze.config()}`,
    );
    session.gateway = await Gateway.serving(config);
  });
  beforeEach(() => {
    session.topic = `topic ${++session.topics}`;
    session.wire = new Wire();
    session.clientOf = (apiKey, more = {}) =>
      new OpenAI({
        baseURL: session.gateway.baseURL,
        apiKey,
        organization: null,
        project: null,
        fetch: session.wire.fetch,
        ...more,
      });
    session.client = session.clientOf(KEY);
  });
  afterEach(() => session.wire.check());
  after(async () => {
    const code = await session.gateway?.stop();
    await session.coze?.stop();
    if (session.folder) await rm(session.folder, { recursive: true });
    assert.equal(code, 0, session.gateway?.log.text);
  });
  return session;
}

/** The longest text that the `context` bot repeats. */
const LONGEST = 4_000;

/** What of a client's messages the bot is to see. */
export const said = (messages) =>
  messages.map(({ role, content }) => ({ role: role === 'assistant' ? role : 'user', content }));

/** What the `context` bot says when it was shown just these. */
export const shown = (messages) =>
  said(messages)
    .map(({ role, content }) => `${role}: ${content.slice(0, LONGEST)}${content.length > LONGEST ? '…' : ''}`)
    .join('\n');
