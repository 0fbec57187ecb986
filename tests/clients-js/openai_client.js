// OpenAI's own client for JavaScript, unmodified, against Nexus: openai_client.js BASE_URL KEY.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";

import OpenAI from "openai";

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const user = (content) => ({ role: "user", content });

// Whole and streamed, by the plain call and by the helper that joins the pieces.
const asked = { model: "nexus/slow", messages: [user("hello")] };
const whole = await client.chat.completions.create(asked);
assert.match(whole.choices[0].message.content, /^DONE hello/);
let joined = "";
for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
  joined += chunk.choices[0]?.delta.content ?? "";
}
assert.equal(joined, whole.choices[0].message.content);
const helper = client.chat.completions.stream({ ...asked, stream_options: { include_usage: true } });
assert.equal(await helper.finalContent(), joined);
assert.ok((await helper.totalUsage()).total_tokens > 0);

// The client's own tools: one, and two at once; the helper answers them and asks on.
for (const [agent, count] of [["caller", 1], ["pair", 2]]) {
  for (const stream of [false, true]) {
    const called = [];
    const lookup = (args) => {
      called.push(args.text);
      return `found ${args.text}`;
    };
    const runner = client.chat.completions.runTools({
      model: `nexus/${agent}`,
      messages: [user("plums")],
      stream,
      tools: [
        {
          type: "function",
          function: {
            name: "lookup",
            description: "Looks something up.",
            parse: JSON.parse,
            function: lookup,
            parameters: { type: "object", properties: { text: { type: "string" } } },
          },
        },
      ],
    });
    const answer = await runner.finalContent();
    assert.equal(called.length, count, `${agent}: ${called}`);
    assert.ok(called.every((text) => text === "plums"), `${called}`);
    assert.match(answer, /^DONE .*found plums/s);
  }
}

// A client that gives up does not end the run: the same key finds its answer.
const once = { headers: { "Idempotency-Key": randomUUID() } };
const controller = new AbortController();
const left = await client.chat.completions.create({ ...asked, stream: true }, { ...once, signal: controller.signal });
for await (const chunk of left) {
  if (chunk.choices[0]?.delta.content) break;
}
controller.abort();
const again = await client.chat.completions.create(asked, once);
assert.equal(again.choices[0].message.content, joined);

console.log("all of it works");
