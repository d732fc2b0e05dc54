// Chats by LangChain's ChatOpenAI.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { InMemoryChatMessageHistory } from '@langchain/core/chat_history';
import { AIMessage, HumanMessage, SystemMessage } from '@langchain/core/messages';
import { ChatPromptTemplate, MessagesPlaceholder } from '@langchain/core/prompts';
import { RunnableWithMessageHistory } from '@langchain/core/runnables';
import { ChatOpenAI } from '@langchain/openai';

import { KEY, remembering, said, shown } from './coze.mjs';
import { events } from './wire.mjs';

const it = remembering();

const TEN = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

const chatOpenAI = (model, more = {}, configuration = {}) =>
  new ChatOpenAI({
    model,
    apiKey: KEY,
    useResponsesApi: false,
    configuration: { baseURL: it.gateway.baseURL, fetch: it.wire.fetch, ...configuration },
    ...more,
  });

const memory = ({ response }) => response.headers.get('x-cozeway-conversation');

/** What Coze calls the conversation of a request. */
function place(exchange) {
  const streamed = exchange.request.stream;
  const answer = JSON.parse(streamed ? events(exchange).findLast((event) => event.includes('"coze"')) : exchange.body);
  return answer.coze.conversation_id;
}

const plain = (messages) =>
  messages.map((message) => ({
    role: message.getType() === 'ai' ? 'assistant' : 'user',
    content: message.content,
  }));

const FORMS = {
  invoke: (model, input, config) => model.invoke(input, config),
  stream: async (model, input, config) => {
    let whole;
    for await (const chunk of await model.stream(input, config)) whole = whole?.concat(chunk) ?? chunk;
    return whole;
  },
};

for (const [form, ask] of Object.entries(FORMS)) {
  for (const system of [[], [new SystemMessage('Be brief.')]]) {
    test(`a list of messages: ${form}, ${system.length} system text`, async () => {
      const model = chatOpenAI('context');
      const messages = [...system];
      for (const n of TEN) {
        messages.push(new HumanMessage(`${it.topic}, ${n}`));
        const answer = await ask(model, messages);
        assert.equal(answer.content, shown(plain(messages)));
        messages.push(answer);
      }
      assert.deepEqual(it.wire.exchanges.map(memory), ['new', ...Array(9).fill('continued')]);
      const places = new Set(it.wire.exchanges.map(place));
      assert.equal(places.size, 1);
      assert.deepEqual(await it.coze.stored([...places][0]), said(plain(messages)));
    });
  }

  test(`a history that is kept by session: ${form}`, async () => {
    const histories = { ann: new InMemoryChatMessageHistory(), ben: new InMemoryChatMessageHistory() };
    const prompt = ChatPromptTemplate.fromMessages([
      ['system', 'You are {role}.'],
      new MessagesPlaceholder('history'),
      ['human', '{text}'],
    ]);
    const chain = new RunnableWithMessageHistory({
      runnable: prompt.pipe(chatOpenAI('context')),
      getMessageHistory: (session) => histories[session],
      inputMessagesKey: 'text',
      historyMessagesKey: 'history',
    });
    for (const n of TEN) {
      for (const session of Object.keys(histories)) {
        const input = { text: `${it.topic}, ${session}, ${n}`, role: 'kind' };
        await ask(chain, input, { configurable: { sessionId: session } });
        assert.equal(memory(it.wire.last), n === 1 ? 'new' : 'continued');
      }
    }
    for (const [at, history] of Object.values(histories).entries()) {
      const places = new Set(it.wire.exchanges.filter((_, n) => n % 2 === at).map(place));
      assert.equal(places.size, 1);
      const messages = [new SystemMessage('You are kind.'), ...(await history.getMessages())];
      assert.equal(messages.at(-1).content, shown(plain(messages.slice(0, -1))));
      assert.deepEqual(await it.coze.stored([...places][0]), plain(messages));
    }
  });

  test(`deltas under a name: ${form}`, async () => {
    const name = it.topic.replace(' ', '-');
    for (const model of [
      chatOpenAI('context', { modelKwargs: { conversation_id: `${name}-a` } }),
      chatOpenAI('context', {}, { defaultHeaders: { 'x-conversation-id': `${name}-b` } }),
    ]) {
      const messages = [];
      for (const n of TEN) {
        messages.push(new HumanMessage(`${it.topic}, ${n}`));
        const answer = await ask(model, messages.slice(-1));
        assert.equal(memory(it.wire.last), n === 1 ? 'new' : 'continued');
        assert.equal(answer.content, shown(plain(messages)));
        messages.push(answer);
      }
    }
  });

  test(`a question of the bot's is answered: ${form}`, async () => {
    const model = chatOpenAI('ask');
    const messages = [new HumanMessage(`${it.topic}: the weather?`)];
    messages.push(await ask(model, messages), new HumanMessage('Paris'));
    assert.equal((await ask(model, messages)).content, 'The weather in Paris will be sunny.');
    assert.deepEqual(it.wire.exchanges.map(memory), ['new', 'resumed']);
  });
}

test('a batch of chats', async () => {
  const model = chatOpenAI('echo');
  const chats = [...Array(8)].map(() => []);
  for (const n of TEN) {
    chats.forEach((messages, at) => messages.push(new HumanMessage(`${it.topic}, chat ${at}, ${n}`)));
    it.wire.exchanges.length = 0;
    const answers = await model.batch(chats);
    answers.forEach((answer, at) => chats[at].push(answer));
    assert.ok(it.wire.exchanges.every((exchange) => memory(exchange) === (n === 1 ? 'new' : 'continued')));
  }
  const stored = await Promise.all(it.wire.exchanges.map((exchange) => it.coze.stored(place(exchange))));
  const sorted = (all) => all.map((messages) => JSON.stringify(messages)).sort();
  assert.deepEqual(sorted(stored), sorted(chats.map(plain)));
});

test('an answer that was kept as plain text', async () => {
  const model = chatOpenAI('context');
  const first = await model.invoke(it.topic);
  const messages = [new HumanMessage(it.topic), new AIMessage(String(first.content)), new HumanMessage('and?')];
  assert.equal((await model.invoke(messages)).content, shown(plain(messages)));
  assert.equal(memory(it.wire.last), 'continued');
});

test('an unknown conversation is not found', async () => {
  const model = chatOpenAI('echo', { modelKwargs: { conversation_id: 'conv_nobody' } });
  for (const ask of Object.values(FORMS)) {
    await assert.rejects(ask(model, 'hi'), (error) => {
      assert.equal(error.status, 404);
      assert.equal(error.code, 'conversation_not_found');
      return true;
    });
  }
});
