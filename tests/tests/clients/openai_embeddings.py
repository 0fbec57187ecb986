"""OpenAI's own client, unmodified, asks Nexus for vectors: openai_embeddings.py BASE_URL KEY."""

import sys

import openai

base_url, key = sys.argv[1:]
client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0)
MODEL = "chat/wall-embed"

# The client asks for base64 by itself, and reads it.
plain = client.embeddings.create(model=MODEL, input=["plums", "cherries"])
assert plain.object == "list" and plain.model == MODEL, plain
assert plain.usage.prompt_tokens == plain.usage.total_tokens > 0, plain.usage
assert [item.index for item in plain.data] == [0, 1], plain
floats = client.embeddings.create(model=MODEL, input="plums", encoding_format="float")
assert len(floats.data) == 1 and len(floats.data[0].embedding) == len(plain.data[0].embedding)
pairs = zip(floats.data[0].embedding, plain.data[0].embedding)
assert all(abs(one - other) < 1e-7 for one, other in pairs), (floats, plain)
short = client.embeddings.create(model=MODEL, input="plums", dimensions=4)
assert len(short.data[0].embedding) == 4, short

for error, arguments in [
    (openai.NotFoundError, {"model": "chat/none", "input": "plums"}),
    (openai.BadRequestError, {"model": MODEL, "input": [[1, 2, 3]]}),
    (openai.BadRequestError, {"model": MODEL, "input": ""}),
]:
    try:
        client.embeddings.create(**arguments)
    except error as raised:
        assert raised.body["message"], raised
    else:
        raise AssertionError(f"not refused: {arguments}")
