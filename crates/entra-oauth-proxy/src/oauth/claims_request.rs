//! Claims requests (OpenID Connect Core §5.5) of clients and of Entra.

use serde_json::{Map, Value};

/// Merges a client's claims request with the claims that Entra demands.
///
/// The result has the members of both requests, and in these members the claims of both. If both
/// request the same claim, Entra's version is used, because a sign-in without what Entra demands
/// fails. The client's other claims are kept. Returns `None` if one of the requests is not a JSON
/// object.
pub(crate) fn merge_claims(own: &str, demanded: &str) -> Option<String> {
    let mut merged = object(own)?;
    for (member, demanded) in object(demanded)? {
        match (merged.get_mut(&member), demanded) {
            (Some(Value::Object(own)), Value::Object(demanded)) => own.extend(demanded),
            (_, demanded) => {
                merged.insert(member, demanded);
            }
        }
    }
    Some(Value::Object(merged).to_string())
}

/// Returns whether the request that was sent contains everything that is demanded.
pub(crate) fn carries_claims(sent: Option<&str>, demanded: &str) -> bool {
    let both = sent.and_then(|sent| object(&merge_claims(sent, demanded)?));
    both.is_some() && both == sent.and_then(object)
}

fn object(text: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn both(own: &Value, demanded: &Value) -> Value {
        let merged = merge_claims(&own.to_string(), &demanded.to_string()).unwrap();
        serde_json::from_str(&merged).unwrap()
    }

    #[test]
    fn members_and_claims_of_both_are_there_and_entras_goes_before() {
        let own = json!({
            "access_token": { "acrs": { "value": "c1" }, "xms_cc": { "values": ["cp1"] } },
            "id_token": { "auth_time": null },
        });
        let demanded =
            json!({ "access_token": { "acrs": { "value": "c2" }, "nbf": { "value": "1" } } });
        let expected = json!({
            "access_token": {
                "acrs": { "value": "c2" }, "xms_cc": { "values": ["cp1"] }, "nbf": { "value": "1" },
            },
            "id_token": { "auth_time": null },
        });
        assert_eq!(both(&own, &demanded), expected);
        assert_eq!(both(&json!({ "access_token": 1 }), &demanded), demanded);
        assert_eq!(both(&json!({}), &demanded), demanded);
    }

    #[test]
    fn what_is_no_object_is_not_merged() {
        assert_eq!(merge_claims("[]", "{}"), None);
        assert_eq!(merge_claims("{}", "x"), None);
    }

    #[test]
    fn what_was_sent_carries_what_it_has_all_of() {
        let demanded = r#"{"access_token":{"acrs":{"value":"c2"}}}"#;
        assert!(!carries_claims(None, demanded));
        assert!(!carries_claims(Some("{}"), demanded));
        assert!(!carries_claims(
            Some(r#"{"access_token":{"acrs":{"value":"c1"}}}"#),
            demanded
        ));
        assert!(carries_claims(Some(demanded), demanded));
        let more = r#"{ "access_token": {"nbf":null, "acrs":{"value":"c2"}}, "id_token":{} }"#;
        assert!(carries_claims(Some(more), demanded));
    }
}
