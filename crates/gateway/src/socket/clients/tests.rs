use nexus_contracts::LOCAL_TENANT;
use serde_json::json;

use super::*;
use crate::socket::device;
use crate::socket::offer::Numbers;

fn who(user: &str) -> Principal {
    Principal { tenant: LOCAL_TENANT, user: user.to_owned(), key: Uuid::nil() }
}

fn offer() -> Arc<Offer> {
    let declared = serde_json::from_value(json!([{ "name": "ring" }])).unwrap();
    Arc::new(Offer::new(declared, device::PATIENCE, Numbers::Any).unwrap())
}

fn call(number: u128) -> Call {
    Call {
        conversation: "c".to_owned(),
        run: Uuid::from_u128(9),
        call: Uuid::from_u128(number),
        tool: "ring".to_owned(),
        arguments: json!({}),
        timeout_ms: 30_000,
        device: Some("phone".to_owned()),
    }
}

struct Connection {
    session: Uuid,
    happenings: mpsc::UnboundedReceiver<Happening>,
}

impl Connection {
    fn open(clients: &Clients, session: u128) -> Self {
        let (sender, happenings) = mpsc::unbounded_channel();
        let session = Uuid::from_u128(session);
        clients.connect(session, sender);
        Self { session, happenings }
    }

    fn calls(&mut self) -> Vec<Call> {
        std::iter::from_fn(|| self.happenings.try_recv().ok())
            .map(|what| match what {
                Happening::Call(call) => call,
                other => panic!("{other:?}"),
            })
            .collect()
    }
}

fn devices(clients: &Clients, user: &str) -> Vec<String> {
    clients.devices(&who(user)).into_iter().map(|(client, _)| client.name()).collect()
}

fn room(user: &str) -> Room {
    Room::of(&who(user), "c").unwrap()
}

#[test]
fn two_devices_of_one_user_are_tracked_and_those_of_others_are_not_offered() {
    let clients = Clients::default();
    let phone = Connection::open(&clients, 1);
    let desk = Connection::open(&clients, 2);
    clients.attach(&who("ann"), desk.session, "desk".to_owned(), offer());
    clients.attach(&who("ann"), phone.session, "phone".to_owned(), offer());
    assert_eq!(devices(&clients, "ann"), ["device:desk", "device:phone"]);
    assert_eq!(devices(&clients, "ben"), Vec::<String>::new());
    assert_eq!(clients.disconnect(desk.session), []);
    assert_eq!(devices(&clients, "ann"), ["device:phone"]);
}

#[test]
fn a_device_that_comes_back_gets_its_open_calls_again_and_may_answer_them() {
    let clients = Clients::default();
    let (ann, phone) = (who("ann"), Client::Device("phone".to_owned()));
    let mut first = Connection::open(&clients, 1);
    clients.attach(&ann, first.session, "phone".to_owned(), offer());
    assert_eq!(clients.deliver(&ann, &phone, &room("ann"), call(5)), Delivery::Sent);
    assert_eq!(clients.deliver(&ann, &phone, &room("ann"), call(5)), Delivery::Sent);
    assert_eq!(first.calls(), [call(5)], "once, however often it is brought");
    assert_eq!(clients.disconnect(first.session), []);
    assert_eq!(clients.deliver(&ann, &phone, &room("ann"), call(6)), Delivery::Waits);

    let mut second = Connection::open(&clients, 2);
    clients.attach(&ann, second.session, "phone".to_owned(), offer());
    let mut again = second.calls();
    again.sort_by_key(|call| call.call);
    assert_eq!(again, [call(5), call(6)]);
    assert_eq!(clients.answered(&ann, first.session, call(5).call), None, "the old connection");
    let mut stranger = Connection::open(&clients, 3);
    clients.attach(&who("ben"), stranger.session, "phone".to_owned(), offer());
    assert_eq!(stranger.calls(), []);
    assert_eq!(clients.answered(&who("ben"), stranger.session, call(5).call), None, "a stranger");
    let ours = ClientCall { run: call(5).run, call: call(5).call, tool: "ring".to_owned() };
    assert_eq!(clients.answered(&ann, second.session, call(5).call), Some((room("ann"), ours)));
    assert_eq!(clients.answered(&ann, second.session, call(5).call), None, "a second time");
    assert!(clients.close(call(6).call));
    assert_eq!(clients.answered(&ann, second.session, call(6).call), None, "too late");
}

#[test]
fn the_calls_of_a_connection_are_lost_with_it() {
    let clients = Clients::default();
    let (ann, game) = (who("ann"), Connection::open(&clients, 1));
    let client = Client::Connection(game.session);
    assert_eq!(clients.deliver(&ann, &client, &room("ann"), call(5)), Delivery::Sent);
    let ours = ClientCall { run: call(5).run, call: call(5).call, tool: "ring".to_owned() };
    assert_eq!(clients.disconnect(game.session), [(room("ann"), ours)]);
    assert_eq!(clients.deliver(&ann, &client, &room("ann"), call(6)), Delivery::Gone);
}

#[test]
fn nothing_is_kept_of_a_device_that_is_away_and_not_called() {
    let clients = Clients::default();
    let (ann, phone) = (who("ann"), Client::Device("phone".to_owned()));
    let first = Connection::open(&clients, 1);
    clients.attach(&ann, first.session, "phone".to_owned(), offer());
    clients.deliver(&ann, &phone, &room("ann"), call(5));
    clients.disconnect(first.session);
    assert_eq!(clients.lock().devices.len(), 1);
    clients.close(call(5).call);
    let left = clients.lock();
    assert_eq!((left.devices.len(), left.calls.len()), (0, 0));
}
