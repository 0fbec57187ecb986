use proptest::prelude::*;

use super::reply::MAX_DATAGRAM;
use super::*;
use nexus_osc_codec::{Limits, decode};

#[track_caller]
fn read(address: &str, arguments: Vec<Argument>) -> Result<Call, Refusal> {
    match Method::addressed(address) {
        Addressed::Methods(methods) => Call::read(methods[0], &arguments),
        other => panic!("{other:?}"),
    }
}

fn asked(req: Argument) -> Result<String, Refusal> {
    match read("/nexus/1/ask", vec!["s".into(), req, "hi".into()])? {
        Call::Ask(ask) => Ok(ask.req),
        other => panic!("{other:?}"),
    }
}

#[test]
fn numbers_stand_for_names_as_pd_and_supercollider_send_them() {
    assert_eq!(asked(7.0_f32.into()).unwrap(), "7");
    assert_eq!(asked(7.into()).unwrap(), "7");
    assert_eq!(asked(Argument::Long(7)).unwrap(), "7");
    assert_eq!(asked(true.into()).unwrap(), "1");
    assert_eq!(asked("7".into()).unwrap(), "7");
    for wrong in [
        7.5_f32.into(),
        f32::NAN.into(),
        Argument::Nil,
        "".into(),
        Argument::Char('\0'),
        "x".repeat(65).as_str().into(),
    ] {
        assert_eq!(asked(wrong).unwrap_err().code, "bad_request");
    }
}

#[test]
fn ask_takes_keys_in_any_order() {
    let args = ["s", "1", "hi", "conversation", "band", "agent", "drummer"];
    let ask = Ask {
        session: "s".to_owned(),
        req: "1".to_owned(),
        text: "hi".to_owned(),
        agent: Some("drummer".to_owned()),
        conversation: Some("band".to_owned()),
    };
    assert_eq!(read("/nexus/1/ask", args.map(Argument::from).to_vec()), Ok(Call::Ask(ask)));
}

#[test]
fn a_wrong_ask_is_refused_by_its_req() {
    let refused = |args: &[&str]| {
        read("/nexus/1/ask", args.iter().map(|arg| (*arg).into()).collect()).unwrap_err()
    };
    assert_eq!(refused(&["s", "1", "hi", "volume", "11"]).req, "1");
    assert_eq!(refused(&["s", "1", "hi", "agent"]).req, "1");
    assert_eq!(refused(&["s", "1"]).message, "text is missing");
}

#[test]
fn both_forms_of_resend_are_read() {
    let resend = |session: Option<&str>| Call::Resend {
        session: session.map(str::to_owned),
        req: "7".to_owned(),
        from: 2,
        to: 5,
    };
    assert_eq!(
        read("/nexus/1/resend", vec![7.0_f32.into(), 2.0_f32.into(), "5".into()]),
        Ok(resend(None))
    );
    let long = vec!["s".into(), "7".into(), 2.into(), 5.into()];
    assert_eq!(read("/nexus/1/resend", long), Ok(resend(Some("s"))));
    assert!(read("/nexus/1/resend", vec!["7".into(), Argument::Int(-1), 5.into()]).is_err());
}

#[test]
fn hello_hides_its_token_in_logs() {
    let hello =
        read("/nexus/1/hello", vec!["pd".into(), 9001.into(), "nxk_secret".into()]).unwrap();
    assert!(!format!("{hello:?}").contains("secret"));
    assert!(read("/nexus/1/hello", vec!["pd".into(), 65_536.into(), "t".into()]).is_err());
}

#[test]
fn addresses_may_be_patterns() {
    use Method::{Ask, Cancel, Hello, Ping, Resend};
    let methods = |address: &str, methods: &[Method]| {
        assert_eq!(Method::addressed(address), Addressed::Methods(methods.to_vec()), "{address}");
    };
    methods("/nexus/1/ask", &[Ask]);
    methods("/nexus/1/p*", &[Ping]);
    methods("/nexus/1/{ask,ping}", &[Ask, Ping]);
    methods("/nexus/?/*", &[Hello, Ask, Resend, Cancel, Ping]);
    methods("//resend", &[Resend]);
    methods("//[a-c]*", &[Ask, Cancel]);
    for nothing in ["/nexus/2/ask", "/nexus/1/ask/", "/nexus/1/x*", "/nexus/"] {
        assert_eq!(Method::addressed(nothing), Addressed::Nothing, "{nothing}");
    }
    for elsewhere in ["/synth/1", "/*/freq", "//freq", "/a[", "/nexus", "/"] {
        assert_eq!(Method::addressed(elsewhere), Addressed::Elsewhere, "{elsewhere}");
    }
    assert!(matches!(Method::addressed("/nexus/1/[a"), Addressed::Malformed(_)));
}

proptest! {
    #[test]
    fn a_full_token_fits_a_datagram(req in "[a-zA-Z0-9é]{1,32}", seq in any::<i32>(), text in "[^\0]{0,1200}") {
        let capacity = token_capacity(&req);
        let text = &text[..text.floor_char_boundary(capacity)];
        for kind in [Kind::Text, Kind::Reset, Kind::Error] {
            let seq = usize::try_from(seq).unwrap_or_default();
            let bytes = Reply::Token { req: &req, seq, kind, text }.encode();
            prop_assert!(bytes.len() <= MAX_DATAGRAM);
            prop_assert!(decode(&bytes, &Limits::default()).is_ok());
        }
        let full = Reply::Token { req: &req, seq: 0, kind: Kind::Text, text: &"x".repeat(capacity) }.encode();
        prop_assert_eq!(full.len(), MAX_DATAGRAM);
    }
}
