"""AG-UI's Python package reads what Nexus sends: agui_client.py BASE_URL KEY."""

import json
import sys
import uuid

import httpx
from ag_ui.core import Event, EventType, RunAgentInput, UserMessage
from pydantic import TypeAdapter

base_url, key = sys.argv[1:]
read = TypeAdapter(Event).validate_python
TOOL = {"name": "lookup", "description": "Looks something up.", "parameters": {"type": "object"}}


def run(agent, text, tools=()):
    """The events of a run, each read as its own type."""
    question = UserMessage(id=str(uuid.uuid4()), role="user", content=text)
    asked = RunAgentInput(
        thread_id=str(uuid.uuid4()),
        run_id=str(uuid.uuid4()),
        state={},
        messages=[question],
        tools=list(tools),
        context=[],
        forwarded_props={},
    )
    body = asked.model_dump(by_alias=True, exclude_none=True, mode="json")
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.stream("POST", f"{base_url}/agui/{agent}", json=body, headers=headers, timeout=60) as response:
        assert response.status_code == 200, response.read()
        lines = [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")]
    return [read(json.loads(line)) for line in lines]


def kinds(events):
    return [event.type for event in events]


events = run("slow", "hello")
assert kinds(events)[0] == EventType.RUN_STARTED and kinds(events)[-1] == EventType.RUN_FINISHED, events
text = "".join(event.delta for event in events if event.type == EventType.TEXT_MESSAGE_CONTENT)
assert text.startswith("DONE hello") and text.endswith(" w19"), text

events = run("assistant", "what time is it in Tokyo?")
assert EventType.TOOL_CALL_RESULT in kinds(events), events

events = run("pair", "plums", [TOOL])
assert kinds(events).count(EventType.TOOL_CALL_END) == 2, events
assert len(events[-1].outcome.pending_tool_call_ids) == 2, events[-1]

events = run("guarded", "calculate")
assert events[-1].outcome.type == "interrupt", events[-1]

events = run("broken", "hello")
assert kinds(events)[-1] == EventType.RUN_ERROR, events
print("all of it works")
