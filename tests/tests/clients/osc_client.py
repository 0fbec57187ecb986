"""python-osc, unmodified, against Nexus over UDP and both TCP framings: osc_client.py PORT KEY."""

import sys
import time
import uuid

from pythonosc import osc_bundle_builder, osc_message_builder
from pythonosc.tcp_client import SimpleTCPClient
from pythonosc.udp_client import SimpleUDPClient

port, key = int(sys.argv[1]), sys.argv[2]
CLIENTS = {
    "udp": lambda: SimpleUDPClient("127.0.0.1", port),
    "length": lambda: SimpleTCPClient("127.0.0.1", port, mode="1.0"),
    "slip": lambda: SimpleTCPClient("127.0.0.1", port, mode="1.1"),
}


def heard(client, address, limit=30):
    """Messages up to and including one for this address."""
    messages, end = [], time.monotonic() + limit
    while time.monotonic() < end:
        for message in client.get_messages(1):
            messages.append(message)
            if message.address == address:
                return messages
    raise AssertionError(f"no {address} after {[message.address for message in messages]}")


def hello(client, name):
    # Pure Data would send the port as a float too.
    client.send_message("/nexus/1/hello", [name, 0.0, key])
    session, lease, heartbeat = heard(client, "/nexus/1/welcome")[-1].params
    assert float(lease) > heartbeat > 0, (lease, heartbeat)
    return session


def message(address, *values):
    builder = osc_message_builder.OscMessageBuilder(address=address)
    for value in values:
        builder.add_arg(value)
    return builder.build()


for name, connect in CLIENTS.items():
    client = connect()
    session = hello(client, f"python-osc-{name}")
    # Numbers of any type name the same request.
    conversation = f"osc-{uuid.uuid4()}"
    question = [session, 7.0, "what time is it in Tokyo?", "conversation", conversation]
    client.send_message("/nexus/1/ask", question)
    answer = heard(client, "/nexus/1/done")
    accepted = [each for each in answer if each.address == "/nexus/1/accepted"]
    assert [each.params[0] for each in accepted] == ["7"], accepted
    tokens = {each.params[1]: each.params for each in answer if each.address == "/nexus/1/token"}
    req, total, status = answer[-1].params
    assert (req, status, sorted(tokens)) == ("7", "answered", list(range(total))), answer[-1].params
    text = "".join(tokens[seq][3] for seq in range(total))
    assert "Tokyo" in text, text

    # Lost or not, all of it can be had again; asked again, it is not run again.
    client.send_message("/nexus/1/resend", [session, "7", 0, total - 1])
    again = heard(client, "/nexus/1/done")
    assert [each.params[3] for each in again[:-1]] == [tokens[seq][3] for seq in range(total)]
    client.send_message("/nexus/1/ask", [session, 7, *question[2:]])
    repeated = heard(client, "/nexus/1/done")
    assert repeated[0].params == accepted[0].params, repeated[0].params

    # A bundle for later is overtaken by a message for now; a pattern is as good as a name.
    builder = osc_bundle_builder.OscBundleBuilder(time.time() + 0.5)
    builder.add_content(message("/nexus/1/cancel", session, "nothing of this name"))
    client.send(builder.build())
    client.send_message("//ping", [session])
    order = [each.address for each in heard(client, "/nexus/1/error")]
    assert order == ["/nexus/1/pong", "/nexus/1/error"], order
    print(name, "ok")
