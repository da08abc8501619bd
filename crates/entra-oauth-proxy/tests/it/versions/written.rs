//! Records, ids and tokens of other versions, as those versions wrote and sealed them.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use entra_dev_tenant::DevTenant;
use entra_oauth_proxy::ProxyKeys;
use redb::{Database, TableDefinition};
use serde_json::{Value, json};

use crate::support::{Client, PUBLIC, REDIRECT, Stage, VERIFIER, challenge, settings};
use crate::watched_store::WatchedStore;
/// The sealing of version 0, which the server still uses.
pub(super) struct Sealer {
    root: [u8; 32],
    prk: Prk,
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Sealer {
    pub(super) fn new() -> Self {
        let mut root = [0; 32];
        aws_lc_rs::rand::fill(&mut root).unwrap();
        let prk = Salt::new(HKDF_SHA256, b"entra-oauth-proxy").extract(&root);
        Self { root, prk }
    }

    pub(super) fn keys(&self) -> ProxyKeys {
        ProxyKeys::from_base64(&STANDARD.encode(self.root)).unwrap()
    }

    fn derived<const N: usize>(&self, info: &str) -> [u8; N] {
        let mut key = [0; N];
        let info = [info.as_bytes()];
        let expanded = self.prk.expand(&info, Length(N)).unwrap();
        expanded.fill(&mut key).unwrap();
        key
    }

    fn key(&self, purpose: &str) -> LessSafeKey {
        let key: [u8; 32] = self.derived(&format!("{purpose}/seal"));
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, &key).unwrap())
    }

    fn aad(&self, context: &str) -> Aad<Vec<u8>> {
        let length = u32::try_from(PUBLIC.len()).unwrap().to_be_bytes();
        let id: [u8; 8] = self.derived("id");
        Aad::from([&length[..], PUBLIC.as_bytes(), &id, context.as_bytes()].concat())
    }

    pub(super) fn sealed(&self, purpose: &str, context: &str, text: &[u8]) -> Vec<u8> {
        let id: [u8; 8] = self.derived("id");
        let mut nonce = [0; 12];
        aws_lc_rs::rand::fill(&mut nonce).unwrap();
        let mut body = text.to_vec();
        let unique = Nonce::assume_unique_for_key(nonce);
        let key = self.key(purpose);
        key.seal_in_place_append_tag(unique, self.aad(context), &mut body)
            .unwrap();
        [&id[..], &nonce, &body].concat()
    }

    /// Decrypts a sealed value and returns its text, with the version in front.
    pub(super) fn opened(&self, purpose: &str, context: &str, sealed: &[u8]) -> Vec<u8> {
        let nonce = Nonce::try_assume_unique_for_key(&sealed[8..20]).unwrap();
        let mut body = sealed[20..].to_vec();
        let key = self.key(purpose);
        let text = key.open_in_place(nonce, self.aad(context), &mut body);
        text.unwrap().to_vec()
    }

    pub(super) fn record(&self, key: &str, text: &str) -> (String, Vec<u8>) {
        (key.to_owned(), self.sealed("record", key, text.as_bytes()))
    }

    pub(super) fn with_tag(&self, message: &[u8]) -> String {
        let key: [u8; 32] = self.derived("refresh token/tag");
        let length = u32::try_from(PUBLIC.len()).unwrap().to_be_bytes();
        let tagged = [&length[..], PUBLIC.as_bytes(), message].concat();
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &tagged);
        URL_SAFE_NO_PAD.encode([message, tag.as_ref()].concat())
    }

    pub(super) fn refresh_token(&self, generation: u32, grant: &str) -> Value {
        let message = [&generation.to_be_bytes()[..], grant.as_bytes()].concat();
        json!(self.with_tag(&message))
    }

    pub(super) fn client(&self, version: &[u8]) -> Client {
        let text = br#"{"r":["https://client.example/callback"],"n":"Test client","m":"n","a":"n","g":true,"t":1795951462}"#;
        let sealed = self.sealed("client id", "", &[version, text].concat());
        Client {
            id: URL_SAFE_NO_PAD.encode(sealed),
            secret: None,
            redirect_uri: REDIRECT.to_owned(),
        }
    }
}

pub(super) fn hash(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

pub(super) fn now(tenant: &DevTenant) -> u64 {
    let clock = tenant.clock();
    let since: SystemTime = clock();
    since.duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A record of a version that does not exist yet.
pub(super) const LATER: &[u8] = b"\x04{\"all\":\"different\"}";

/// Texts as version 0 wrote them, for ada and this client.
pub(super) struct Before<'b> {
    pub(super) client: &'b Client,
    pub(super) now: u64,
    /// Entra's access token, which is valid for the tenant.
    pub(super) access_token: String,
    pub(super) refresh_token: String,
}

/// Id of the tenant. `ADA` is the object id of ada in it.
pub(super) const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
pub(super) const ADA: &str = "635e4ad8-9501-4c92-97b5-41858aaade17";

pub(super) const USER: &str = r#"{"claims":{"azp":"6e74172b-be56-4843-9ff4-e66a39bb12e3","idtyp":"user","name":"ada","oid":"635e4ad8-9501-4c92-97b5-41858aaade17","preferred_username":"ada@contoso.onmicrosoft.com","sub":"DLK_3bYnpG0UdIHr9nExyiE_wTXMmgYJhwqPFNukC4A","tid":"72f988bf-86f1-41af-91ab-2d7cd011db47"},"scopes":["read"]}"#;

impl Before<'_> {
    pub(super) fn asked(&self, cookie: &str) -> String {
        format!(
            r#"{{"client":"{}","may_refresh":true,"redirect_uri":"https://client.example/callback","state":"the client's state","challenge":"{}","names":["read"],"shown":["read"],"claims":null,"id":"587f9ecf-9a02-4d5e-ad3a-a3db01f295ab","at":{},"cookie":"{}"}}"#,
            hash(&self.client.id),
            challenge(),
            self.now,
            hash(cookie)
        )
    }

    pub(super) fn upstream(&self, good_for: u64) -> String {
        format!(
            r#"{{"access_token":"{}","expires_at":{},"refresh_token":"{}"}}"#,
            self.access_token,
            self.now + good_for,
            self.refresh_token
        )
    }

    pub(super) fn fresh(&self) -> String {
        let (asked, upstream) = (self.asked("cookie"), self.upstream(3_599));
        format!(r#"{{"Fresh":{{"asked":{asked},"user":{USER},"upstream":{upstream}}}}}"#)
    }

    pub(super) fn used(&self, grant: &str) -> String {
        let asked = self.asked("cookie");
        format!(r#"{{"Used":{{"grant":"{grant}","asked":{asked}}}}}"#)
    }

    pub(super) fn grant(&self, good_for: u64) -> String {
        format!(
            r#"{{"client":"{}","may_refresh":true,"names":["read"],"shown":["read"],"user":{USER},"upstream":{},"generation":1,"rotated_at":{},"ends_at":{}}}"#,
            hash(&self.client.id),
            self.upstream(good_for),
            self.now - 3_000,
            self.now + 7_773_000
        )
    }

    pub(super) fn sign_in(&self, state: &str, nonce: &str, claims: &str) -> String {
        format!(
            r#"{{"asked":{},"state":"{state}","verifier":"{VERIFIER}","nonce":"{nonce}","claims":{claims},"at":{}}}"#,
            self.asked("cookie"),
            self.now
        )
    }

    /// Returns the claims that Entra demanded of a client's next user, as version 0 stored them.
    pub(super) fn demanded(&self) -> String {
        r#"{"claims":"{\"access_token\":{\"capolids\":{\"essential\":true,\"values\":[\"3f2504e0-4f89-41d3-9a0c-0305e82c3301\"]}}}","of":{"claims":{"oid":"635e4ad8-9501-4c92-97b5-41858aaade17","tid":"72f988bf-86f1-41af-91ab-2d7cd011db47"},"scopes":[]}}"#.to_owned()
    }
}

/// Signs ada in, and returns the tenant and Entra's tokens, as the sign-in stored them.
pub(super) async fn upstream(sealer: &Sealer, tenant: DevTenant) -> (DevTenant, String, String) {
    let store = WatchedStore::default();
    let settings = settings(&tenant).keys(sealer.keys()).store(store.clone());
    let proxy = settings.build().unwrap();
    let stage = Stage { tenant, proxy };
    let client = stage.client().await;
    stage.sign_in(&client, "ada").await;
    let written = store.written();
    let grant = written.iter().find(|(key, _)| key.starts_with("grant/"));
    let (key, sealed) = grant.unwrap();
    let text = sealer.opened("record", key, sealed);
    assert_eq!(text[0], 3, "the version");
    let grant: Value = serde_json::from_slice(&text[1..]).unwrap();
    let token = |name: &str| grant["upstream"][name].as_str().unwrap().to_owned();
    let tokens = (token("access_token"), token("refresh_token"));
    (stage.tenant, tokens.0, tokens.1)
}

pub(super) const RECORDS: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("records");
pub(super) const ENDS: TableDefinition<'_, (u64, &str), ()> = TableDefinition::new("ends");
pub(super) const FORMAT: TableDefinition<'_, &str, u64> = TableDefinition::new("format");

/// Writes the data directory as version 0 left it.
pub(super) fn write_directory(
    directory: &Path,
    sealer: &Sealer,
    records: &[(String, Vec<u8>)],
    now: u64,
) {
    let keys = format!("{}\n", STANDARD.encode(sealer.root));
    std::fs::write(directory.join("keys"), keys).unwrap();
    let database = Database::create(directory.join("sign-ins.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(RECORDS).unwrap();
        let mut ends = transaction.open_table(ENDS).unwrap();
        let end = (now + 1_800) * 1_000;
        for (key, value) in records {
            table.insert(&**key, (end, &**value)).unwrap();
            ends.insert((end, &**key), ()).unwrap();
        }
    }
    transaction.commit().unwrap();
}
