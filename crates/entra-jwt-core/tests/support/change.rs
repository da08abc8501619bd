//! Changes to the header and claims of a token before it is signed.

use entra_dev_tenant::{Flaw, TokenBuilder};
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use serde_json::{Map, Value, json};

use crate::support::API;

pub(crate) const CONSUMERS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

/// Claims on which a decision depends, some of them in another case, and a few for display only.
const CLAIMS: [&str; 38] = [
    "iss",
    "tid",
    "TID",
    "Tid",
    "aud",
    "Aud",
    "exp",
    "nbf",
    "iat",
    "azp",
    "appid",
    "oid",
    "sub",
    "scp",
    "roles",
    "idtyp",
    "cnf",
    "nonce",
    "c_hash",
    "at_hash",
    "groups",
    "hasgroups",
    "_claim_names",
    "_claim_sources",
    "acrs",
    "xms_cc",
    "acct",
    "idp",
    "xms_idrel",
    "xms_act_fct",
    "xms_sub_fct",
    "ver",
    "name",
    "preferred_username",
    "amr",
    "wids",
    "acr",
    "",
];

const HEADER: [&str; 17] = [
    "alg",
    "Alg",
    "typ",
    "kid",
    "nonce",
    "crit",
    "b64",
    "zip",
    "enc",
    "cty",
    "jwk",
    "jku",
    "x5u",
    "x5c",
    "x5t",
    "x5t#S256",
    "unheard_of",
];

/// A change to the header or the claims.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Claim(&'static str, Twist),
    WithoutClaim(&'static str),
    Header(&'static str, Twist),
    WithoutHeader(&'static str),
    /// Changes `tid`, and `iss` to match.
    Tenant(&'static str, &'static str),
    /// Names another key and signs with that key.
    Key(Flaw),
}

/// A change to a member, which may be missing before.
#[derive(Clone, Debug)]
pub(crate) enum Twist {
    Arbitrary(Value),
    Notable(&'static str),
    InArray,
    Quoted,
    UpperCase,
    Append(&'static str),
    Prepend(&'static str),
    /// A time in seconds from now.
    FromNow(i64),
    /// A time in seconds from now, plus half a second.
    FromNowAndHalf(i64),
    /// The value of another claim.
    CopyOf(&'static str),
}

const NOTABLE: [&str; 20] = [
    "",
    " ",
    "/",
    "Reports.Read",
    "/ Reports.Read",
    "app",
    "user",
    "device",
    "APP",
    "JWT",
    "jWt",
    "at+jwt",
    "RS256",
    "none",
    "HS256",
    CONSUMERS,
    "72f988bf-86f1-41af-91ab-2d7cd011db47",
    "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d",
    "https://login.microsoftonline.com/{tenantid}/v2.0",
    "13",
];

const AUDIENCES: [&str; 7] = [
    API,
    "api://6e74172b-be56-4843-9ff4-e66a39bb12e3",
    "api://6e74172b-be56-4843-9ff4-e66a39bb12e3/",
    "6e74172b-be56-4843-9ff4-e66a39bb12e3/",
    "https://orders.contoso.com",
    "https://orders.contoso.com/",
    "00000003-0000-0000-c000-000000000000",
];

const ISSUERS: [&str; 6] = [
    "https://login.microsoftonline.com/{}/v2.0",
    "https://sts.windows.net/{}/",
    "https://login.microsoftonline.us/{}/v2.0",
    "https://login.microsoftonline.com/{}/v2.0/",
    "https://sts.windows.net/{}",
    "https://login.microsoftonline.com/{}/v1.1",
];

const TENANTS: [&str; 6] = [
    "72f988bf-86f1-41af-91ab-2d7cd011db47",
    "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d",
    CONSUMERS,
    "72F988BF-86F1-41AF-91AB-2D7CD011DB47",
    "{tenantid}",
    "common",
];

impl Change {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        // The claims on which Entra's rules depend most are chosen more often.
        let claim = || {
            prop_oneof![
                1 => select(&CLAIMS[..9]),
                1 => select(&CLAIMS[..20]),
                1 => select(&CLAIMS[..]),
            ]
        };
        prop_oneof![
            12 => (claim(), Twist::any()).prop_map(|(name, twist)| Self::Claim(name, twist)),
            2 => claim().prop_map(Self::WithoutClaim),
            3 => (select(&HEADER[..]), Twist::any())
                .prop_map(|(name, twist)| Self::Header(name, twist)),
            1 => select(&HEADER[..4]).prop_map(Self::WithoutHeader),
            // These values are nearly valid.
            3 => Twist::of_audience().prop_map(|twist| Self::Claim("aud", twist)),
            3 => (select(&["exp", "nbf", "iat"][..]), Twist::of_time())
                .prop_map(|(name, twist)| Self::Claim(name, twist)),
            3 => (select(&TENANTS[..]), select(&ISSUERS[..]))
                .prop_map(|(tenant, issuer)| Self::Tenant(tenant, issuer)),
            1 => select(&[Flaw::PersonalKey, Flaw::OtherCloudKey][..]).prop_map(Self::Key),
        ]
    }

    /// Applies the changes one after the other.
    ///
    /// `now` is in seconds since 1970, and `members` are those of the header and the payload before
    /// the changes.
    pub(crate) fn all<'a>(
        changes: &[Self],
        token: TokenBuilder<'a>,
        mut members: [Map<String, Value>; 2],
        now: i64,
    ) -> TokenBuilder<'a> {
        changes.iter().fold(token, |token, change| {
            change.apply(token, &mut members, now)
        })
    }

    fn apply<'a>(
        &self,
        token: TokenBuilder<'a>,
        members: &mut [Map<String, Value>; 2],
        now: i64,
    ) -> TokenBuilder<'a> {
        let [header, claims] = members;
        match self {
            Self::Claim(name, twist) => {
                let value = twist.apply(claims.get(*name), claims, now);
                claims.insert((*name).to_owned(), value.clone());
                token.claim(name, value)
            }
            Self::WithoutClaim(name) => {
                claims.remove(*name);
                token.without_claim(name)
            }
            Self::Header(name, twist) => {
                let value = twist.apply(header.get(*name), claims, now);
                header.insert((*name).to_owned(), value.clone());
                token.header(name, value)
            }
            Self::WithoutHeader(name) => {
                header.remove(*name);
                token.without_header(name)
            }
            Self::Tenant(tenant, issuer) => {
                let issuer = issuer.replace("{}", tenant);
                claims.insert("tid".to_owned(), json!(tenant));
                claims.insert("iss".to_owned(), json!(issuer));
                token.claim("tid", *tenant).claim("iss", issuer)
            }
            Self::Key(flaw) => token.flaw(*flaw),
        }
    }
}

impl Twist {
    fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            4 => arbitrary_json().prop_map(Self::Arbitrary),
            3 => select(&NOTABLE[..]).prop_map(Self::Notable),
            1 => Just(Self::InArray),
            1 => Just(Self::Quoted),
            1 => Just(Self::UpperCase),
            1 => select(vec!["/", " ", "\0", ".evil.example", "#", "?x=1"]).prop_map(Self::Append),
            1 => select(vec!["/", " ", "api://", "spn:"]).prop_map(Self::Prepend),
            1 => Self::of_time(),
            1 => select(&CLAIMS[..20]).prop_map(Self::CopyOf),
        ]
    }

    fn of_time() -> impl Strategy<Value = Self> {
        let edges = &[-3_600, -301, -300, -299, -1, 0, 1, 299, 300, 301, 3_600];
        prop_oneof![
            2 => select(&edges[..]).prop_map(Self::FromNow),
            1 => select(&edges[..]).prop_map(Self::FromNowAndHalf),
        ]
    }

    fn of_audience() -> impl Strategy<Value = Self> {
        prop_oneof![
            select(&AUDIENCES[..]).prop_map(Self::Notable),
            select(vec!["/", "//", " ", "/x"]).prop_map(Self::Append),
            select(vec!["api://", "spn:", " "]).prop_map(Self::Prepend),
            Just(Self::UpperCase),
            Just(Self::InArray),
        ]
    }

    fn apply(&self, old: Option<&Value>, claims: &Map<String, Value>, now: i64) -> Value {
        let text = || old.and_then(Value::as_str).unwrap_or_default();
        match self {
            Self::Arbitrary(value) => value.clone(),
            Self::Notable(text) => json!(text),
            Self::InArray => json!([old]),
            Self::Quoted => json!(old.map(Value::to_string)),
            Self::UpperCase => json!(text().to_ascii_uppercase()),
            Self::Append(suffix) => json!(format!("{}{suffix}", text())),
            Self::Prepend(prefix) => json!(format!("{prefix}{}", text())),
            Self::FromNow(seconds) => json!(now + seconds),
            Self::FromNowAndHalf(seconds) => json!((now + seconds) as f64 + 0.5),
            Self::CopyOf(claim) => claims.get(*claim).cloned().unwrap_or_default(),
        }
    }
}

fn arbitrary_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-2_i64..3).prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        any::<String>().prop_map(Value::from),
        select(vec![253_402_300_799_i64, 253_402_300_800, i64::MAX]).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}
