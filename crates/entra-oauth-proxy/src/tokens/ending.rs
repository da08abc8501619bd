//! An operator ends sign-ins: of a user, of a client, or one of them.

use tower_entra_auth::{ObjectId, TenantId};

use crate::keys::format::Changing as _;
use crate::proxy::{EntraOAuthProxy, Inner};
use crate::store::{Found, Records, StoreError};
use crate::tokens::ends::{ClientRecord, Ends, Numbers, client_key};
use crate::tokens::grant::{Grant, grant_key};
use crate::tokens::standing::UserStanding;
use crate::tokens::users::{Change, standing_key, user_key};

/// The error of an end that was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndError {
    /// The text is no hash of a client's id.
    #[error("no client has such a hash: the log prints it as client, 43 characters of base64url")]
    NoClientHash,
    /// The store did not answer, or has no room for the record of the end.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl EntraOAuthProxy {
    /// Ends all sign-ins of a user, by every client, and those that are under way: their codes and refresh
    /// tokens at once, their access tokens when the Layer asks next
    /// ([`grant_check_interval`](crate::EntraOAuthProxyBuilder::grant_check_interval), 30 s).
    ///
    /// Nobody is kept from signing in again: that is Entra's to refuse. Sessions at Entra, and its tokens that
    /// were passed through, are not ended.
    ///
    /// # Errors
    /// [`StoreError`] if the store did not answer: they may be ended, or not; call it again. Or if it is full,
    /// and there is no record of this user yet.
    pub async fn end_sign_ins_of(
        &self,
        tenant: TenantId,
        user: ObjectId,
    ) -> Result<(), StoreError> {
        self.inner.end_sign_ins_of(tenant, user).await
    }

    /// Ends all sign-ins by a client, and those that are under way, as
    /// [`end_sign_ins_of`](Self::end_sign_ins_of) does: a client by the hash of its id, as lines of the log
    /// and spans have it as `client`, and tokens as their
    /// [`registered_client`](tower_entra_auth::entra_jwt_core::AccessToken::registered_client).
    ///
    /// Its registration stays good, as it is in its id: its users can sign in again.
    ///
    /// # Errors
    /// [`EndError::NoClientHash`] for a text that is none, and [`EndError::Store`] as with a user.
    pub async fn end_sign_ins_of_client(&self, client: &str) -> Result<(), EndError> {
        self.inner.end_sign_ins_of_client(client).await
    }

    /// Ends one sign-in, by the id of its grant, as lines of the log and spans have it as `grant`, and access
    /// tokens as `gid`. Returns whether there was one.
    ///
    /// # Errors
    /// [`StoreError`] if the store did not answer.
    pub async fn end_sign_in(&self, grant: &str) -> Result<bool, StoreError> {
        self.inner.end_sign_in(grant).await
    }
}

/// What the records of its user and its client say of a sign-in.
pub(crate) struct Standing {
    pub(crate) numbers: Numbers,
    pub(crate) user: UserStanding,
}

/// A grant, and what stands about it.
pub(crate) struct Stands {
    pub(crate) grant: Found<Grant>,
    pub(crate) user_key: String,
    pub(crate) standing: Standing,
}

impl Records {
    /// Reads what the records of a user and of a client say at this moment.
    pub(crate) async fn standing(
        &self,
        user_key: &str,
        client: &str,
        now: u64,
    ) -> Result<Standing, StoreError> {
        let keys = [standing_key(user_key), client_key(client)];
        let stored = self.all(&[&keys[0], &keys[1]]).await?;
        let [user, client] = <[_; 2]>::try_from(stored).map_err(|_| incomplete())?;
        let of_user = self.found(&keys[0], user)?;
        let of_client = self.found(&keys[1], client)?;
        Ok(Standing::of(of_user, of_client, now))
    }

    /// Reads a grant, and what stands about it: in one request to the store, if it is known whose it is. Its
    /// client is the one that shows it; whether it is that client's is not looked at.
    pub(crate) async fn grant(
        &self,
        issuer: &str,
        (id, client): (&str, &str),
        user: Option<&str>,
        now: u64,
    ) -> Result<Option<Stands>, StoreError> {
        let keys = [grant_key(id), client_key(client)];
        let of_user = user.map(standing_key);
        let mut all: Vec<&str> = keys.iter().map(|key| &**key).collect();
        all.extend(of_user.as_deref());
        let mut stored = self.all(&all).await?.into_iter();
        let (Some(grant), Some(client)) = (stored.next(), stored.next()) else {
            return Err(incomplete());
        };
        let Some(grant) = self.found::<Grant>(&keys[0], grant)? else {
            return Ok(None);
        };
        let of_client = self.found(&keys[1], client)?;
        let user_key = user_key(issuer, grant.value.user.ids());
        let key = standing_key(&user_key);
        let of_user = match stored.next().filter(|_| of_user.as_ref() == Some(&key)) {
            Some(stored) => self.found(&key, stored)?,
            None => self.get(&key).await?,
        };
        Ok(Some(Stands {
            grant,
            user_key,
            standing: Standing::of(of_user, of_client, now),
        }))
    }

    /// Returns whether there is such a grant, and no operator has ended it.
    pub(crate) async fn has_grant(
        &self,
        issuer: &str,
        id: &str,
        now: u64,
    ) -> Result<bool, StoreError> {
        let Some(found) = self.get::<Grant>(&grant_key(id)).await? else {
            return Ok(false);
        };
        let grant = found.value;
        let user_key = user_key(issuer, grant.user.ids());
        let standing = self.standing(&user_key, &grant.client, now).await?;
        Ok(standing.numbers == grant.numbers)
    }
}

impl Standing {
    fn of(
        user: Option<Found<UserStanding>>,
        client: Option<Found<ClientRecord>>,
        now: u64,
    ) -> Self {
        let mut user = user.map(|found| found.value).unwrap_or_default();
        user.clean(now);
        let mut client = client.map(|found| found.value).unwrap_or_default();
        client.clean(now);
        Self {
            numbers: Numbers {
                user: user.ends.number(),
                client: client.ends.number(),
            },
            user,
        }
    }
}

/// The error of a store that does not answer for each key.
fn incomplete() -> StoreError {
    StoreError::new("it answers for fewer records than it was asked for")
}

impl Inner {
    async fn end_sign_ins_of(&self, tenant: TenantId, user: ObjectId) -> Result<(), StoreError> {
        let ids = [tenant.to_string(), user.to_string()];
        let key = user_key(self.engine.keys.issuer(), [&ids[0], &ids[1]]);
        self.raise_of_user(&key).await?;
        tracing::info!(%tenant, "the sign-ins of a user were ended by an operator");
        // They are over in any case: this takes Entra's tokens out of the store.
        let count = self.take_grants(&key).await;
        let count = count.unwrap_or_else(|error| {
            tracing::warn!(%error, %tenant, "sign-ins that were ended stay in the store for now");
            0
        });
        tracing::debug!(%tenant, count, "sign-ins that were ended were taken out of the store");
        Ok(())
    }

    /// Takes the grants of a user to which there are references out of the store, and returns their number.
    /// One that cannot be taken keeps none of the others there: the error is that of the last such.
    async fn take_grants(&self, user_key: &str) -> Result<usize, StoreError> {
        let grants = self.take_references(user_key).await?;
        let mut taken = Ok(grants.len());
        for grant in &grants {
            if let Err(error) = self.records.remove(&grant_key(grant)).await {
                taken = Err(error);
            }
        }
        taken
    }

    async fn end_sign_ins_of_client(&self, client: &str) -> Result<(), EndError> {
        let is_of_base64url = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if client.len() != 43 || !client.bytes().all(is_of_base64url) {
            return Err(EndError::NoClientHash);
        }
        self.change_client(client, Ends::raise).await?;
        tracing::info!(client, "the sign-ins by a client were ended by an operator");
        Ok(())
    }

    async fn end_sign_in(&self, grant: &str) -> Result<bool, StoreError> {
        let was_there = self.records.remove(&grant_key(grant)).await?;
        if was_there {
            tracing::info!(grant, "a sign-in was ended by an operator");
        }
        Ok(was_there)
    }

    /// Keeps the numbers that a sign-in took for as long as the sign-in may last.
    pub(crate) async fn keep_numbers(
        &self,
        user_key: &str,
        client: &str,
        numbers: Numbers,
    ) -> Result<(), StoreError> {
        if numbers.user > 0 {
            self.keep_user_number(user_key).await?;
        }
        if numbers.client > 0 {
            self.change_client(client, Ends::keep).await?;
        }
        Ok(())
    }

    /// Changes the number of a client.
    async fn change_client(
        &self,
        client: &str,
        change: impl Fn(&mut Ends, u64),
    ) -> Result<(), StoreError> {
        let (now, key) = (|| self.now(), client_key(client));
        let change = |record: &mut ClientRecord, now| {
            let before = record.ends;
            change(&mut record.ends, now);
            match record.ends == before {
                true => Change::None(()),
                false => Change::Made(()),
            }
        };
        self.users.change(&self.records, now, &key, change).await
    }
}
