// aimock plays every provider: prints its address, then answers until it is killed.
import { LLMock } from "@copilotkit/aimock";

const mock = new LLMock({ port: 0, chunkSize: 8, strict: true });
const question = "six times seven";
mock.addFixture({
  match: { userMessage: question, hasToolResult: false },
  response: { toolCalls: [{ name: "calculator", arguments: '{"expression":"6*7"}' }] },
});
mock.addFixture({
  match: { userMessage: question, hasToolResult: true, toolResultContains: "42" },
  response: { content: "Six times seven is 42, says the tool." },
});
await mock.start();
console.log(mock.url);
