"""Nexus from Python, over UDP, or over TCP with SLIP (OSC 1.1): pip install python-osc==1.10.2

    NEXUS_API_KEY=nx_... python examples/osc/ask.py [--tcp] [--port 9000] "what time is it in Tokyo?"
"""

import argparse
import os
import sys
import threading
import uuid

from pythonosc.dispatcher import Dispatcher
from pythonosc.osc_server import BlockingOSCUDPServer
from pythonosc.tcp_client import TCPDispatchClient
from pythonosc.udp_client import SimpleUDPClient

options = argparse.ArgumentParser()
options.add_argument("text")
options.add_argument("--port", type=int, default=9000)
options.add_argument("--tcp", action="store_true")
options = options.parse_args()

REQUEST = uuid.uuid4().hex  # asked twice under one name, it runs once
welcomed, done = threading.Event(), threading.Event()
tokens, outcome, session = {}, [], []


def welcome(_, name, lease, heartbeat):
    if not welcomed.is_set():
        session.append(name)
        welcomed.set()


def token(_, request, number, kind, text):
    tokens[number] = (kind, text)


def finish(_, request, total, status):
    outcome.extend([total, status])
    done.set()


def fail(_, request, code, message):
    outcome.extend([0, f"{code}: {message}"])
    welcomed.set()
    done.set()


dispatcher = Dispatcher()
dispatcher.map("/nexus/1/welcome", welcome)
dispatcher.map("/nexus/1/token", token)
dispatcher.map("/nexus/1/done", finish)
dispatcher.map("/nexus/1/error", fail)

if options.tcp:
    client = TCPDispatchClient("127.0.0.1", options.port, mode="1.1")
    client.dispatcher = dispatcher
    reply_port = 0
    listen = lambda: client.handle_messages(0.2)
else:
    client = SimpleUDPClient("127.0.0.1", options.port)
    server = BlockingOSCUDPServer(("127.0.0.1", 0), dispatcher)
    server.timeout = 0.2
    reply_port = server.server_address[1]
    listen = server.handle_request


def until(event, say):
    """UDP may lose a packet, so everything is said until it is answered."""
    for attempt in range(300):
        if event.is_set():
            return
        if attempt % 10 == 0:
            say()
        listen()
    sys.exit("no answer; does `nexus up` run?")


key = os.environ["NEXUS_API_KEY"]
until(welcomed, lambda: client.send_message("/nexus/1/hello", ["python", reply_port, key]))
if not done.is_set():
    ask = [*session, REQUEST, options.text]
    until(done, lambda: client.send_message("/nexus/1/ask", ask))

missing = [number for number in range(outcome[0]) if number not in tokens]
assert not missing, f"lost {missing}; ask for them with /nexus/1/resend"
text = ""
for number in sorted(tokens):
    kind, part = tokens[number]
    text = "" if kind == "reset" else text + part
print(text)
print(outcome[1], file=sys.stderr)
sys.exit(outcome[1] != "answered")
