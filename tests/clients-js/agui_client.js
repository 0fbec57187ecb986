// AG-UI's own client, unmodified, against Nexus: agui_client.js BASE_URL KEY.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";

import { HttpAgent } from "@ag-ui/client";

const [base, key] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${key}` };
const open = (agent, threadId = randomUUID(), initialMessages = []) =>
  new HttpAgent({ url: `${base}/agui/${agent}`, headers, threadId, initialMessages });
const user = (content) => ({ id: randomUUID(), role: "user", content });

/** Runs the agent; its events, and how it finished. */
async function run(agent, parameters = {}) {
  const events = [];
  const { newMessages } = await agent.runAgent(parameters, { onEvent: ({ event }) => void events.push(event) });
  const types = events.map(({ type }) => type);
  return { events, types, newMessages, finished: events.find(({ type }) => type === "RUN_FINISHED") };
}

// Text, streamed.
let agent = open("slow");
agent.addMessage(user("hello"));
let { types, newMessages, finished } = await run(agent);
assert.equal(types[0], "RUN_STARTED");
assert.ok(types.filter((type) => type === "TEXT_MESSAGE_CONTENT").length > 1, `${types}`);
assert.equal(finished.outcome.type, "success");
assert.equal(newMessages.length, 1);
assert.match(newMessages[0].content, /^DONE hello.* w19$/s);

// A tool of the agent itself: its call and its result are seen.
agent = open("assistant");
agent.addMessage(user("what time is it in Tokyo?"));
({ types, newMessages } = await run(agent));
for (const type of ["TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END", "TOOL_CALL_RESULT"]) {
  assert.ok(types.includes(type), `${type} in ${types}`);
}
assert.deepEqual(newMessages.map(({ role }) => role), ["assistant", "tool", "assistant"]);
assert.match(newMessages[2].content, /Tokyo/);
// The conversation goes on, and is remembered.
agent.addMessage(user("what did I say?"));
({ newMessages } = await run(agent));
assert.match(newMessages[0].content, /what time is it in Tokyo/);

// Tools of the page, one and two at once: the run waits, and goes on with the results.
const tools = [{ name: "lookup", description: "Looks something up.", parameters: { type: "object" } }];
for (const [name, count] of [["caller", 1], ["pair", 2]]) {
  agent = open(name);
  agent.addMessage(user("plums"));
  ({ newMessages, finished } = await run(agent, { tools }));
  const calls = newMessages.flatMap(({ toolCalls }) => toolCalls ?? []);
  assert.equal(calls.length, count);
  assert.deepEqual(finished.outcome.pendingToolCallIds, calls.map(({ id }) => id));
  for (const call of calls) {
    const { text } = JSON.parse(call.function.arguments);
    agent.addMessage({ id: randomUUID(), role: "tool", toolCallId: call.id, content: `found ${text}` });
  }
  ({ newMessages, finished } = await run(agent, { tools }));
  assert.equal(finished.outcome.type, "success");
  assert.match(newMessages[0].content, /^DONE .*found plums/s);
}

// A person is asked: yes, and no.
for (const approved of [true, false]) {
  agent = open("guarded");
  agent.addMessage(user("calculate"));
  ({ finished } = await run(agent));
  assert.equal(finished.outcome.type, "interrupt");
  const [interrupt] = finished.outcome.interrupts;
  assert.equal(interrupt.metadata.tool, "calculator");
  const resume = [{ interruptId: interrupt.id, status: "resolved", payload: { approved } }];
  ({ newMessages, finished } = await run(agent, { resume }));
  assert.equal(finished.outcome.type, "success");
  const answer = newMessages.at(-1).content;
  assert.match(answer, approved ? /^DONE 42/ : /^DONE .*did not allow/s);
}

// What fails is an error with its reason.
agent = open("broken");
agent.addMessage(user("hello"));
const errors = [];
await agent
  .runAgent({}, { onRunErrorEvent: ({ event }) => void errors.push(event) })
  .catch(() => {});
assert.equal(errors.length, 1);
assert.ok(errors[0].message && errors[0].code, JSON.stringify(errors));

console.log("all of it works");
