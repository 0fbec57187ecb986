# Dialogue with Nexus characters, for Godot 3.x. Nothing here blocks the game.
#
#     var nexus = NpcClient.new()
#     add_child(nexus)
#     nexus.connect("ready_to_talk", self, "_on_ready")  # also when the connection comes back
#     nexus.connect("delta", self, "_on_delta")
#     nexus.start("ws://127.0.0.1:8080/v1/ws", key)
#
#     func _on_ready(_agents):
#         nexus.open_npc("smith", {"persona": "You are Ada, a smith.", "session": "player-1"})
#         nexus.say("smith", "Good day!", 1)
#
# The protocol: crates/gateway/src/socket/npc.rs. Signals carry the frames' fields.
class_name NpcClient
extends Node

signal ready_to_talk(agents)
signal opened(npc, session, turns)
signal delta(npc, say, text)
signal reset(npc, say, text_so_far)
signal action(npc, call, name, args)
signal filler(npc, say, text)
signal done(npc, say, status, text)
signal exported(npc, token)
signal imported(npc, turns)
signal failed(code, message)
signal closed()

# A frame of the server has at most 16 KiB; some slack for the one behind it.
const BUFFER_KIB = 64
const BUFFER_PACKETS = 256
const RETRY_SECONDS = 2.0

var _socket = WebSocketClient.new()
var _url = ""
var _key = ""
var _is_welcome = false
var _retry_in = -1.0
var _waiting = []  # frames from before the welcome
var _said = {}     # say -> its deltas, in order
var _revs = {}     # npc -> revision of its state


func _init():
	_socket.set_buffers(BUFFER_KIB, BUFFER_PACKETS, BUFFER_KIB, BUFFER_PACKETS)
	_socket.connect("connection_established", self, "_on_established")
	_socket.connect("connection_closed", self, "_on_closed")
	_socket.connect("connection_error", self, "_on_closed")
	_socket.connect("data_received", self, "_on_data")


func start(url, key):
	_url = url
	_key = key
	if _socket.connect_to_url(_url) != OK:
		_retry_in = RETRY_SECONDS


func stop():
	_retry_in = -1.0
	_url = ""
	_socket.disconnect_from_host()


# Options: persona, persona_ref, session, actions, fallback_after_ms, fallback_text.
func open_npc(npc, options = {}):
	var frame = options.duplicate()
	frame["type"] = "npc.open"
	frame["npc"] = npc
	_send(frame)


# Call it as often as you like, also every frame: the newest revision wins.
func set_state(npc, set, unset = []):
	_revs[npc] = _revs.get(npc, 0) + 1
	_send({"type": "state", "npc": npc, "rev": _revs[npc], "set": set, "unset": unset})


# The same id is the same line: after a broken connection, say it again.
func say(npc, text, id = null):
	var frame = {"type": "say", "npc": npc, "text": text}
	if id != null:
		frame["id"] = str(id)
	_send(frame)


func interrupt(npc):
	_send({"type": "interrupt", "npc": npc})


# What came of an action; within 2 s.
func finish_action(npc, call, output = "done", ok = true):
	_send({"type": "action.result", "npc": npc, "call": call, "ok": ok, "output": output})


func export_session(npc):
	_send({"type": "session.export", "npc": npc})


func import_session(npc, token):
	_revs[npc] = 0
	_send({"type": "session.import", "npc": npc, "token": token})


func _process(seconds):
	if _retry_in > 0.0:
		_retry_in -= seconds
		if _retry_in <= 0.0:
			start(_url, _key)
	_socket.poll()


func _send(frame):
	if not _is_welcome and frame["type"] != "hello":
		# A state may be dropped, the next one replaces it; a line may not.
		if frame["type"] != "state" or _waiting.size() < BUFFER_PACKETS:
			_waiting.append(frame)
		return
	_socket.get_peer(1).put_packet(JSON.print(frame).to_utf8())


func _on_established(_protocol):
	_socket.get_peer(1).set_write_mode(WebSocketPeer.WRITE_MODE_TEXT)
	_send({"type": "hello", "protocol": "npc", "key": _key, "client": "godot"})


func _on_closed(_clean = false):
	_is_welcome = false
	if _url != "":
		_retry_in = RETRY_SECONDS
	emit_signal("closed")


func _on_data():
	var parsed = JSON.parse(_socket.get_peer(1).get_packet().get_string_from_utf8())
	if parsed.error == OK and typeof(parsed.result) == TYPE_DICTIONARY:
		_on_frame(parsed.result)


func _on_frame(frame):
	match frame["type"]:
		"welcome":
			_is_welcome = true
			var waiting = _waiting
			_waiting = []
			for each in waiting:
				_send(each)
			emit_signal("ready_to_talk", frame["agents"])
		"ping":
			_send({"type": "pong"})
		"npc.opened":
			emit_signal("opened", frame["npc"], frame["session"], int(frame["turns"]))
		"delta":
			var said = _said.get(frame["say"], [])
			said.append(frame["text"])
			_said[frame["say"]] = said
			emit_signal("delta", frame["npc"], frame["say"], frame["text"])
		"reset":
			var kept = _said.get(frame["say"], []).slice(0, int(frame["keep"]) - 1) if frame["keep"] > 0 else []
			_said[frame["say"]] = kept
			emit_signal("reset", frame["npc"], frame["say"], PoolStringArray(kept).join(""))
		"action":
			emit_signal("action", frame["npc"], frame["call"], frame["name"], frame["args"])
		"filler":
			emit_signal("filler", frame["npc"], frame["say"], frame.get("text", ""))
		"done":
			var text = frame.get("text", PoolStringArray(_said.get(frame["say"], [])).join(""))
			_said.erase(frame["say"])
			emit_signal("done", frame["npc"], frame["say"], frame["status"], text)
		"session.exported":
			emit_signal("exported", frame["npc"], frame["token"])
		"session.imported":
			emit_signal("imported", frame["npc"], int(frame["turns"]))
		"error":
			emit_signal("failed", frame["code"], frame["message"])
