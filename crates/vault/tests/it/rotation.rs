//! The master key changes while everybody reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nexus_contracts::{LOCAL_TENANT, TenantId};
use nexus_vault::{Error, Owner, Swept};
use uuid::Uuid;

use crate::OPENAI;
use crate::rig::{self, Rig, exposed, secret};

const TENANTS: [TenantId; 2] = [LOCAL_TENANT, TenantId(Uuid::from_u128(0xc))];
const USERS: usize = 20;

fn key(tenant: TenantId, user: usize) -> String {
    format!("sk-0123456789abcdefghijkl-{user:02}-{tenant}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_fails_while_keys_are_rotated_and_none_after_the_old_key_is_gone() {
    let rig = Rig::start().await;
    let command = rig.vault().await;
    for tenant in TENANTS {
        for user in 0..USERS {
            let owner = Owner::user(tenant, user.to_string());
            command.put(&owner, OPENAI, &secret(&key(tenant, user))).await.unwrap();
        }
    }
    let (reads, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut readers = Vec::new();
    for start in 0..4 {
        // A worker of its own each, which looks into the database every time.
        let (vault, reads, over) =
            (rig.vault_of_the_future().await, Arc::clone(&reads), Arc::clone(&over));
        readers.push(tokio::spawn(async move {
            let mut turn = start * 7;
            while !over.load(Ordering::Relaxed) {
                let (tenant, user) = (TENANTS[turn % 2], turn % USERS);
                let found = vault.find(tenant, Some(&user.to_string()), OPENAI).await;
                assert_eq!(exposed(found.unwrap()), Some(key(tenant, user)));
                reads.fetch_add(1, Ordering::Relaxed);
                turn += 1;
            }
        }));
    }
    let more = async |count: usize| {
        let wanted = reads.load(Ordering::Relaxed) + count;
        rig::until("more reads", async || reads.load(Ordering::Relaxed) >= wanted).await;
    };
    more(100).await;
    for expected in ["v2", "v3", "v4"] {
        let Swept { key_id, resealed, current, failed } = command.rotate(&TENANTS).await.unwrap();
        // Readers encrypt anew what they read: who was first does not matter.
        assert_eq!((key_id.as_str(), failed), (expected, Vec::new()));
        assert_eq!(resealed + current, TENANTS.len() * USERS);
        more(100).await;
    }
    over.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.expect("a read failed");
    }
    eprintln!("{} reads during three rotations, none failed", reads.load(Ordering::Relaxed));
    for tenant in TENANTS {
        let listed = command.list(tenant, None).await.unwrap();
        assert_eq!(listed.iter().filter(|row| row.key_id == "v4").count(), USERS);
    }

    let lines = std::fs::read_to_string(rig.key_file()).unwrap();
    std::fs::write(rig.key_file(), lines.lines().next().unwrap()).unwrap();
    let fresh = rig.vault().await;
    for tenant in TENANTS {
        for user in 0..USERS {
            let found = fresh.find(tenant, Some(&user.to_string()), OPENAI).await.unwrap();
            assert_eq!(exposed(found), Some(key(tenant, user)));
        }
    }
    rig.stop().await;
}

#[tokio::test]
async fn what_is_read_moves_to_the_new_key_by_itself() {
    let rig = Rig::start().await;
    let (vault, owner) = (rig.vault_of_the_future().await, Owner::tenant(LOCAL_TENANT));
    let before = vault.put(&owner, OPENAI, &secret("sk-0123456789abcdefghijkl")).await.unwrap();
    assert_eq!(before.key_id, "v1");
    rig.keys().add(nexus_vault::system_random).unwrap();
    // Nobody has told the first one; a fresh one reads the file.
    let fresh = rig.vault().await;
    let found = fresh.find(LOCAL_TENANT, None, OPENAI).await.unwrap().unwrap();
    assert_eq!(found.id, before.id, "the secret is the same");
    assert_eq!(fresh.list(LOCAL_TENANT, None).await.unwrap()[0].key_id, "v2");

    // It meets a key that it has not heard of, and looks it up.
    let found = vault.find(LOCAL_TENANT, None, OPENAI).await.unwrap();
    assert_eq!(exposed(found).as_deref(), Some("sk-0123456789abcdefghijkl"));
    rig.stop().await;
}

#[tokio::test]
async fn what_is_stored_by_one_who_has_not_heard_of_a_new_key_is_under_the_new_key() {
    let rig = Rig::start().await;
    let (unaware, owner) = (rig.vault().await, Owner::tenant(LOCAL_TENANT));
    // The sweep of that rotation is over; nobody tells.
    rig.keys().add(nexus_vault::system_random).unwrap();
    let stored = unaware.put(&owner, OPENAI, &secret("sk-0123456789abcdefghijkl")).await.unwrap();
    assert_eq!(stored.key_id, "v2");

    let lines = std::fs::read_to_string(rig.key_file()).unwrap();
    std::fs::write(rig.key_file(), lines.lines().next().unwrap()).unwrap();
    let found = rig.vault().await.find(LOCAL_TENANT, None, OPENAI).await.unwrap();
    assert_eq!(exposed(found).as_deref(), Some("sk-0123456789abcdefghijkl"));

    // Nothing is stored under a key that is in no file any more; what is there is still read.
    std::fs::remove_file(rig.key_file()).unwrap();
    let another = Owner::user(LOCAL_TENANT, "ada");
    let refused = unaware.put(&another, OPENAI, &secret("sk-0123456789")).await.unwrap_err();
    assert!(matches!(refused, Error::NoKeys { .. }), "{refused}");
    assert!(unaware.get(&owner, OPENAI).await.unwrap().is_some());
    rig.stop().await;
}

#[tokio::test]
async fn a_missing_master_key_is_named() {
    let rig = Rig::start().await;
    let owner = Owner::tenant(LOCAL_TENANT);
    rig.vault().await.put(&owner, OPENAI, &secret("sk-0123456789abcdefghijkl")).await.unwrap();
    let file = rig.key_file();

    std::fs::remove_file(&file).unwrap();
    let vault = rig.vault().await;
    let missing = vault.find(LOCAL_TENANT, None, OPENAI).await.unwrap_err();
    assert!(matches!(missing, Error::NoKeys { .. }), "{missing}");

    let swept = vault.rotate(&[LOCAL_TENANT]).await.unwrap();
    assert_eq!(swept.key_id, "v1", "the first of a new file");
    let [(service, reason)] = &swept.failed[..] else { panic!("{swept:?}") };
    assert_eq!(service, OPENAI);
    assert!(reason.contains("does not decrypt under master key v1"), "{reason}");

    rig.change(LOCAL_TENANT, "key_id = 'v7'").await;
    let missing = vault.find(LOCAL_TENANT, None, OPENAI).await.unwrap_err().to_string();
    let expected = format!("there is no master key \"v7\" in {}, only v1;", file.display());
    assert!(missing.starts_with(&expected), "{missing}");
    rig.stop().await;
}
