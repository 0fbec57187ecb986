# A talk with a smith, without a window; prints one line per event and ends.
#
#     NEXUS_KEY=$(cat data/local.key) godot3-server --path examples/games/godot -s demo.gd
#
# NEXUS_URL (default ws://127.0.0.1:8080/v1/ws) and NEXUS_SAY (what the player says) may be set.
extends SceneTree

const Client = preload("res://npc_client.gd")
const LIMIT_SECONDS = 60.0

var _nexus = null
var _seconds = 0.0
var _token = ""


func _initialize():
	_nexus = Client.new()
	get_root().add_child(_nexus)
	for event in ["opened", "delta", "action", "done", "exported", "imported", "failed"]:
		_nexus.connect(event, self, "_on_" + event)
	var url = OS.get_environment("NEXUS_URL")
	_nexus.start(url if url != "" else "ws://127.0.0.1:8080/v1/ws", OS.get_environment("NEXUS_KEY"))
	_nexus.open_npc("smith", {
		"persona": "You are Ada, the village's smith. You speak in short sentences.",
		"actions": [{
			"name": "open_door",
			"description": "Opens a door of the smithy.",
			"args": {
				"type": "object",
				"properties": {"door": {"type": "integer", "minimum": 0}},
				"required": ["door"],
			},
		}],
	})
	for tick in range(3):
		_nexus.set_state("smith", {"tick": tick, "player": {"gold": 7}})


func _idle(seconds):
	_seconds += seconds
	if _seconds > LIMIT_SECONDS:
		print("too slow")
		return true
	return false


func _on_opened(npc, _session, turns):
	print("opened ", npc, " ", turns)
	var line = OS.get_environment("NEXUS_SAY")
	_nexus.say(npc, line if line != "" else "Good day! Who are you?", 1)


func _on_delta(_npc, _say, text):
	print("delta ", text)


func _on_action(npc, call, name, args):
	print("action ", name, " ", JSON.print(args))
	_nexus.finish_action(npc, call, "the door is open")


func _on_done(npc, say, status, text):
	print("done ", say, " ", status, " ", text)
	_nexus.export_session(npc)


func _on_exported(npc, token):
	print("exported ", token.length() > 0)
	_nexus.import_session(npc, token)


func _on_imported(npc, turns):
	print("imported ", npc, " ", turns)
	quit()


func _on_failed(code, message):
	print("failed ", code, " ", message)
	quit(1)
