//! Tests of records of other versions: the proxy reads those of earlier versions, and keeps those
//! of later versions unchanged.
//!
//! The texts of version 0 are those that the server wrote at the commit "Let taking turns be a file
//! of its own". A line in the code printed each text before the server sealed it. Meanwhile, a test
//! signed ada in, refreshed, and received a refusal of Entra. This module puts ids, times and
//! Entra's tokens into the texts. It seals them with its own code, so that a change of the sealing
//! fails the test.

mod written;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entra_dev_tenant::DevTenant;
use entra_oauth_proxy::{EntraOAuthProxyBuilder, RateLimits, store::Store as _};
use http::StatusCode;
use redb::{Database, ReadableDatabase as _, TableDefinition};
use serde_json::{Value, json};
use url::Url;

use self::written::{
    ADA, Before, FORMAT, LATER, RECORDS, Sealer, TENANT, hash, now, upstream, write_directory,
};
use crate::disk::Directory;
use crate::logbook::Logbook;
use crate::refresh::{invalid_grant, token_of};
use crate::support::{
    Browser, HOUR, PUBLIC, Reply, Stage, challenge, parameter, post, settings, tenant,
};
use crate::watched_store::WatchedStore;

/// Returns a grant id of the usual length.
fn id(name: &str) -> String {
    format!("{name:-<24}")
}

#[tokio::test]
async fn a_directory_of_the_version_before_is_read_and_nobody_is_signed_out() {
    let sealer = Sealer::new();
    let tenant = tenant().start().await.unwrap();
    let (tenant, access_token, refresh_token) = upstream(&sealer, tenant).await;
    let client = sealer.client(b"");
    let before = Before {
        client: &client,
        now: now(&tenant),
        access_token,
        refresh_token,
    };
    let [held, renewed, used, long] = ["held", "renewed", "used", "long"].map(id);
    let grant = |id: &str, good_for| {
        let text = before.grant(good_for);
        sealer.record(&format!("grant/{id}"), &text)
    };
    let records = [
        grant(&held, 3_000),
        grant(&renewed, 10),
        grant(&used, 3_000),
        // A lifetime that a response of Entra, or of a server in its place, may once have
        // contained.
        grant(&long, 4_000_000_000),
        sealer.record(&format!("code/{}", hash("fresh")), &before.fresh()),
        sealer.record(&format!("code/{}", hash("used")), &before.used(&used)),
        sealer.record(&format!("claims/{}", hash(&client.id)), &before.demanded()),
    ];
    let directory = Directory::new("version 0");
    write_directory(directory.path(), &sealer, &records, before.now);
    let keys = std::fs::read(directory.path().join("keys")).unwrap();

    let in_directory = |tenant: &DevTenant| settings(tenant).data_directory(directory.path());
    let proxy = in_directory(&tenant).build().unwrap();
    let stage = Stage { tenant, proxy };
    // The grants continue, with Entra's earlier token and with a new one.
    let mut token = token_of(
        stage
            .refresh(&client, &sealer.refresh_token(1, &held))
            .await,
    )
    .await;
    for _ in 0..3 {
        token = token_of(stage.refresh(&client, &token).await).await;
    }
    for id in [&renewed, &long] {
        let asked = stage.tenant.token_endpoint().requests().len();
        let presented = sealer.refresh_token(1, id);
        token_of(stage.refresh(&client, &presented).await).await;
        assert_eq!(stage.tenant.token_endpoint().requests().len(), asked + 1);
    }
    // Sign-ins in progress reach their end: a new code, a used code, a cookie, and a form.
    let redeemed = stage.redeem(&client, "fresh").await;
    assert_eq!(redeemed.status, StatusCode::OK, "{}", redeemed.text());
    assert_eq!(stage.redeem(&client, "used").await.error(), invalid_grant());
    let presented = sealer.refresh_token(1, &used);
    let reply = stage.refresh(&client, &presented).await;
    assert_eq!(reply.error(), invalid_grant(), "it was ended");
    let kept = before.demanded();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    let kept = json!({ "Kept": kept["claims"] }).to_string();
    for (name, claims) in [("none", "\"None\""), ("kept", &kept)] {
        let state = &hash(name)[..32];
        let cookie = before.sign_in(state, state, claims);
        let reply = comes_back(&stage, &sealer, state, &cookie).await;
        let url: Url = reply.location().parse().unwrap();
        let code = parameter(&url, "code").unwrap_or_else(|| panic!("{url}"));
        let redeemed = stage.redeem(&client, &code).await;
        assert_eq!(redeemed.status, StatusCode::OK, "{}", redeemed.text());
    }
    let reply = agrees(&stage, &sealer, before.asked("value").as_bytes()).await;
    assert!(reply.onward().contains("/authorize?"), "{}", reply.text());
    // A client of the earlier version can sign a user in. The proxy does not send the claims that
    // Entra demanded of some user.
    let mut browser = Browser::new(&stage);
    let at_entra = browser.goes_to_entra(&client, &[]).await;
    assert!(!at_entra.contains("claims="), "{at_entra}");

    let Stage { proxy, tenant } = stage;
    drop(proxy);
    assert_eq!(std::fs::read(directory.path().join("keys")).unwrap(), keys);
    let database = Database::open(directory.file()).unwrap();
    let transaction = database.begin_read().unwrap();
    let format = transaction.open_table(FORMAT).unwrap();
    assert_eq!(format.get("version").unwrap().unwrap().value(), 1);
    // The user's record has one reference to each grant that was refreshed.
    let table = transaction.open_table(RECORDS).unwrap();
    let of_users = table.range("user/".."user0").unwrap();
    let of_users: Vec<_> = of_users.map(Result::unwrap).collect();
    assert_eq!(of_users.len(), 1);
    let (key, value) = &of_users[0];
    let text = sealer.opened("record", key.value(), value.value().1);
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.matches("\"i\":").count(), 6, "{text}");
    for grant in [&held, &renewed, &long] {
        assert_eq!(text.matches(&**grant).count(), 1, "{text}");
    }
    drop((of_users, table, format, transaction, database));
    // The same holds after the next start.
    let proxy = in_directory(&tenant).build().unwrap();
    let stage = Stage { tenant, proxy };
    token_of(stage.refresh(&client, &token).await).await;
}

/// Opens the callback in a browser whose cookie is this sign-in, with this state and nonce.
async fn comes_back(stage: &Stage, sealer: &Sealer, state: &str, sign_in: &str) -> Reply {
    let (mut browser, callback) = returns(stage, sealer, state, sign_in).await;
    browser.come_back(&callback).await
}

/// Returns a browser whose cookie is this sign-in, and the callback URL of Entra.
async fn returns<'s>(
    stage: &'s Stage,
    sealer: &Sealer,
    state: &str,
    sign_in: &str,
) -> (Browser<'s>, String) {
    let other = stage.client().await;
    let mut browser = Browser::new(stage);
    let at_entra = browser.goes_to_entra(&other, &[]).await;
    let mut at_entra: Url = at_entra.parse().unwrap();
    let pairs: Vec<(String, String)> = at_entra.query_pairs().into_owned().collect();
    let mut query = at_entra.query_pairs_mut();
    query.clear();
    for (name, value) in pairs {
        let value = match &*name {
            "state" | "nonce" => state.to_owned(),
            "code_challenge" => challenge(),
            _ => value,
        };
        query.append_pair(&name, &value);
    }
    drop(query);
    let name = format!("__Host-entra-proxy-sign-in-{}", &hash(state)[..10]);
    let sealed = sealer.sealed("sign-in", "", sign_in.as_bytes());
    let value = URL_SAFE_NO_PAD.encode(sealed);
    browser.cookies.push((name, value));
    let callback = stage.tenant.people().sign_in("ada", at_entra.as_str());
    (browser, callback)
}

/// Submits a consent form with this content, in a browser whose cookie is `value`.
async fn agrees(stage: &Stage, sealer: &Sealer, asked: &[u8]) -> Reply {
    let mut browser = Browser::new(stage);
    let name = format!("__Host-entra-proxy-consent-{}", &hash("value")[..10]);
    browser.cookies.push((name, "value".to_owned()));
    let sealed = URL_SAFE_NO_PAD.encode(sealer.sealed("consent", "", asked));
    let form = [("consent", &*sealed), ("decision", "approve")];
    browser.post("/consent", &form).await
}

/// Starts a stage, and returns it with its store and a sealer for the store's records.
async fn stage() -> (Stage, Sealer, WatchedStore) {
    let (sealer, store) = (Sealer::new(), WatchedStore::default());
    let keys = sealer.keys();
    let stage = Stage::with(|settings| settings.keys(keys).store(store.clone())).await;
    (stage, sealer, store)
}

#[track_caller]
fn is_told_later(reply: &Reply) {
    assert_eq!(reply.error(), (503, "temporarily_unavailable".to_owned()));
    assert!(reply.text().contains("a later version"), "{}", reply.text());
    assert_eq!(reply.header("retry-after"), "60");
}

#[tokio::test(start_paused = true)]
async fn records_of_version_1_are_read_and_nobody_is_signed_out() {
    let sealer = Sealer::new();
    let tenant = tenant().start().await.unwrap();
    let (tenant, access_token, refresh_token) = upstream(&sealer, tenant).await;
    let store = WatchedStore::default();
    let proxy = settings(&tenant).keys(sealer.keys()).store(store.clone());
    let proxy = proxy.build().unwrap();
    let stage = Stage { tenant, proxy };
    let client = sealer.client(b"\x01");
    let before = Before {
        client: &client,
        now: now(&stage.tenant),
        access_token,
        refresh_token,
    };
    let [one, other] = ["one", "other"].map(id);
    let user = |grant: &str| {
        let (now, client) = (before.now, hash(&client.id));
        format!(
            r#"{{"i":"{grant}","c":"{client}","m":{now},"e":{}}}"#,
            now + 7_773_000
        )
    };
    let grant = before.grant(3_660);
    let grant = format!(
        "{},\"is_referred_to\":true}}",
        grant.strip_suffix('}').unwrap()
    );
    let whose = format!("{PUBLIC}\n{TENANT}\n{ADA}");
    let user_key = format!("user/{}", hash(&whose));
    for (key, text) in [
        (format!("grant/{one}"), grant.clone()),
        (format!("grant/{other}"), grant),
        (format!("code/{}", hash("fresh")), before.fresh()),
        (
            user_key,
            format!(r#"{{"g":[{},{}]}}"#, user(&one), user(&other)),
        ),
    ] {
        let (key, value) = sealer.record(&key, &format!("\x01{text}"));
        store.put(&key, value.into(), 90 * 24 * HOUR).await.unwrap();
    }
    let presented = sealer.refresh_token(1, &one);
    let refreshed = stage.refresh(&client, &presented).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text());
    let refreshed = refreshed.json();
    // Version 1 did not store when Entra issued its token. A rule that compares the time requires
    // another token.
    let caller = stage.verify(&refreshed["access_token"]).await.unwrap();
    assert_eq!(caller.issued_at(), None);
    stage.tenant.time().advance(HOUR).await;
    let renewed = stage.refresh(&client, &refreshed["refresh_token"]).await;
    let caller = stage.verify(&renewed.json()["access_token"]).await.unwrap();
    assert!(caller.issued_at().is_some());
    let presented = sealer.refresh_token(1, &other);
    let of_other = token_of(stage.refresh(&client, &presented).await).await;
    let redeemed = stage.redeem(&client, "fresh").await;
    let tokens = redeemed.json();
    // All of the sign-ins are the user's.
    let user = caller.object_id().unwrap();
    let ended = stage.proxy.end_sign_ins_of(caller.tenant_id(), user).await;
    ended.unwrap();
    for token in [
        &renewed.json()["refresh_token"],
        &of_other,
        &tokens["refresh_token"],
    ] {
        assert_eq!(stage.refresh(&client, token).await.error(), invalid_grant());
    }
    assert_eq!(store.get(&format!("grant/{other}")).await.unwrap(), None);
}

/// Checks a client that lost the response to its last refresh before an update of the server.
#[tokio::test(start_paused = true)]
async fn the_parent_of_a_grant_of_version_2_is_the_token_before_the_current_one() {
    for is_late in [false, true] {
        let sealer = Sealer::new();
        let tenant = tenant().start().await.unwrap();
        let (tenant, access_token, refresh_token) = upstream(&sealer, tenant).await;
        let store = WatchedStore::default();
        let proxy = settings(&tenant).keys(sealer.keys()).store(store.clone());
        let proxy = proxy.build().unwrap();
        let stage = Stage { tenant, proxy };
        let client = sealer.client(b"\x01");
        let mut before = Before {
            client: &client,
            now: now(&stage.tenant),
            access_token,
            refresh_token,
        };
        if !is_late {
            // The text says that the current token was made 3,000 s before this time.
            before.now += 3_000;
        }
        let one = id("one");
        let text = format!("\x02{}", before.grant(3_660));
        let (key, value) = sealer.record(&format!("grant/{one}"), &text);
        store.put(&key, value.into(), 90 * 24 * HOUR).await.unwrap();
        let [parent, current] = [0, 1].map(|number| sealer.refresh_token(number, &one));
        let first = token_of(stage.refresh(&client, &parent).await).await;
        assert_ne!(first, parent);
        let again = token_of(stage.refresh(&client, &parent).await).await;
        assert_eq!(again, first);
        if is_late {
            // The parent pushed out the token that was lost.
            let dead = stage.refresh(&client, &current).await;
            assert_eq!(dead.error(), invalid_grant());
        } else {
            token_of(stage.refresh(&client, &first).await).await;
        }
    }
}

/// Checks a sign-in of version 1, which was in a cookie and had no secret beside it.
#[tokio::test(start_paused = true)]
async fn a_sign_in_of_version_1_comes_back_and_goes_on_once_more_if_entra_demands_it() {
    let (stage, sealer, _) = stage().await;
    let client = sealer.client(b"\x01");
    let before = Before {
        client: &client,
        now: now(&stage.tenant),
        access_token: String::new(),
        refresh_token: String::new(),
    };
    for is_demanded in [false, true] {
        let state = &hash(&is_demanded.to_string())[..32];
        let sign_in = format!("\x01{}", before.sign_in(state, state, "\"None\""));
        let (mut browser, callback) = returns(&stage, &sealer, state, &sign_in).await;
        let twin = browser.cookies.clone();
        // Without its cookie, nothing else continues it.
        browser
            .cookies
            .retain(|(name, _)| !name.contains("sign-in"));
        let refused = browser.come_back(&callback).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        browser.cookies = twin;
        let mut reply = if is_demanded {
            stage.tenant.people().require_interaction("ada");
            let again = browser.come_back(&callback).await.location();
            assert!(again.contains("claims="), "{again}");
            let callback = stage.tenant.people().sign_in("ada", &again);
            browser.come_back(&callback).await
        } else {
            browser.come_back(&callback).await
        };
        let url: Url = reply.location().parse().unwrap();
        assert!(parameter(&url, "code").is_some(), "{url}");
        assert!(
            !browser
                .cookies
                .iter()
                .any(|(name, _)| name.contains("sign-in"))
        );
        if !is_demanded {
            reply = browser.come_back(&callback).await;
            assert_eq!(reply.status, StatusCode::FORBIDDEN);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn records_of_a_later_version_are_left_alone_and_count_as_no_theft() {
    for kind in ["grant/", "code/", "user/", "standing/", "client/"] {
        let (stage, sealer, store) = stage().await;
        let client = stage.client().await;
        let tokens = stage.sign_in(&client, "ada").await;
        let code = Browser::new(&stage).code(&client, "ada", &[]).await;
        let written = store.written();
        let last = |kind: &str| {
            let mut written = written.iter().rev();
            let (key, _) = written.find(|(key, _)| key.starts_with(kind)).unwrap();
            key.clone()
        };
        let key = &match kind {
            // There is no such record yet.
            "standing/" => last("user/").replace("user/", kind),
            "client/" => format!("client/{}", hash(&client.id)),
            _ => last(kind),
        };
        let later = sealer.sealed("record", key, LATER);
        let put = store.put(key, later.clone().into(), HOUR).await;
        put.unwrap();
        let log = Logbook::begin();
        match kind {
            "grant/" => {
                is_told_later(&stage.refresh(&client, &tokens["refresh_token"]).await);
                stage.tenant.time().advance(Duration::from_secs(31)).await;
                let refused = stage.verify(&tokens["access_token"]).await.err();
                assert_eq!(refused, Some("grant_rule_unavailable"));
                let form = [
                    ("token", tokens["refresh_token"].as_str().unwrap()),
                    ("client_id", &client.id),
                ];
                is_told_later(&stage.send(post("/revoke", &form, &[])).await);
            }
            "code/" => is_told_later(&stage.redeem(&client, &code).await),
            "user/" => is_told_later(&stage.redeem(&client, &code).await),
            _ => {
                is_told_later(&stage.redeem(&client, &code).await);
                is_told_later(&stage.refresh(&client, &tokens["refresh_token"]).await);
                stage.tenant.time().advance(Duration::from_secs(31)).await;
                let refused = stage.verify(&tokens["access_token"]).await.err();
                assert_eq!(refused, Some("grant_rule_unavailable"));
                let told = Browser::new(&stage).signed_in(&client, "ada", &[]).await;
                let error = parameter(&told, "error");
                assert_eq!(error.as_deref(), Some("temporarily_unavailable"));
            }
        }
        assert_eq!(store.get(key).await.unwrap(), Some(later.into()), "{kind}");
        let errors = log.lines("ERROR");
        assert_eq!(errors.len(), 1, "{errors:#?}");
        assert!(
            errors[0].contains("written by a later version"),
            "{errors:?}"
        );
        assert!(!log.text().contains("used again"), "{}", log.text());
    }
}

#[tokio::test(start_paused = true)]
async fn grants_of_a_later_version_neither_count_nor_go_when_their_user_signs_in() {
    let (sealer, store) = (Sealer::new(), WatchedStore::default());
    let keys = sealer.keys();
    let limits = RateLimits::none().grants_per_user_and_client(2);
    let stage =
        Stage::with(|settings| settings.keys(keys).store(store.clone()).limits(limits)).await;
    let client = stage.client().await;
    for _ in 0..2 {
        stage.sign_in(&client, "ada").await;
    }
    let mut later = Vec::new();
    for (key, _) in store.records("grant/").await {
        let sealed = sealer.sealed("record", &key, LATER);
        store.put(&key, sealed.clone().into(), HOUR).await.unwrap();
        later.push((key, sealed));
    }
    let mut token = Value::Null;
    for _ in 0..3 {
        stage.tenant.time().advance(Duration::from_secs(61)).await;
        token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    }
    token_of(stage.refresh(&client, &token).await).await;
    assert_eq!(store.count("grant/").await, 4);
    assert_eq!(later.len(), 2);
    for (key, sealed) in later {
        assert_eq!(store.get(&key).await.unwrap(), Some(sealed.into()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_of_a_later_version_is_neither_unknown_nor_a_theft() {
    let (stage, sealer, _) = stage().await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    let now = tokens["refresh_token"].as_str().unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(now).unwrap();
    assert_eq!((bytes[0], bytes.len()), (1, 61));
    let later = json!(sealer.with_tag(&[&[2], &bytes[1..29], b"and more"].concat()));
    is_told_later(&stage.refresh(&client, &later).await);
    let form = [
        ("token", later.as_str().unwrap()),
        ("client_id", &client.id),
    ];
    is_told_later(&stage.send(post("/revoke", &form, &[])).await);
    token_of(stage.refresh(&client, &tokens["refresh_token"]).await).await;
    // The version number alone proves nothing: the tag must be valid.
    let forged = URL_SAFE_NO_PAD.encode([&[2], &bytes[1..]].concat());
    let reply = stage.refresh(&client, &json!(forged)).await;
    assert_eq!(reply.error(), invalid_grant());
}

#[tokio::test(start_paused = true)]
async fn ids_forms_and_cookies_of_a_later_version_have_a_page_of_their_own() {
    let (stage, sealer, _) = stage().await;
    let is_page = |reply: &Reply, what: &str| {
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{what}");
        assert!(reply.text().contains("a newer version"), "{what}");
    };
    let later = sealer.client(b"\x02");
    is_page(&stage.get(&later.authorize(&[])).await, "client id");
    is_told_later(&stage.redeem(&later, "code").await);
    let text = LATER;
    is_page(&agrees(&stage, &sealer, text).await, "form");
    let text = std::str::from_utf8(text).unwrap();
    let state = &hash("state")[..32];
    is_page(&comes_back(&stage, &sealer, state, text).await, "cookie");
    let sealed = URL_SAFE_NO_PAD.encode(sealer.sealed("sign-in", "", text.as_bytes()));
    let path = format!("/callback?code=x&state={sealed}");
    is_page(&stage.get(&path).await, "state");
    // Another sign-in in this browser keeps a cookie that it cannot read.
    let mut browser = Browser::new(&stage);
    let sealed = sealer.sealed("sign-in", "", text.as_bytes());
    let name = "__Host-entra-proxy-sign-in-aaaaaaaaaa".to_owned();
    let value = URL_SAFE_NO_PAD.encode(sealed);
    browser.cookies.push((name.clone(), value));
    browser.goes_to_entra(&stage.client().await, &[]).await;
    assert!(browser.cookies.iter().any(|(other, _)| *other == name));
}

#[tokio::test]
async fn a_directory_of_a_later_version_is_a_problem_of_the_setting_and_left_alone() {
    let tenant = tenant().start().await.unwrap();
    for file in ["keys", "sign-ins.redb"] {
        let directory = Directory::new("later version");
        let in_directory =
            |settings: EntraOAuthProxyBuilder| settings.data_directory(directory.path()).build();
        drop(in_directory(settings(&tenant)).unwrap());
        let path = directory.path().join(file);
        if file == "keys" {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("# keys of entra-oauth-proxy, format 1\n"));
            let later = text.replace("format 1", "format 2");
            let key = later.lines().last().unwrap();
            let later = format!("{key}\n{later}");
            std::fs::write(&path, later).unwrap();
        } else {
            let database = Database::open(&path).unwrap();
            let transaction = database.begin_write().unwrap();
            let mut format = transaction.open_table(FORMAT).unwrap();
            format.insert("version", 2).unwrap();
            drop(format);
            let theirs: TableDefinition<'_, u64, u64> = TableDefinition::new("more");
            transaction.open_table(theirs).unwrap();
            transaction.commit().unwrap();
        }
        let before = std::fs::read(&path).unwrap();
        let error = in_directory(settings(&tenant)).unwrap_err().to_string();
        assert!(error.contains("a later version of this server"), "{error}");
        assert!(error.contains("start that version again"), "{error}");
        if file == "keys" {
            assert_eq!(std::fs::read(&path).unwrap(), before);
        } else {
            let database = Database::open(&path).unwrap();
            let transaction = database.begin_read().unwrap();
            let format = transaction.open_table(FORMAT).unwrap();
            assert_eq!(format.get("version").unwrap().unwrap().value(), 2);
        }
    }
}
