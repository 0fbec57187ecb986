//! What all tests share: one installation, and ways to look at its log.

use std::process::Output;
use std::time::{Duration, Instant};

use nexus_bus::{Bus, EVENTS, Filter, Message, Reader, Start};
use nexus_contracts::{
    EventType, LOCAL_TENANT, Metadata, Pattern, StoredSubject, Subject, TenantId, Token,
};
use nexus_testkit::process::{Nexus, Options};
use serde_json::Value;
use tokio::sync::OnceCell;
use uuid::Uuid;

/// Longest wait for anything that takes well below a second on an idle machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A second tenant, which the shared installation knows.
pub(crate) const OTHER_TENANT: TenantId = TenantId(Uuid::from_u128(2));
const OTHER_TENANT_FILE: &str = "id = \"00000000-0000-0000-0000-000000000002\"\nname = \"other\"\n";

/// The installation of all tests that do not disturb it.
pub(crate) async fn shared() -> &'static Nexus {
    static SHARED: OnceCell<Nexus> = OnceCell::const_new();
    SHARED.get_or_init(|| async { up(Options::default()).await }).await
}

/// An installation of a test's own, with two tenants.
pub(crate) async fn up(options: Options) -> Nexus {
    let options = options.file("tenants/other.toml", OTHER_TENANT_FILE);
    Nexus::up(options).await.unwrap()
}

/// Waits until something is there.
#[track_caller]
pub(crate) fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> impl Future<Output = T> {
    let place = std::panic::Location::caller();
    let what = what.to_owned();
    async move {
        let end = Instant::now() + LIMIT;
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(Instant::now() < end, "{place}: not in {LIMIT:?}: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A conversation's id that no other test has.
pub(crate) fn fresh(name: &str) -> String {
    format!("{name}-{}", Uuid::now_v7().simple())
}

pub(crate) async fn bus(nexus: &Nexus) -> Bus {
    Bus::connect(&nexus.nats_url().unwrap(), "test").await.unwrap()
}

/// A key of a tenant's user.
pub(crate) async fn key_of(nexus: &Nexus, tenant: TenantId, user: &str) -> (String, String) {
    let tenant = tenant.to_string();
    let made =
        nexus.run(&["keys", "create", "test", "--user", user, "--tenant", &tenant, "--json"]).await;
    let made: Value = serde_json::from_slice(&succeeded(made.unwrap()).stdout).unwrap();
    (made["id"].as_str().unwrap().to_owned(), made["key"].as_str().unwrap().to_owned())
}

/// The output of a command that has to exit with 0.
#[track_caller]
pub(crate) fn succeeded(output: Output) -> Output {
    exited(0, output)
}

/// The output of a command that has to exit with this code.
#[track_caller]
pub(crate) fn exited(code: i32, output: Output) -> Output {
    assert_eq!(
        output.status.code(),
        Some(code),
        "{}\n{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    output
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The JSON objects that a command printed, one per line.
pub(crate) fn lines(output: &Output) -> Vec<Value> {
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Everything that is stored of a conversation in a channel of the local tenant.
pub(crate) async fn stored(bus: &Bus, channel: &str, conversation: &str) -> Vec<Message> {
    let (channel, conversation) =
        (Token::encode(channel).unwrap(), Token::encode(conversation).unwrap());
    let pattern = Pattern::conversation(LOCAL_TENANT, &channel, &conversation);
    read(bus, pattern).await
}

/// Everything that is stored of a conversation that the local user has on the web.
pub(crate) async fn stored_on_the_web(bus: &Bus, conversation: &str) -> Vec<Message> {
    stored(bus, "web", &format!("local/{conversation}")).await
}

/// Everything that is stored and matches.
pub(crate) async fn read(bus: &Bus, pattern: Pattern) -> Vec<Message> {
    let filter = Filter::Patterns(vec![pattern]);
    let mut reader = Reader::open(bus, EVENTS, filter, Start::First).await.unwrap();
    reader.read_to_end().await.unwrap()
}

/// The type of a stored event.
pub(crate) fn kind(message: &Message) -> String {
    StoredSubject::parse(&message.subject).unwrap().kind
}

pub(crate) fn json(message: &Message) -> Value {
    serde_json::from_slice(&message.bytes).unwrap()
}

/// Where an event of the local tenant is published.
pub(crate) fn subject(kind: EventType, channel: &str, conversation: &str) -> String {
    let (channel, conversation) =
        (Token::encode(channel).unwrap(), Token::encode(conversation).unwrap());
    Subject::of(kind, &Metadata::at(LOCAL_TENANT, channel, conversation)).to_string()
}
