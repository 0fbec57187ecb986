//! The committed vectors, and what rosc, python-osc and liblo make of them.
//!
//! `vectors/python_osc.json` and `liblo.json` are what those programs sent, `rosc.json` what rosc
//! wrote, `specification.json` the specification's examples, `edges.json` and `malformed.json`
//! are written by hand, and `peers.json` is what python-osc and liblo said to those.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "the lints' own exception leaves out helpers of tests"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use nexus_osc_codec::{
    Argument, DecodeError, Limits, Message, TimeTag, Timed, decode, encode_message,
};
use rosc::{OscArray, OscColor, OscMessage, OscMidiMessage, OscPacket, OscTime, OscType};
use serde_json::{Value, json};

const WELL_FORMED: [&str; 5] = ["specification", "python_osc", "liblo", "rosc", "edges"];

/// What rosc 0.11.4 reads otherwise, with the reason.
const ROSC_DIFFERS: [(&str, &str); 6] = [
    ("a symbol", "S is not supported"),
    ("an empty symbol", "S is not supported"),
    ("no type tags and no arguments", "type tags are asked for"),
    ("a message without type tags in a bundle", "type tags are asked for"),
    ("a string in Latin-1", "texts have to be UTF-8"),
    ("an address in Latin-1", "texts have to be UTF-8"),
];

struct Vector {
    name: String,
    bytes: Vec<u8>,
    expected: Result<Vec<Timed>, String>,
}

fn file(name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    serde_json::from_slice(&fs::read(folder.join(format!("{name}.json"))).unwrap()).unwrap()
}

fn vectors(name: &str) -> Vec<Vector> {
    file(name)["vectors"].as_array().unwrap().iter().map(vector).collect()
}

fn vector(value: &Value) -> Vector {
    let expected = match value.get("error") {
        Some(error) => Err(error.as_str().unwrap().to_owned()),
        None => Ok(value["messages"].as_array().unwrap().iter().map(timed).collect()),
    };
    Vector { name: string(&value["name"]), bytes: unhex(&value["hex"]), expected }
}

fn string(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn unhex(value: &Value) -> Vec<u8> {
    let digits = value.as_str().unwrap().as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn tag(value: &Value) -> TimeTag {
    TimeTag(u64::from_str_radix(value.as_str().unwrap(), 16).unwrap())
}

fn timed(value: &Value) -> Timed {
    let arguments = value["arguments"].as_array().unwrap().iter().map(argument).collect();
    Timed {
        due: tag(&value["due"]),
        message: Message { address: string(&value["address"]), arguments },
    }
}

fn argument(value: &Value) -> Argument {
    let said = &value[1];
    let float = || said.as_f64().unwrap_or_else(|| said.as_str().unwrap().parse().unwrap());
    match value[0].as_str().unwrap() {
        "i" => Argument::Int(said.as_i64().unwrap() as i32),
        "h" => Argument::Long(said.as_str().unwrap().parse().unwrap()),
        "f" => Argument::Float(float() as f32),
        "d" => Argument::Double(float()),
        "s" => Argument::String(string(said)),
        "S" => Argument::Symbol(string(said)),
        "b" => Argument::Blob(unhex(said)),
        "t" => Argument::TimeTag(tag(said)),
        "c" => Argument::Char(said.as_str().unwrap().chars().next().unwrap()),
        "r" => Argument::Color(unhex(said).try_into().unwrap()),
        "m" => Argument::Midi(unhex(said).try_into().unwrap()),
        "T" => Argument::True,
        "F" => Argument::False,
        "N" => Argument::Nil,
        "I" => Argument::Impulse,
        "[" => Argument::Array(said.as_array().unwrap().iter().map(argument).collect()),
        other => panic!("unknown kind {other}"),
    }
}

/// NaN equals nothing, so values are compared as they print.
fn same(found: &[Timed], expected: &[Timed]) -> bool {
    format!("{found:?}") == format!("{expected:?}")
}

#[test]
fn every_vector_is_read_as_it_says() {
    let mut count = 0;
    for name in WELL_FORMED.iter().chain(&["malformed"]) {
        for vector in vectors(name) {
            let found = decode(&vector.bytes, &Limits::default());
            match (&found, &vector.expected) {
                (Ok(found), Ok(expected)) if same(found, expected) => {}
                (Err(found), Err(expected)) if format!("{found:?}") == *expected => {}
                _ => panic!("{name}: {}: {found:?} instead of {:?}", vector.name, vector.expected),
            }
            count += 1;
        }
    }
    assert!(count >= 120, "{count} vectors");
}

#[test]
fn what_others_wrote_is_written_to_the_same_bytes() {
    for name in ["specification", "python_osc", "liblo", "rosc"] {
        for vector in vectors(name) {
            // Bundles within bundles are flattened, so they are not written back.
            let Ok([only]) = <[Timed; 1]>::try_from(vector.expected.unwrap()) else { continue };
            if only.due == TimeTag::IMMEDIATE {
                let written = encode_message(&only.message).unwrap();
                assert_eq!(hex(&written), hex(&vector.bytes), "{name}: {}", vector.name);
            }
        }
    }
}

#[test]
fn rosc_reads_the_same() {
    let differs: BTreeMap<_, _> = ROSC_DIFFERS.into_iter().collect();
    let (mut compared, mut wrong) = (0, Vec::new());
    for name in WELL_FORMED {
        for vector in vectors(name) {
            // Too deep for it: see the crate's documentation.
            if vector.bytes.windows(8).filter(|bytes| bytes == b"#bundle\0").count() > 64 {
                continue;
            }
            let found = rosc::decoder::decode_udp(&vector.bytes).ok().map(|(_, packet)| {
                let mut found = Vec::new();
                flatten(packet, TimeTag::IMMEDIATE, &mut found);
                found
            });
            let agrees =
                found.as_ref().is_some_and(|found| same(found, vector.expected.as_ref().unwrap()));
            if agrees == differs.contains_key(vector.name.as_str()) {
                wrong.push(format!("{}: {agrees} {found:?}", vector.name));
            }
            compared += 1;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(compared > 80, "{compared} compared");
}

fn flatten(packet: OscPacket, due: TimeTag, into: &mut Vec<Timed>) {
    match packet {
        OscPacket::Message(OscMessage { addr, args }) => {
            let arguments = args.into_iter().map(from_rosc).collect();
            into.push(Timed { due, message: Message { address: addr, arguments } });
        }
        OscPacket::Bundle(bundle) => {
            let due = from_rosc_time(bundle.timetag);
            bundle.content.into_iter().for_each(|packet| flatten(packet, due, into));
        }
    }
}

fn from_rosc_time(time: OscTime) -> TimeTag {
    TimeTag(u64::from(time.seconds) << 32 | u64::from(time.fractional))
}

fn from_rosc(argument: OscType) -> Argument {
    match argument {
        OscType::Int(int) => Argument::Int(int),
        OscType::Long(long) => Argument::Long(long),
        OscType::Float(float) => Argument::Float(float),
        OscType::Double(double) => Argument::Double(double),
        OscType::String(text) => Argument::String(text),
        OscType::Blob(blob) => Argument::Blob(blob),
        OscType::Time(time) => Argument::TimeTag(from_rosc_time(time)),
        OscType::Char(char) => Argument::Char(char),
        OscType::Color(OscColor { red, green, blue, alpha }) => {
            Argument::Color([red, green, blue, alpha])
        }
        OscType::Midi(OscMidiMessage { port, status, data1, data2 }) => {
            Argument::Midi([port, status, data1, data2])
        }
        OscType::Bool(bool) => bool.into(),
        OscType::Nil => Argument::Nil,
        OscType::Inf => Argument::Impulse,
        OscType::Array(OscArray { content }) => {
            Argument::Array(content.into_iter().map(from_rosc).collect())
        }
    }
}

/// At least one of them reads what we accept, and none reads what we refuse.
#[test]
fn peers_were_asked_about_every_vector_written_by_hand() {
    let peers = file("peers");
    for (kind, names) in
        [("well_formed", &["specification", "edges"][..]), ("malformed", &["malformed"])]
    {
        let said = peers[kind].as_object().unwrap();
        let all: Vec<Vector> = names.iter().flat_map(|name| vectors(name)).collect();
        assert_eq!(said.len(), all.len(), "vectors/generate.py has to run again");
        for vector in all {
            let verdicts = said.get(&vector.name).unwrap().as_object().unwrap();
            let one_reads = verdicts.values().any(|verdict| verdict == "reads");
            // Only ours reads Latin-1 in addresses.
            let expected = vector.expected.is_ok() && vector.name != "an address in Latin-1";
            assert_eq!(one_reads, expected, "{}: {verdicts:?}", vector.name);
        }
    }
}

#[test]
fn bundles_too_deep_for_roscs_stack_are_refused() {
    let mut deep = Vec::new();
    for left in (0..3_276_u32).rev() {
        deep.extend(b"#bundle\0\0\0\0\0\0\0\0\x01");
        deep.extend((left * 20).to_be_bytes());
    }
    assert_eq!(decode(&deep, &Limits::default()), Err(DecodeError::Depth(16)));
    let unlimited = Limits { depth: usize::MAX, arguments: usize::MAX, messages: usize::MAX };
    assert_eq!(decode(&deep, &unlimited), Err(DecodeError::Depth(128)));
}

#[test]
#[ignore = "writes vectors/rosc.json anew"]
fn write_the_vectors_of_rosc() {
    let color = OscColor { red: 1, green: 2, blue: 3, alpha: 4 };
    let midi = OscMidiMessage { port: 0, status: 0x90, data1: 60, data2: 100 };
    let time = OscTime { seconds: 0xd000_0000, fractional: 0x4000_0000 };
    let array = |content| OscType::Array(OscArray { content });
    let cases: [(&str, Vec<OscType>, Value); 12] = [
        (
            "ints of both sizes",
            vec![OscType::Int(-1), OscType::Long(-1)],
            json!([["i", -1], ["h", "-1"]]),
        ),
        (
            "floats of both sizes",
            vec![OscType::Float(0.5), OscType::Double(0.1)],
            json!([["f", 0.5], ["d", 0.1]]),
        ),
        ("a string", vec!["Kadenz".into()], json!([["s", "Kadenz"]])),
        ("an empty string", vec!["".into(), 1.into()], json!([["s", ""], ["i", 1]])),
        ("a blob", vec![OscType::Blob(vec![1, 2, 3, 4, 5])], json!([["b", "0102030405"]])),
        ("an empty blob", vec![OscType::Blob(Vec::new()), 1.into()], json!([["b", ""], ["i", 1]])),
        ("a time", vec![OscType::Time(time)], json!([["t", "d000000040000000"]])),
        ("a character", vec![OscType::Char('é')], json!([["c", "é"]])),
        (
            "a colour and MIDI",
            vec![OscType::Color(color), OscType::Midi(midi)],
            json!([["r", "01020304"], ["m", "00903c64"]]),
        ),
        (
            "values without bytes",
            vec![true.into(), false.into(), OscType::Nil, OscType::Inf],
            json!([["T"], ["F"], ["N"], ["I"]]),
        ),
        (
            "arrays",
            vec![array(vec![1.into(), array(vec!["x".into()])]), array(Vec::new())],
            json!([["[", [["i", 1], ["[", [["s", "x"]]]]], ["[", []]]),
        ),
        ("no argument", Vec::new(), json!([])),
    ];
    let written = cases.map(|(name, args, said)| {
        let message = OscPacket::Message(OscMessage { addr: "/rosc".to_owned(), args });
        let bytes = rosc::encoder::encode(&message).unwrap();
        let messages =
            json!([{ "due": "0000000000000001", "address": "/rosc", "arguments": said }]);
        json!({ "name": format!("rosc: {name}"), "hex": hex(&bytes), "messages": messages })
            .to_string()
    });
    let text = format!(
        "{{\n \"from\": \"rosc 0.11.4\",\n \"vectors\": [\n  {}\n ]\n}}\n",
        written.join(",\n  ")
    );
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    fs::write(folder.join("rosc.json"), text).unwrap();
}
