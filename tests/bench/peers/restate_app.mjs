// The turn that Nexus is measured on, as a user of Restate would write it: a conversation is a
// virtual object, each model call and each tool call a durable step, the history its state.
import * as restate from "@restatedev/restate-sdk";

const { LLM_URL, PORT } = process.env;
const parameters = { type: "object", properties: { text: { type: "string" } }, required: ["text"] };
const tools = [{ type: "function", function: { name: "echo", description: "Echo the text.", parameters } }];
const run = { echo: ({ text }) => `echo: ${text}` };

async function complete(messages) {
  const response = await fetch(`${LLM_URL}/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model: "mock-tool", messages, tools }),
  });
  if (!response.ok) throw new Error(`the model answered ${response.status}`);
  return (await response.json()).choices[0].message;
}

const conversation = restate.object({
  name: "conversation",
  handlers: {
    async turn(ctx, text) {
      const messages = (await ctx.get("messages")) ?? [
        { role: "system", content: "You are a helpful assistant." },
      ];
      messages.push({ role: "user", content: text });
      for (;;) {
        const answer = await ctx.run("model", () => complete(messages));
        messages.push(answer);
        if (!answer.tool_calls) break;
        for (const { id, function: call } of answer.tool_calls) {
          const content = await ctx.run("tool", () => run[call.name](JSON.parse(call.arguments)));
          messages.push({ role: "tool", tool_call_id: id, content });
        }
      }
      ctx.set("messages", messages);
      return messages.at(-1).content;
    },
  },
});

await restate.serve({ services: [conversation], port: Number(PORT) });
