"""A program with OSC, made with python-osc: osc_program.py PORT REPLY_PORT.

Answers /ask with /answer, and tells every /synth/NAME that it is given as /knob/NAME.
"""

import sys

from pythonosc.dispatcher import Dispatcher
from pythonosc.osc_server import BlockingOSCUDPServer
from pythonosc.udp_client import SimpleUDPClient

port, reply_port = (int(argument) for argument in sys.argv[1:])
replies = SimpleUDPClient("127.0.0.1", reply_port)
dispatcher = Dispatcher()
dispatcher.map("/ask", lambda _, *words: replies.send_message("/answer", ["You asked", *words]))
dispatcher.map(
    "/synth/*",
    lambda address, *values: replies.send_message(address.replace("/synth/", "/knob/"), values),
)
server = BlockingOSCUDPServer(("127.0.0.1", port), dispatcher)
print("ready", flush=True)
server.serve_forever()
