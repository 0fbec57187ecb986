"""OpenAI's own client with its own tools, unmodified, against Nexus: openai_tools.py BASE_URL KEY."""

import json
import sys

import openai

base_url, key = sys.argv[1:]
client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0)
LOOKUP = {"type": "function", "function": {"name": "lookup", "parameters": {"type": "object"}}}


def user(text):
    return {"role": "user", "content": text}


def answered(calls):
    """What the client's own program says to the calls."""
    results = []
    for call in calls:
        text = json.loads(call.function.arguments)["text"]
        results.append({"role": "tool", "tool_call_id": call.id, "content": f"found {text}"})
    return results


# One call and two at once; whole.
for agent, count in [("caller", 1), ("pair", 2)]:
    messages = [user("plums")]
    first = client.chat.completions.create(model=f"nexus/{agent}", messages=messages, tools=[LOOKUP])
    choice = first.choices[0]
    assert choice.finish_reason == "tool_calls" and len(choice.message.tool_calls) == count, first
    messages += [choice.message, *answered(choice.message.tool_calls)]
    second = client.chat.completions.create(model=f"nexus/{agent}", messages=messages, tools=[LOOKUP])
    assert second.choices[0].finish_reason == "stop", second
    assert second.choices[0].message.content.count("found plums") == count, second
    assert second.id == first.id, "the same run goes on"
    # And the chat goes on after that.
    messages += [second.choices[0].message, user("more")]
    third = client.chat.completions.create(model="nexus/plain", messages=messages)
    assert third.choices[0].message.content == "DONE more", third

# Streamed, with the helper that joins the pieces.
messages = [user("plums")]
with client.chat.completions.stream(model="nexus/pair", messages=messages, tools=[LOOKUP]) as stream:
    message = stream.get_final_completion().choices[0].message
assert [call.function.name for call in message.tool_calls] == ["lookup", "lookup"], message
messages += [message, *answered(message.tool_calls)]
with client.chat.completions.stream(model="nexus/pair", messages=messages, tools=[LOOKUP]) as stream:
    final = stream.get_final_completion()
assert final.choices[0].message.content.count("found plums") == 2, final

# A file goes along by its id.
kept = client.files.create(file=("notes.txt", b"plums are blue"), purpose="user_data")
parts = [{"type": "text", "text": "read"}, {"type": "file", "file": {"file_id": kept.id}}]
whole = client.chat.completions.create(model="nexus/plain", messages=[{"role": "user", "content": parts}])
assert whole.choices[0].message.content.startswith("DONE"), whole
print("all of it works")
