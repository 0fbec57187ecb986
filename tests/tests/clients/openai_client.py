"""OpenAI's own client, unmodified, against Nexus: openai_client.py BASE_URL KEY."""

import sys
import uuid

import openai

base_url, key = sys.argv[1:]
client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0)
MODEL = "nexus/assistant"


def user(text):
    return [{"role": "user", "content": text}]


def refused(error, **arguments):
    """The error of a request that has to be refused in this way."""
    try:
        client.chat.completions.create(**{"model": MODEL, "messages": user("hello"), **arguments})
    except error as raised:
        return raised
    raise AssertionError(f"not refused: {list(arguments)}")


models = [model.id for model in client.models.list()]
assert MODEL in models and "demo/demo" in models, models

for model in [MODEL, "demo/demo", "default"]:
    whole = client.chat.completions.create(model=model, messages=user("what time is it in Tokyo?"))
    assert "Tokyo" in whole.choices[0].message.content, whole
    assert whole.choices[0].finish_reason == "stop" and whole.choices[0].message.role == "assistant", whole
    # The model that answered is named, whatever it was asked for as.
    assert whole.object == "chat.completion" and whole.model == "demo/demo" and whole.created > 1_700_000_000, whole
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens > 0, whole

stream = client.chat.completions.create(
    model=MODEL,
    messages=user("what time is it in Tokyo?"),
    stream=True,
    stream_options={"include_usage": True},
)
chunks = list(stream)
assert len({chunk.id for chunk in chunks}) == 1, chunks
text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
assert text.count("Tokyo") == 1, text
assert chunks[0].choices[0].delta.role == "assistant", chunks[0]
assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop", chunks
assert chunks[-1].usage.total_tokens > 0 and not chunks[-1].choices, chunks[-1]

# The client keeps the conversation and sends all of it.
told = user("I like plums.") + [{"role": "assistant", "content": "Good."}] + user("what did I say?")
whole = client.chat.completions.create(model=MODEL, messages=told)
assert "I like plums." in whole.choices[0].message.content, whole

# Nexus keeps the conversation.
named = {"X-Conversation-Id": f"openai-{uuid.uuid4()}"}
client.chat.completions.create(model=MODEL, messages=user("I like cherries."), extra_headers=named)
whole = client.chat.completions.create(model=MODEL, messages=user("what did I say?"), extra_headers=named)
assert "I like cherries." in whole.choices[0].message.content, whole

# The same key is the same request, so the client's own retries do nothing twice.
once = {"X-Conversation-Id": f"openai-{uuid.uuid4()}", "Idempotency-Key": "one"}
first, second = (client.chat.completions.create(model=MODEL, messages=user("hello"), extra_headers=once) for _ in "12")
assert first == second, (first, second)

error = refused(openai.NotFoundError, model="gpt-unheard-of")
assert error.code == "model_not_found" and MODEL in error.message, error
error = refused(openai.APIStatusError, messages=user("x" * 2_000_000))
assert error.status_code == 413, error
error = refused(openai.BadRequestError, messages=[])
assert "message" in error.message, error
tool = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}
error = refused(openai.BadRequestError, tools=[tool])
assert "clock" in error.message, error

client = openai.OpenAI(base_url=base_url, api_key="nx_wrong", max_retries=0)
error = refused(openai.AuthenticationError)
assert error.code == "invalid_api_key", error
print("all of it works")
