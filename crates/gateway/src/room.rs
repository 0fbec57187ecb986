use nexus_contracts::{TenantId, Token, TokenError};

use crate::keys::Principal;

/// A conversation as its owner sees it.
///
/// The user's name is part of the conversation's id on the bus, so that nobody can name the
/// conversation of somebody else: a foreign id is an empty conversation of one's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) tenant: TenantId,
    /// As the client calls it.
    pub(crate) name: String,
    /// As it stands on the bus: `USER/NAME`, encoded.
    pub(crate) token: Token,
}

impl Room {
    pub(crate) fn of(who: &Principal, name: &str) -> Result<Self, TokenError> {
        // The first slash is the one between the two.
        let user = who.user.replace('%', "%25").replace('/', "%2F");
        let token = Token::encode(&format!("{user}/{name}"))?;
        Ok(Self { tenant: who.tenant, name: name.to_owned(), token })
    }
}

#[cfg(test)]
mod tests {
    use nexus_contracts::LOCAL_TENANT;

    use super::*;

    fn token(user: &str, name: &str) -> Token {
        let who = Principal { tenant: LOCAL_TENANT, user: user.to_owned(), key: uuid::Uuid::nil() };
        Room::of(&who, name).unwrap().token
    }

    #[test]
    fn users_never_share_a_conversation() {
        let all = [
            token("ann", "kitchen"),
            token("ben", "kitchen"),
            token("ann/kitchen", "x"),
            token("ann", "kitchen/x"),
            token("ann%2Fkitchen", "x"),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "{}", one.decode());
        }
        assert_eq!(token("ann", "kitchen").decode(), "ann/kitchen");
    }
}
