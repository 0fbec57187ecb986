"""Writes the vectors that other people's OSC software makes or reads: python_osc.json, liblo.json,
and what each of them says to the vectors written by hand (peers.json).

Run once per version of these programs, from the repository, and commit the result:

    .venv/bin/python crates/osc-codec/tests/vectors/generate.py

Needs python-osc (tests/requirements.txt), oscsend and oscdump (liblo-tools). rosc's vectors are
written by `cargo test -p nexus-osc-codec --test vectors -- --ignored`.
"""

import json
import logging
import re
import select
import signal
import socket
import struct
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from pythonosc import osc_bundle_builder, osc_message_builder, osc_packet

HERE = Path(__file__).parent
NOW = 1


def f32(number):
    """The float32 that this number becomes."""
    return struct.unpack(">f", struct.pack(">f", number))[0]


def vector(name, packet, messages):
    return {"name": name, "hex": packet.hex(), "messages": messages}


def message(address, *arguments, due=NOW):
    return {"due": f"{due:016x}", "address": address, "arguments": list(arguments)}


def python_osc():
    """[type, value as python-osc wants it, argument as vectors say it]"""
    kinds = {
        "an int": [("i", -7, ["i", -7])],
        "the largest int": [("i", 2147483647, ["i", 2147483647])],
        "a long": [("h", 9007199254740993, ["h", "9007199254740993"])],
        "a float": [("f", 440.1, ["f", f32(440.1)])],
        "a double": [("d", 440.1, ["d", 440.1])],
        "a string": [("s", "Kadenz", ["s", "Kadenz"])],
        "strings of every padding": [("s", "x" * n, ["s", "x" * n]) for n in range(5)],
        "a string in UTF-8": [("s", "Tür 🎹", ["s", "Tür 🎹"])],
        "a blob": [("b", b"\x00\x01\xff", ["b", "0001ff"])],
        "a blob of four bytes": [("b", b"abcd", ["b", "61626364"])],
        "an empty blob among others": [("b", b"\x01" * 5, ["b", "0101010101"]), ("i", 1, ["i", 1])],
        "true, false and nil": [("T", True, ["T"]), ("F", False, ["F"]), ("N", None, ["N"])],
        "a colour": [("r", 0x11223344, ["r", "11223344"])],
        "a MIDI message": [("m", (1, 144, 60, 100), ["m", "01903c64"])],
        "a long string": [("s", "a" * 3000, ["s", "a" * 3000])],
        "sixty arguments": [("i", n, ["i", n]) for n in range(60)],
    }
    vectors = []
    for name, arguments in kinds.items():
        builder = osc_message_builder.OscMessageBuilder(address="/python/osc")
        for kind, value, _ in arguments:
            builder.add_arg(value, kind)
        said = message("/python/osc", *[said for _, _, said in arguments])
        vectors.append(vector(name, builder.build().dgram, [said]))

    builder = osc_message_builder.OscMessageBuilder(address="/array")
    for value in (1, [2, ["three", 4.5]], 6):
        builder.add_arg(value)
    said = [["i", 1], ["[", [["i", 2], ["[", [["s", "three"], ["f", 4.5]]]]], ["i", 6]]
    vectors.append(vector("arrays in arrays", builder.build().dgram, [message("/array", *said)]))
    builder = osc_message_builder.OscMessageBuilder(address="/none")
    vectors.append(vector("no argument", builder.build().dgram, [message("/none")]))

    def bundle(seconds, *contents):
        builder = osc_bundle_builder.OscBundleBuilder(seconds)
        for content in contents:
            builder.add_content(content)
        return builder.build()

    def plain(address, number):
        builder = osc_message_builder.OscMessageBuilder(address=address)
        builder.add_arg(number)
        return builder.build()

    at = (2_208_988_800 + 1_000_000_000) << 32 | 1 << 31
    now = bundle(osc_bundle_builder.IMMEDIATELY, plain("/a", 1), plain("/b", 2))
    said = [message("/a", ["i", 1]), message("/b", ["i", 2])]
    vectors.append(vector("a bundle for now", now.dgram, said))
    timed = bundle(1_000_000_000.5, plain("/c", 3), now, plain("/d", 4))
    said = [message("/c", ["i", 3], due=at), *said, message("/d", ["i", 4], due=at)]
    vectors.append(vector("a bundle in a bundle for a moment", timed.dgram, said))
    vectors.append(vector("a bundle of nothing", bundle(1_000_000_000.5).dgram, []))
    return {"from": f"python-osc {version('python-osc')}", "vectors": vectors}


def liblo():
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    receiver.settimeout(5)
    port = str(receiver.getsockname()[1])

    def sent(address, *words):
        subprocess.run(["oscsend", "127.0.0.1", port, address, *words], check=True)
        return receiver.recv(65536)

    cases = {
        "nothing": ("/ping", [], []),
        "an int": ("/i", ["i", "-7"], [["i", -7]]),
        "a long": ("/h", ["h", "9007199254740993"], [["h", "9007199254740993"]]),
        "a float": ("/f", ["f", "0.1"], [["f", f32(0.1)]]),
        "a double": ("/d", ["d", "0.1"], [["d", 0.1]]),
        "a string": ("/s", ["s", "Kadenz"], [["s", "Kadenz"]]),
        "an empty string": ("/s", ["s", ""], [["s", ""]]),
        "a string in UTF-8": ("/s", ["s", "Tür 🎹"], [["s", "Tür 🎹"]]),
        "a symbol": ("/S", ["S", "sym"], [["S", "sym"]]),
        "a character": ("/c", ["c", "x"], [["c", "x"]]),
        "a MIDI message": ("/m", ["m", "00903c64"], [["m", "00903c64"]]),
        "values without bytes": ("/v", ["TFNI"], [["T"], ["F"], ["N"], ["I"]]),
        "one of each": (
            "/nexus/1/ask",
            ["sifhdTNc", "s", "1", "0.5", "2", "0.25", "z"],
            [["s", "s"], ["i", 1], ["f", 0.5], ["h", "2"], ["d", 0.25], ["T"], ["N"], ["c", "z"]],
        ),
        "a pattern for an address": ("/{a,b}/[!x]*/?", ["i", "1"], [["i", 1]]),
    }
    vectors = []
    for name, (address, words, said) in cases.items():
        vectors.append(vector(name, sent(address, *words), [message(address, *said)]))
    return {"from": liblo_version(), "vectors": vectors}


def liblo_version():
    said = subprocess.run(["oscsend"], capture_output=True, text=True)
    found = re.search(r"version (\S+)", said.stdout + said.stderr)
    return f"liblo {found.group(1)}"


class Dump:
    """oscdump, asked what it reads in one packet after another."""

    def __init__(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = subprocess.Popen(
            ["oscdump", "-L", str(self.port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.asked = 1
        while True:
            try:
                self.mark(0)
            except ConnectionRefusedError:
                pass
            if select.select([self.process.stdout], [], [], 0.1)[0]:
                break
        self.reads(b"/sync\0\0\0,\0\0\0")

    def mark(self, number):
        packet = b"/mark\0\0\0,i\0\0" + struct.pack(">i", number)
        self.socket.sendto(packet, ("127.0.0.1", self.port))

    def reads(self, packet):
        """Addresses and types, in order; None when oscdump hangs in it."""
        self.asked += 1
        self.socket.sendto(packet, ("127.0.0.1", self.port))
        self.mark(self.asked)
        heard = []
        while True:
            if not select.select([self.process.stdout], [], [], 3)[0]:
                self.process.kill()
                return None
            # Time tag, address, types, values.
            words = self.process.stdout.readline().decode(errors="replace").split(" ")
            if words[1] == "/mark":
                if words[-1].strip() == str(self.asked):
                    return heard
                continue
            heard.append((words[1], words[2].strip() if len(words) > 2 else ""))


def tags(arguments):
    return "".join("[" + tags(a[1]) + "]" if a[0] == "[" else a[0] for a in arguments)


class Hangs(BaseException):
    """Raised by the alarm: python-osc loops for ever on some packets."""


def hangs(*_):
    raise Hangs


def verdict(each, found, wanted):
    if found is None:
        return "hangs"
    if not found and ("error" in each or wanted):
        return "finds nothing"
    return "reads" if found == wanted and "messages" in each else "reads something else"


def peers(by_hand):
    """What others say to the vectors written by hand: `reads` when they find the same messages."""
    logging.disable()
    signal.signal(signal.SIGALRM, hangs)
    dump, said = Dump(), {}
    for each in by_hand:
        packet = bytes.fromhex(each["hex"])
        wanted = [(m["address"], tags(m["arguments"])) for m in each.get("messages", [])]
        lo = dump.reads(packet) if packet else []
        if lo is None:
            dump = Dump()
        signal.alarm(3)
        try:
            found = osc_packet.OscPacket(packet).messages
            python = [(timed.message.address, len(timed.message.params)) for timed in found]
        except Hangs:
            python = None
        except Exception as error:
            python = f"refuses: {type(error).__name__}"
        finally:
            signal.alarm(0)
        if isinstance(python, list):
            # It sorts them by time.
            counts = [(m["address"], len(m["arguments"])) for m in each.get("messages", [])]
            python = verdict(each, sorted(python), sorted(counts))
        lo = verdict(each, lo, wanted)
        said[each["name"]] = {"python-osc": python or "hangs", "liblo": lo}
    dump.process.kill()
    dump.process.wait()
    return {
        "from": [f"python-osc {version('python-osc')}", liblo_version()],
        "well_formed": {each["name"]: said[each["name"]] for each in by_hand if "messages" in each},
        "malformed": {each["name"]: said[each["name"]] for each in by_hand if "error" in each},
    }


def write(name, content):
    text = json.dumps(content, indent=1, ensure_ascii=False)
    # One vector, one line.
    text = re.sub(r"\n {3,}|\n {2}(?=\})", " ", text)
    (HERE / name).write_text(text + "\n")


def main():
    write("python_osc.json", python_osc())
    write("liblo.json", liblo())
    by_hand = []
    for name in ("specification.json", "edges.json", "malformed.json"):
        by_hand += json.loads((HERE / name).read_text())["vectors"]
    write("peers.json", peers(by_hand))


if __name__ == "__main__":
    sys.exit(main())
