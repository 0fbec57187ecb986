// Dialogue with Nexus characters, for Unity 2021.3 and later. Not compiled in Nexus's own tests.
//
//     nexus = gameObject.AddComponent<NexusNpc>();
//     nexus.Connected += () => nexus.Open("smith", "You are Ada, a smith.", "[{\"name\":\"wave\"}]", session);
//     nexus.Opened += (npc, session) => nexus.Say(npc, "Good day!");
//     nexus.Delta += (npc, say, text) => bubble.text += text;
//     nexus.Connect("ws://127.0.0.1:8080/v1/ws", key);
//
// The socket lives on its own task; events are raised in Update, on the main thread. The protocol:
// crates/gateway/src/socket/npc.rs. Frames are flat, so JsonUtility reads them; the arguments of
// an action are handed on as JSON, for the type that belongs to the action.
using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.IO;
using System.Net.WebSockets;
using System.Text;
using System.Threading;
using System.Threading.Tasks;
using UnityEngine;

public sealed class NexusNpc : MonoBehaviour
{
    const int RetryMs = 2000, BufferBytes = 16 * 1024; // the longest frame of the server

    public event Action Connected;                               // also when it comes back: open again
    public event Action<string, string> Opened;                  // npc, session
    public event Action<string, string, string> Delta;           // npc, say, text
    public event Action<string, string, string> Reset;           // npc, say, text so far
    public event Action<string, string, string, string> Act;     // npc, call, name, arguments as JSON
    public event Action<string, string, string> Filler;          // npc, say, text
    public event Action<string, string, string, string> Done;    // npc, say, status, text
    public event Action<string, string> Exported;                // npc, token
    public event Action<string, int> Imported;                   // npc, turns
    public event Action<string, string> Failed;                  // code, message

    [Serializable]
    class Frame
    {
        public string type = "", npc = "", say = "", text = "", call = "", name = "";
        public string status = "", token = "", code = "", message = "", session = "";
        public int seq = 0, keep = 0, total = 0, turns = 0;
    }

    readonly ConcurrentQueue<string> received = new ConcurrentQueue<string>();
    readonly ConcurrentQueue<string> waiting = new ConcurrentQueue<string>();
    readonly SemaphoreSlim toSend = new SemaphoreSlim(0);
    readonly Dictionary<string, List<string>> said = new Dictionary<string, List<string>>();
    readonly Dictionary<string, int> revs = new Dictionary<string, int>();
    CancellationTokenSource stop;

    public void Connect(string url, string key)
    {
        stop = new CancellationTokenSource();
        var token = stop.Token;
        Task.Run(() => Run(new Uri(url), key, token));
    }

    // `session` goes on with an earlier talk; `actionsJson` is an array of {name, description, args, wait}.
    public void Open(string npc, string persona, string actionsJson = "[]", string session = null) =>
        Send($"{{\"type\":\"npc.open\",\"npc\":{Text(npc)},\"persona\":{Text(persona)},\"actions\":{actionsJson}"
            + (session == null ? "}" : $",\"session\":{Text(session)}}}"));

    // May be called every frame: the newest revision wins.
    public void SetState(string npc, string setJson)
    {
        revs.TryGetValue(npc, out var rev);
        revs[npc] = rev + 1;
        Send($"{{\"type\":\"state\",\"npc\":{Text(npc)},\"rev\":{rev + 1},\"set\":{setJson}}}");
    }

    // The same id is the same line: after a broken connection, say it again.
    public void Say(string npc, string text, string id = null) =>
        Send($"{{\"type\":\"say\",\"npc\":{Text(npc)},\"text\":{Text(text)}" + (id == null ? "}" : $",\"id\":{Text(id)}}}"));

    public void Interrupt(string npc) => Send($"{{\"type\":\"interrupt\",\"npc\":{Text(npc)}}}");

    // What came of an action; within 2 s.
    public void FinishAction(string npc, string call, string output = "done", bool ok = true) =>
        Send($"{{\"type\":\"action.result\",\"npc\":{Text(npc)},\"call\":{Text(call)},\"ok\":{(ok ? "true" : "false")},\"output\":{Text(output)}}}");

    public void Export(string npc) => Send($"{{\"type\":\"session.export\",\"npc\":{Text(npc)}}}");

    public void Import(string npc, string token)
    {
        revs[npc] = 0;
        Send($"{{\"type\":\"session.import\",\"npc\":{Text(npc)},\"token\":{Text(token)}}}");
    }

    void OnDestroy() => stop?.Cancel();

    void Update() { while (received.TryDequeue(out var json)) Handle(JsonUtility.FromJson<Frame>(json), json); }

    void Handle(Frame frame, string json)
    {
        switch (frame.type)
        {
            case "ping": Send("{\"type\":\"pong\"}"); break;
            case "welcome": Connected?.Invoke(); break;
            case "npc.opened": Opened?.Invoke(frame.npc, frame.session); break;
            case "delta":
                if (!said.TryGetValue(frame.say, out var parts)) said[frame.say] = parts = new List<string>();
                parts.Add(frame.text);
                Delta?.Invoke(frame.npc, frame.say, frame.text);
                break;
            case "reset":
                if (said.TryGetValue(frame.say, out var kept)) kept.RemoveRange(frame.keep, kept.Count - frame.keep);
                Reset?.Invoke(frame.npc, frame.say, kept == null ? "" : string.Concat(kept));
                break;
            case "action": Act?.Invoke(frame.npc, frame.call, frame.name, ArgumentsOf(json)); break;
            case "filler": Filler?.Invoke(frame.npc, frame.say, frame.text); break;
            case "done":
                said.TryGetValue(frame.say, out var all);
                said.Remove(frame.say);
                Done?.Invoke(frame.npc, frame.say, frame.status, frame.text != "" || all == null ? frame.text : string.Concat(all));
                break;
            case "session.exported": Exported?.Invoke(frame.npc, frame.token); break;
            case "session.imported": Imported?.Invoke(frame.npc, frame.turns); break;
            case "error": Failed?.Invoke(frame.code, frame.message); break;
        }
    }

    // The last field of an action frame is its arguments, an object.
    static string ArgumentsOf(string json)
    {
        const string field = "\"args\":";
        var at = json.IndexOf(field, StringComparison.Ordinal) + field.Length;
        return json.Substring(at, json.Length - 1 - at);
    }

    void Send(string frame)
    {
        waiting.Enqueue(frame);
        toSend.Release();
    }

    async Task Run(Uri url, string key, CancellationToken cancel)
    {
        while (!cancel.IsCancellationRequested)
        {
            using (var socket = new ClientWebSocket())
            using (var broken = CancellationTokenSource.CreateLinkedTokenSource(cancel))
            {
                try
                {
                    while (waiting.TryDequeue(out _) && toSend.Wait(0)) { } // of the broken connection
                    await socket.ConnectAsync(url, broken.Token);
                    await Write(socket, $"{{\"type\":\"hello\",\"protocol\":\"npc\",\"key\":{Text(key)},\"client\":\"unity\"}}", broken.Token);
                    var writer = WriteAll(socket, broken.Token);
                    await ReadAll(socket, broken.Token);
                    broken.Cancel();
                    await writer;
                }
                catch (Exception error) when (error is WebSocketException || error is OperationCanceledException || error is IOException) { }
                broken.Cancel();
            }
            if (!cancel.IsCancellationRequested) await Task.Delay(RetryMs);
        }
    }

    async Task ReadAll(ClientWebSocket socket, CancellationToken cancel)
    {
        var buffer = new byte[BufferBytes];
        var frame = new MemoryStream();
        while (true)
        {
            var part = await socket.ReceiveAsync(new ArraySegment<byte>(buffer), cancel);
            if (part.MessageType == WebSocketMessageType.Close) return;
            frame.Write(buffer, 0, part.Count);
            if (!part.EndOfMessage) continue;
            received.Enqueue(Encoding.UTF8.GetString(frame.ToArray()));
            frame.SetLength(0);
        }
    }

    async Task WriteAll(ClientWebSocket socket, CancellationToken cancel)
    {
        while (true)
        {
            await toSend.WaitAsync(cancel);
            if (waiting.TryDequeue(out var frame)) await Write(socket, frame, cancel);
        }
    }

    static Task Write(ClientWebSocket socket, string frame, CancellationToken cancel) =>
        socket.SendAsync(new ArraySegment<byte>(Encoding.UTF8.GetBytes(frame)), WebSocketMessageType.Text, true, cancel);

    // A JSON string; JsonUtility writes no bare ones.
    static string Text(string text)
    {
        var json = new StringBuilder("\"");
        foreach (var c in text)
        {
            if (c == '"' || c == '\\') json.Append('\\').Append(c);
            else if (c < ' ') json.Append("\\u").Append(((int)c).ToString("x4"));
            else json.Append(c);
        }
        return json.Append('"').ToString();
    }
}
