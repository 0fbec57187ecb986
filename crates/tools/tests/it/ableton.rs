//! A stand-in for Ableton Live with AbletonOSC, as strict as its README and code.
//!
//! Answers go to one port of the host that asked, begin with the ids, and repeat the address; setters
//! answer nothing; what goes wrong is said at `/live/error`; listeners hear each change, and the value
//! once when they subscribe. Addresses that AbletonOSC does not have are kept as strays.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use nexus_osc_codec::{Argument, Limits, Message, Pattern, coerce, decode, encode_message};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// An object's property: its kind, ids and name.
type Place = (&'static str, Vec<i32>, String);

#[derive(Debug, Default)]
struct Set {
    values: BTreeMap<Place, Vec<Argument>>,
    listening: BTreeSet<Place>,
    /// Methods that were called, with their ids.
    called: Vec<(String, Vec<i32>)>,
    strays: Vec<String>,
    /// Subscriptions, renewed ones too.
    subscriptions: usize,
}

#[derive(Debug)]
pub(crate) struct Live {
    set: Arc<Mutex<Set>>,
    pub(crate) address: SocketAddr,
    reply: SocketAddr,
    speaking: UdpSocket,
    task: JoinHandle<()>,
}

/// Kinds of objects with the number of their ids.
const KINDS: [(&str, usize); 5] =
    [("application", 0), ("song", 0), ("track", 1), ("clip", 2), ("device", 2)];
const METHODS: [(&str, usize); 9] = [
    ("/live/song/start_playing", 0),
    ("/live/song/stop_playing", 0),
    ("/live/song/continue_playing", 0),
    ("/live/song/stop_all_clips", 0),
    ("/live/song/undo", 0),
    ("/live/track/stop_all_clips", 1),
    ("/live/clip/fire", 2),
    ("/live/clip/stop", 2),
    ("/live/scene/fire", 1),
];

fn texts(texts: &[&str]) -> Vec<Argument> {
    texts.iter().map(|text| Argument::from(*text)).collect()
}

impl Set {
    fn new() -> Self {
        let mut set = Self::default();
        let mut put = |kind, ids: &[i32], name: &str, value: Vec<Argument>| {
            set.values.insert((kind, ids.to_vec(), name.to_owned()), value);
        };
        put("application", &[], "version", vec![12.into(), 1.into()]);
        put("song", &[], "tempo", vec![120.0.into()]);
        put("song", &[], "is_playing", vec![false.into()]);
        put("song", &[], "metronome", vec![false.into()]);
        put("song", &[], "num_tracks", vec![2.into()]);
        put("song", &[], "track_names", texts(&["Drums", "Bass"]));
        for (track, name) in [(0, "Drums"), (1, "Bass")] {
            put("track", &[track], "name", texts(&[name]));
            put("track", &[track], "volume", vec![0.85.into()]);
            put("track", &[track], "panning", vec![0.0.into()]);
            put("track", &[track, 0], "send", vec![0.0.into()]);
            for switch in ["mute", "solo", "arm"] {
                put("track", &[track], switch, vec![false.into()]);
            }
            put("clip", &[track, 0], "name", texts(&["Intro"]));
            put("clip", &[track, 0], "length", vec![4.0.into()]);
            put("device", &[track, 0], "parameters/name", texts(&["Device On", "Cutoff"]));
            put("device", &[track, 0, 1], "parameter/value", vec![64.0.into()]);
        }
        set
    }

    /// What is said in answer to a message, and to listeners.
    fn take(&mut self, message: &Message) -> Vec<Message> {
        let pattern = Pattern::compile(&message.address).unwrap();
        if !pattern.is_literal() {
            let names: Vec<String> = self.values.keys().map(address("get")).collect();
            let fitting: BTreeSet<&String> =
                names.iter().filter(|name| pattern.matches(name)).collect();
            let arguments = message.arguments.clone();
            let each = fitting.into_iter().map(|name| Message::new(name, arguments.clone()));
            return each.flat_map(|message| self.take_one(&message)).collect();
        }
        self.take_one(message)
    }

    fn take_one(&mut self, message: &Message) -> Vec<Message> {
        let said = self.obey(message);
        said.unwrap_or_else(|text| vec![Message::new("/live/error", vec![text.as_str().into()])])
    }

    fn obey(&mut self, message: &Message) -> Result<Vec<Message>, String> {
        let ids: Vec<i32> = message.arguments.iter().map_while(whole).collect();
        if let Some((_, count)) = METHODS.iter().find(|(name, _)| *name == message.address) {
            if (ids.len(), message.arguments.len()) != (*count, *count) {
                return Err(format!("{} takes {count} ids", message.address));
            }
            self.called.push((message.address.clone(), ids));
            return Ok(Vec::new());
        }
        let mut parts = message.address.trim_start_matches("/live/").splitn(3, '/');
        let (kind, verb, name) = (parts.next(), parts.next(), parts.next());
        let kind = KINDS.iter().find(|(known, _)| Some(*known) == kind);
        let (Some((kind, ids)), Some(verb), Some(name)) = (kind, verb, name) else {
            self.strays.push(message.address.clone());
            return Ok(Vec::new());
        };
        let ids = ids + usize::from(["send", "parameter/value"].contains(&name));
        let named: Option<Vec<i32>> = message.arguments.iter().take(ids).map(whole).collect();
        let named = named.filter(|named| named.len() == ids).ok_or("Invalid ids")?;
        let place = (*kind, named, name.to_owned());
        let rest = message.arguments.get(ids..).unwrap_or_default();
        let known = self.values.get(&place).cloned().ok_or("Index out of range")?;
        match verb {
            "get" if rest.is_empty() => Ok(vec![told(&place, &known)]),
            "set" => {
                let [value] = rest else { return Err("one value is needed".to_owned()) };
                self.values.insert(place.clone(), vec![fitting(&known, value)?]);
                Ok(self.heard(&place))
            }
            "start_listen" if rest.is_empty() => {
                self.subscriptions += 1;
                self.listening.insert(place.clone());
                Ok(vec![told(&place, &known)])
            }
            _ => Err(format!("{} {rest:?}", message.address)),
        }
    }

    fn heard(&self, place: &Place) -> Vec<Message> {
        let listened = self.listening.get(place).and_then(|place| self.values.get(place));
        listened.map(|value| told(place, value)).into_iter().collect()
    }
}

/// The value in the type that Live keeps it in.
fn fitting(known: &[Argument], value: &Argument) -> Result<Argument, String> {
    match (known, value) {
        ([Argument::Float(_)], Argument::Float(_) | Argument::Int(_)) => {
            Ok(Argument::Float(coerce::float(value).unwrap() as f32))
        }
        (
            [Argument::True | Argument::False],
            Argument::Int(0 | 1) | Argument::True | Argument::False,
        ) => Ok(coerce::boolean(value).unwrap().into()),
        ([Argument::String(_)], Argument::String(_)) => Ok(value.clone()),
        _ => Err(format!("Python argument types did not match C++ signature: {value:?}")),
    }
}

fn whole(argument: &Argument) -> Option<i32> {
    match argument {
        Argument::Int(int) => Some(*int),
        _ => None,
    }
}

fn address(verb: &'static str) -> impl Fn(&Place) -> String {
    move |(kind, _, name)| format!("/live/{kind}/{verb}/{name}")
}

fn told(place: &Place, value: &[Argument]) -> Message {
    let ids = place.1.iter().map(|id| Argument::Int(*id));
    Message::new(address("get")(place), ids.chain(value.iter().cloned()).collect())
}

impl Live {
    /// Starts it; it answers to this port.
    pub(crate) async fn start(reply_port: u16) -> Self {
        Self::start_on(([127, 0, 0, 1], 0).into(), reply_port).await
    }

    pub(crate) async fn start_on(address: SocketAddr, reply_port: u16) -> Self {
        let socket = UdpSocket::bind(address).await.unwrap();
        let address = socket.local_addr().unwrap();
        let set = Arc::new(Mutex::new(Set::new()));
        let reply = SocketAddr::new(address.ip(), reply_port);
        let task = tokio::spawn(serve(socket, Arc::clone(&set), reply_port));
        let speaking = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        Self { set, address, reply, speaking, task }
    }

    /// Somebody moves a fader on the screen.
    pub(crate) async fn moved(&self, ids: &[i32], kind: &'static str, name: &str, value: Argument) {
        let said = {
            let mut set = self.set.lock().unwrap();
            let place = (kind, ids.to_vec(), name.to_owned());
            set.values.insert(place.clone(), vec![value]);
            set.heard(&place)
        };
        for message in said {
            self.speaking.send_to(&encode_message(&message).unwrap(), self.reply).await.unwrap();
        }
    }

    /// The methods that were called since the last look.
    pub(crate) fn called(&self) -> Vec<(String, Vec<i32>)> {
        std::mem::take(&mut self.set.lock().unwrap().called)
    }

    pub(crate) fn strays(&self) -> Vec<String> {
        self.set.lock().unwrap().strays.clone()
    }

    pub(crate) fn subscriptions(&self) -> usize {
        self.set.lock().unwrap().subscriptions
    }

    pub(crate) async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

async fn serve(socket: UdpSocket, set: Arc<Mutex<Set>>, reply_port: u16) {
    let mut buffer = vec![0; 65_536];
    loop {
        let (size, source) = socket.recv_from(&mut buffer).await.unwrap();
        let messages = decode(&buffer[..size], &Limits::default()).unwrap();
        for timed in messages {
            let said = set.lock().unwrap().take(&timed.message);
            for message in said {
                let to = SocketAddr::new(source.ip(), reply_port);
                socket.send_to(&encode_message(&message).unwrap(), to).await.unwrap();
            }
        }
    }
}
