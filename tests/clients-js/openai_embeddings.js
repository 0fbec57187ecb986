// OpenAI's own client for JavaScript, unmodified, asks Nexus for vectors: openai_embeddings.js BASE_URL KEY.

import assert from "node:assert/strict";

import OpenAI from "openai";

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const model = "chat/wall-embed";

// The client asks for base64 by itself, and reads it.
const plain = await client.embeddings.create({ model, input: ["plums", "cherries"] });
assert.equal(plain.model, model);
assert.deepEqual(plain.data.map((item) => item.index), [0, 1]);
assert.ok(plain.usage.prompt_tokens > 0);
const floats = await client.embeddings.create({ model, input: "plums", encoding_format: "float" });
assert.equal(floats.data[0].embedding.length, plain.data[0].embedding.length);
floats.data[0].embedding.forEach((number, index) => {
  assert.ok(Math.abs(number - plain.data[0].embedding[index]) < 1e-7);
});
const short = await client.embeddings.create({ model, input: "plums", dimensions: 4 });
assert.equal(short.data[0].embedding.length, 4);

await assert.rejects(client.embeddings.create({ model: "chat/none", input: "plums" }), OpenAI.NotFoundError);
await assert.rejects(client.embeddings.create({ model, input: [[1, 2]] }), OpenAI.BadRequestError);
