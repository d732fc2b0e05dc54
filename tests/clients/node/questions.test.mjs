// Chats through questions in the middle, by the OpenAI SDK and LangChain: ten
// turns of a chatflow and of a workflow, through two gateways with one state,
// each of which is restarted on the way.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, afterEach, before, beforeEach, test } from 'node:test';

import { HumanMessage } from '@langchain/core/messages';
import { ChatOpenAI } from '@langchain/openai';
import OpenAI, { ConflictError } from 'openai';

import { Coze, KEY } from './coze.mjs';
import { Gateway } from './gateway.mjs';
import { Wire } from './wire.mjs';

const CITY = 'Which city would you like to know the weather of?';

/** What a user says, what is said to it, and what became of the conversation. */
const SCRIPTS = {
  /** A chatflow that asks back each time. */
  guide: () =>
    ['Paris', 'Rome', 'Oslo', 'Bern', 'Graz'].flatMap((city, at) => [
      [`The weather, please. ${randomUUID()}`, CITY, at === 0 ? 'new' : 'continued'],
      [city, `The weather in ${city} will be sunny.`, 'resumed'],
    ]),
  /** A workflow that asks three times, the last time for a form. */
  trip: () =>
    [
      ['Ann', 'Oslo', 'days: 3\nname: Ann'],
      ['Ben', 'Rome', '{"days": 3, "name": "Ben"}'],
      ['Cem', 'Bern', ''],
    ]
      .flatMap(([name, place, form]) => [
        [`A trip, please. ${randomUUID()}`, 'Where would you like to go?', 'new'],
        [place, 'When?\nsummer\nwinter', 'resumed'],
        ['winter', 'days (integer)\nname (string)', 'resumed'],
        [form, `${name}: 3 days in ${place}, winter.`, 'resumed'],
      ])
      .slice(0, 10),
};

let coze;
let folder;
let config;
let gateways;
let wire;

const client = (which) =>
  new OpenAI({ baseURL: gateways[which].baseURL, apiKey: KEY, organization: null, project: null, fetch: wire.fetch });

async function restart(which) {
  assert.equal(await gateways[which].stop(), 0, gateways[which].log.text);
  gateways[which] = await Gateway.serving(config);
}

/** The next turn of a script: which gateway has it. */
async function turn(n) {
  if (n === 3 || n === 6) await restart(n % 2);
  return n % 2;
}

before(async () => {
  coze = await Coze.start();
  folder = await mkdtemp(path.join(tmpdir(), 'cozeway-'));
  config = path.join(folder, 'cozeway.toml');
  const state = '[server]\nlisten = "127.0.0.1:0"\n[state]\nurl = "sqlite:state.db"\n';
  await writeFile(config, `${state}[keys.team]\nkey = "${KEY}"\n${coze.config()}`);
  gateways = [await Gateway.serving(config), await Gateway.serving(config)];
});
beforeEach(() => (wire = new Wire()));
afterEach(() => wire.check());
after(async () => {
  for (const gateway of gateways ?? []) assert.equal(await gateway.stop(), 0, gateway.log.text);
  await coze?.stop();
  if (folder) await rm(folder, { recursive: true });
});

const memory = ({ response }) => response.headers.get('x-cozeway-conversation');

for (const [model, script] of Object.entries(SCRIPTS)) {
  for (const stream of [false, true]) {
    test(`ten turns: ${model}, ${stream ? 'streamed' : 'whole'}`, async () => {
      const messages = [];
      for (const [n, [says, hears, expected]] of script().entries()) {
        const which = await turn(n);
        messages.push({ role: 'user', content: says });
        const answer = await client(which).chat.completions.create({ model, messages, stream });
        let text = '';
        if (stream) for await (const chunk of answer) text += chunk.choices[0].delta.content ?? '';
        else text = answer.choices[0].message.content;
        assert.deepEqual([text, memory(wire.last)], [hears, expected], `turn ${n}`);
        messages.push({ role: 'assistant', content: text });
      }
    });

    test(`ten turns by LangChain: ${model}, ${stream ? 'stream' : 'invoke'}`, async () => {
      const messages = [];
      for (const [n, [says, hears, expected]] of script().entries()) {
        const which = await turn(n);
        const chat = new ChatOpenAI({
          model,
          apiKey: KEY,
          useResponsesApi: false,
          maxRetries: 0,
          configuration: { baseURL: gateways[which].baseURL, fetch: wire.fetch },
        });
        messages.push(new HumanMessage(says));
        let answer;
        if (stream) for await (const chunk of await chat.stream(messages)) answer = answer?.concat(chunk) ?? chunk;
        else answer = await chat.invoke(messages);
        assert.deepEqual([answer.content, memory(wire.last)], [hears, expected], `turn ${n}`);
        messages.push(answer);
      }
    });
  }
}

test('what a question wants is told', async () => {
  const messages = [];
  const wants = [];
  for (const [says, hears] of SCRIPTS.trip().slice(0, 4)) {
    messages.push({ role: 'user', content: says });
    const answer = await client(0).chat.completions.create({ model: 'trip', messages });
    assert.equal(answer.choices[0].finish_reason, 'stop');
    messages.push({ role: 'assistant', content: hears });
    wants.push(answer.coze.interrupt);
  }
  assert.deepEqual(wants, [
    { kind: 'question' },
    { kind: 'choice', options: ['summer', 'winter'] },
    {
      kind: 'form',
      fields: [
        { name: 'days', type: 'integer', required: true },
        { name: 'name', type: 'string', required: true },
      ],
    },
    undefined,
  ]);
});

test('a question is answered once', async () => {
  const [[begins, asks]] = SCRIPTS.trip();
  const create = (which, ...more) =>
    client(which).chat.completions.create({ model: 'trip', messages: [{ role: 'user', content: begins }, ...more] });
  await create(0);
  const asked = { role: 'assistant', content: asks };
  await create(1, asked, { role: 'user', content: 'Oslo' });
  for (const which of [0, 1]) {
    await assert.rejects(create(which, asked, { role: 'user', content: 'Rome' }), (error) => {
      assert.ok(error instanceof ConflictError);
      assert.equal(error.code, 'conversation_lost');
      return true;
    });
  }
});
