//! The vault on real servers: needs `scripts/install-servers`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails here fails the test"
)]

mod provider_keys;
mod rig;
mod rotation;

use nexus_contracts::{KeyOwner, LOCAL_TENANT, TenantId, Timestamp};
use nexus_vault::{Error, NewCredential, Owner};
use rig::{Rig, exposed, secret};
use secrecy::ExposeSecret as _;
use uuid::Uuid;

const OTHER: TenantId = TenantId(Uuid::from_u128(0xb));
const OPENAI: &str = "llm_openai";

#[tokio::test]
async fn the_users_own_key_comes_before_the_tenants() {
    let rig = Rig::start().await;
    let vault = rig.vault().await;
    let find = async |user| exposed(vault.find(LOCAL_TENANT, user, OPENAI).await.unwrap());
    assert_eq!(find(Some("ada")).await, None);

    let tenant = Owner::tenant(LOCAL_TENANT);
    vault.put(&tenant, OPENAI, &secret("sk-tenant-0123456789abcdef")).await.unwrap();
    assert_eq!(find(Some("ada")).await.as_deref(), Some("sk-tenant-0123456789abcdef"));
    assert_eq!(find(None).await.as_deref(), Some("sk-tenant-0123456789abcdef"));

    let ada = Owner::user(LOCAL_TENANT, "ada");
    let first = vault.put(&ada, OPENAI, &secret("sk-ada-0123456789abcdefghi")).await.unwrap();
    assert_eq!(find(Some("ada")).await.as_deref(), Some("sk-ada-0123456789abcdefghi"));
    assert_eq!(find(Some("bob")).await.as_deref(), Some("sk-tenant-0123456789abcdef"));
    assert_eq!(exposed(vault.find(OTHER, Some("ada"), OPENAI).await.unwrap()), None);
    assert_eq!(exposed(vault.find(LOCAL_TENANT, Some("ada"), "llm_groq").await.unwrap()), None);

    let second = vault.put(&ada, OPENAI, &secret("sk-ada-9876543210abcdefghi")).await.unwrap();
    assert_ne!(first.id, second.id, "another secret is another credential");
    let found = vault.find(LOCAL_TENANT, Some("ada"), OPENAI).await.unwrap().unwrap();
    assert_eq!((found.id, found.owner), (second.id, KeyOwner::User));
    assert_eq!(found.secret.expose_secret(), "sk-ada-9876543210abcdefghi");
    assert_eq!(format!("{found:?}").matches("9876").count(), 0, "{found:?}");
    rig.stop().await;
}

#[tokio::test]
async fn lists_and_rows_show_hints_and_never_secrets() {
    let rig = Rig::start().await;
    let vault = rig.vault().await;
    let ada = Owner::user(LOCAL_TENANT, "ada");
    for (owner, key) in [
        (&Owner::tenant(LOCAL_TENANT), "sk-tenant-0123456789abcdef"),
        (&ada, "sk-ada-0123456789abcdefghi"),
        (&Owner::user(LOCAL_TENANT, "bob"), "sk-bob-0123456789abcdefghi"),
    ] {
        vault.put(owner, OPENAI, &secret(key)).await.unwrap();
    }
    let hints = async |user| {
        let listed = vault.list(LOCAL_TENANT, user).await.unwrap();
        listed.into_iter().map(|key| (key.user, key.hint)).collect::<Vec<_>>()
    };
    let of = |user: Option<&str>, hint: &str| (user.map(str::to_owned), hint.to_owned());
    let (tenant, own) = (of(None, "sk-...cdef"), of(Some("ada"), "sk-ada-...fghi"));
    assert_eq!(hints(Some("ada")).await, [tenant.clone(), own.clone()]);
    assert_eq!(hints(None).await, [tenant, own, of(Some("bob"), "sk-bob-...fghi")]);

    for row in rig.rows(LOCAL_TENANT).await {
        for key in ["0123456789", "303132333435363738"] {
            assert!(!row.contains(key), "{row}");
        }
    }
    assert_eq!(nexus_store::lint(rig.store.pool()).await.unwrap(), []);
    rig.stop().await;
}

#[tokio::test]
async fn a_row_copied_to_another_place_does_not_decrypt() {
    let rig = Rig::start().await;
    let vault = rig.vault().await;
    let ada = Owner::user(LOCAL_TENANT, "ada");
    vault.put(&ada, OPENAI, &secret("sk-ada-0123456789abcdefghi")).await.unwrap();

    rig.copy(LOCAL_TENANT, OTHER, "ada", OPENAI).await;
    rig.copy(LOCAL_TENANT, LOCAL_TENANT, "bob", OPENAI).await;
    rig.copy(LOCAL_TENANT, LOCAL_TENANT, "ada", "llm_groq").await;

    for (tenant, user, service) in
        [(OTHER, "ada", OPENAI), (LOCAL_TENANT, "bob", OPENAI), (LOCAL_TENANT, "ada", "llm_groq")]
    {
        let refused = vault.find(tenant, Some(user), service).await.unwrap_err();
        assert!(matches!(refused, Error::Sealed { .. }), "{tenant} {user} {service}: {refused}");
        assert!(!refused.is_transient());
    }
    // An address that somebody else wrote gets no key.
    rig.change(LOCAL_TENANT, "base_url = 'https://evil.example/v1'").await;
    let fresh = rig.vault().await;
    let refused = fresh.find(LOCAL_TENANT, Some("ada"), OPENAI).await.unwrap_err();
    assert!(matches!(refused, Error::Sealed { .. }), "{refused}");
    rig.stop().await;
}

#[tokio::test]
async fn what_is_removed_is_gone_on_every_worker_at_once() {
    let rig = Rig::start().await;
    let (here, there) = (rig.vault().await, rig.vault().await);
    let ada = Owner::user(LOCAL_TENANT, "ada");
    here.put(&ada, OPENAI, &secret("sk-ada-0123456789abcdefghi")).await.unwrap();
    let find = async || exposed(there.find(LOCAL_TENANT, Some("ada"), OPENAI).await.unwrap());
    rig::until("the other worker finds it", async || find().await.is_some()).await;

    let removed = std::time::Instant::now();
    assert!(here.remove(&ada, OPENAI).await.unwrap());
    assert_eq!(exposed(here.find(LOCAL_TENANT, Some("ada"), OPENAI).await.unwrap()), None);
    rig::until("the other worker has forgotten it", async || find().await.is_none()).await;
    eprintln!("removed on the other worker after {:?}", removed.elapsed());
    assert!(!here.remove(&ada, OPENAI).await.unwrap());
    rig.stop().await;
}

#[tokio::test]
async fn a_credential_of_which_the_bus_tells_nothing_is_found() {
    let rig = Rig::start().await;
    let (here, there) = (rig.vault().await, rig.vault_of_the_future().await);
    assert!(!there.may_hold(LOCAL_TENANT).await);
    here.put(&Owner::tenant(LOCAL_TENANT), OPENAI, &secret("sk-0123456789abcdefghijkl"))
        .await
        .unwrap();
    rig.forget_news(LOCAL_TENANT).await;

    let fresh = rig.vault().await;
    assert!(fresh.may_hold(LOCAL_TENANT).await && !fresh.may_hold(OTHER).await);
    // More than a minute later for this one.
    rig::until("it is looked up again", async || there.may_hold(LOCAL_TENANT).await).await;
    // Without its database it knows what it knew.
    rig.store.close().await;
    assert!(fresh.may_hold(LOCAL_TENANT).await && !fresh.may_hold(OTHER).await);
    rig.stop().await;
}

#[tokio::test]
async fn expired_credentials_are_none() {
    let rig = Rig::start().await;
    let vault = rig.vault().await;
    let ada = Owner::user(LOCAL_TENANT, "ada");
    let at =
        |seconds: i64| Some(Timestamp::from_micros(rig::now().as_micros() + seconds * 1_000_000));
    let over = NewCredential { expires_at: at(-1), ..secret("sk-ada-0123456789abcdefghi") };
    let tenants = NewCredential { expires_at: at(3600), ..secret("sk-tenant-0123456789abcdef") };
    vault.put(&ada, OPENAI, &over).await.unwrap();
    vault.put(&Owner::tenant(LOCAL_TENANT), OPENAI, &tenants).await.unwrap();
    let found = vault.find(LOCAL_TENANT, Some("ada"), OPENAI).await.unwrap().unwrap();
    assert_eq!((found.owner, found.expires_at), (KeyOwner::Tenant, tenants.expires_at));
    assert!(vault.get(&ada, OPENAI).await.unwrap().is_none());
    rig.stop().await;
}

#[tokio::test]
async fn without_a_database_what_is_known_still_holds_and_nothing_else() {
    let rig = Rig::start().await;
    let ada = Owner::user(LOCAL_TENANT, "ada");
    let stored = secret("sk-ada-0123456789abcdefghi");
    rig.vault().await.put(&ada, OPENAI, &stored).await.unwrap();
    // Opened after the change: what they find is of the last revision.
    let vault = rig.vault().await;
    assert!(vault.find(LOCAL_TENANT, Some("ada"), OPENAI).await.unwrap().is_some());
    let later = rig.vault_of_the_future().await;
    assert_eq!(exposed(later.find(LOCAL_TENANT, Some("bob"), OPENAI).await.unwrap()), None);
    assert!(later.find(LOCAL_TENANT, Some("ada"), OPENAI).await.unwrap().is_some());

    rig.store.close().await;

    assert!(vault.find(LOCAL_TENANT, Some("ada"), OPENAI).await.unwrap().is_some(), "remembered");
    let unknown = vault.find(LOCAL_TENANT, Some("eve"), OPENAI).await.unwrap_err();
    assert!(unknown.is_transient(), "{unknown}");
    // For this one, more than a minute passes between two looks.
    let too_old = later.find(LOCAL_TENANT, Some("ada"), OPENAI).await.unwrap_err();
    assert!(too_old.is_transient(), "{too_old}");
    assert_eq!(exposed(later.find(LOCAL_TENANT, Some("bob"), OPENAI).await.unwrap()), None);
    rig.stop().await;
}
