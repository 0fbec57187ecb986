// Vercel's AI SDK, unmodified, against Nexus: vercel_client.js BASE_URL KEY.

import assert from "node:assert/strict";

import {
  AbstractChat,
  DefaultChatTransport,
  lastAssistantMessageIsCompleteWithApprovalResponses,
  lastAssistantMessageIsCompleteWithToolCalls,
} from "ai";

const [base, key] = process.argv.slice(2);

/** What the framework packages (React, Vue, Svelte) add to `AbstractChat`: a place for its state. */
class Chat extends AbstractChat {
  constructor({ agent, tools, messages = [], ...init }) {
    const state = {
      status: "ready",
      error: undefined,
      messages,
      pushMessage: (message) => void (state.messages = [...state.messages, message]),
      popMessage: () => void (state.messages = state.messages.slice(0, -1)),
      replaceMessage: (index, message) => void (state.messages = state.messages.with(index, message)),
      snapshot: (value) => structuredClone(value),
    };
    const transport = new DefaultChatTransport({
      api: `${base}/vercel/chat`,
      headers: { Authorization: `Bearer ${key}` },
      body: { agent, tools },
    });
    super({ ...init, state, transport, onError: (error) => void (this.failure = error) });
  }

  get answer() {
    return this.lastMessage.parts.filter(({ type }) => type === "text").map(({ text }) => text).join("");
  }
}

async function settled(chat) {
  while (chat.status === "submitted" || chat.status === "streaming") await new Promise((done) => setTimeout(done, 10));
  assert.equal(chat.failure, undefined, `${chat.failure}`);
}

// Text, streamed.
let chat = new Chat({ agent: "slow" });
await chat.sendMessage({ text: "hello" });
await settled(chat);
assert.match(chat.answer, /^DONE hello.* w19$/s);

// A tool of the agent itself, and the conversation goes on.
chat = new Chat({ agent: "assistant" });
await chat.sendMessage({ text: "what time is it in Tokyo?" });
await settled(chat);
const [tool] = chat.lastMessage.parts.filter(({ type }) => type === "dynamic-tool");
assert.equal(tool.toolName, "clock");
assert.equal(tool.state, "output-available");
assert.match(chat.answer, /Tokyo/);
await chat.sendMessage({ text: "what did I say?" });
await settled(chat);
assert.match(chat.answer, /what time is it in Tokyo/);
// Answered anew: what was answered before is not part of it.
await chat.regenerate();
await settled(chat);
assert.equal(chat.messages.length, 4);
assert.match(chat.answer, /what time is it in Tokyo/);

// Tools of the page, one and two at once.
const tools = [{ name: "lookup", description: "Looks something up.", parameters: { type: "object" } }];
for (const [agent, count] of [["caller", 1], ["pair", 2]]) {
  let called = 0;
  chat = new Chat({
    agent,
    tools,
    sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithToolCalls,
    onToolCall: ({ toolCall }) => {
      called += 1;
      const output = `found ${toolCall.input.text}`;
      chat.addToolOutput({ tool: toolCall.toolName, toolCallId: toolCall.toolCallId, output });
    },
  });
  await chat.sendMessage({ text: "plums" });
  while (!chat.answer.startsWith("DONE")) {
    assert.equal(chat.failure, undefined, `${chat.failure}`);
    await new Promise((done) => setTimeout(done, 10));
  }
  await settled(chat);
  assert.equal(called, count);
  assert.match(chat.answer, /^DONE .*found plums/s);
  assert.equal(chat.messages.length, 2, "one message of the assistant");
}

// A person is asked: yes, and no.
for (const approved of [true, false]) {
  chat = new Chat({ agent: "guarded", sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses });
  await chat.sendMessage({ text: "calculate" });
  await settled(chat);
  const [asked] = chat.lastMessage.parts.filter(({ state }) => state === "approval-requested");
  assert.equal(asked.toolName, "calculator");
  await chat.addToolApprovalResponse({ id: asked.approval.id, approved });
  while (!chat.answer.startsWith("DONE")) {
    assert.equal(chat.failure, undefined, `${chat.failure}`);
    await new Promise((done) => setTimeout(done, 10));
  }
  await settled(chat);
  assert.match(chat.answer, approved ? /^DONE 42/ : /^DONE .*did not allow/s);
}

// A page that is loaded anew while an answer is made gets all of it; afterwards there is nothing.
chat = new Chat({ agent: "slow" });
const sending = chat.sendMessage({ text: "hello" });
while (chat.lastMessage?.role !== "assistant" || !chat.answer) await new Promise((done) => setTimeout(done, 5));
const reloaded = new Chat({ agent: "slow", id: chat.id, messages: [chat.messages[0]] });
await reloaded.resumeStream();
await settled(reloaded);
assert.match(reloaded.answer, /^DONE hello.* w19$/s);
await sending;
await reloaded.resumeStream();
assert.equal(reloaded.messages.length, 2);

console.log("all of it works");
process.exit(0);
