//! Claims requests (OpenID Connect Core §5.5): what a client asks for, and what Entra demands.

use serde_json::{Map, Value, json};

/// The claims that a client may request of Entra's access token: an authentication context, and that the
/// user signed in after a moment. That is what claims challenges of an API are about; others decide what
/// Entra's tokens look like, which is for this server to say.
const OF_CLIENTS: [&str; 2] = ["acrs", "nbf"];

/// The members of a request for one claim (OpenID Connect Core §5.5.1).
const MEMBERS: [&str; 3] = ["essential", "value", "values"];

/// Returns the part of a client's request that goes to Entra, if there is any. The error is that it is no
/// object.
pub(crate) fn of_client(request: &str) -> Result<Option<String>, NoObject> {
    let request = object(request).ok_or(NoObject)?;
    let Some(Value::Object(claims)) = request.get("access_token") else {
        return Ok(None);
    };
    let mut passed = Map::new();
    for name in OF_CLIENTS {
        match claims.get(name) {
            Some(Value::Null) => {
                passed.insert(name.to_owned(), Value::Null);
            }
            Some(Value::Object(members)) => {
                let mut members = members.clone();
                members.retain(|name, _| MEMBERS.contains(&&**name));
                passed.insert(name.to_owned(), Value::Object(members));
            }
            _ => {}
        }
    }
    Ok((!passed.is_empty()).then(|| json!({ "access_token": passed }).to_string()))
}

/// The text is no JSON object.
pub(crate) struct NoObject;

/// Merges both requests: the members of both, and of the claims in them; where both ask for the same
/// claim, as Entra demands it. `None` if one of them is no object.
///
/// Entra's goes before, as a sign-in that lacks what it demands comes to nothing; what the client asks
/// for beside that is kept.
pub(crate) fn merged(own: &str, demanded: &str) -> Option<String> {
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

/// Returns whether the request that was sent asks for all that is demanded.
pub(crate) fn carries(sent: Option<&str>, demanded: &str) -> bool {
    let both = sent.and_then(|sent| object(&merged(sent, demanded)?));
    both.is_some() && both == sent.and_then(object)
}

fn object(text: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(own: &Value, demanded: &Value) -> Value {
        let merged = merged(&own.to_string(), &demanded.to_string()).unwrap();
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
    fn clients_request_authentication_contexts_and_a_moment_and_nothing_else() {
        let passed = |request: &Value| of_client(&request.to_string()).ok().unwrap();
        let challenge = json!({ "access_token": {
            "acrs": { "essential": true, "value": "c1" }, "nbf": { "essential": true, "value": "1" },
        } });
        assert_eq!(passed(&challenge), Some(challenge.to_string()));
        let mut more = challenge.clone();
        more["id_token"] = json!({ "acrs": null, "auth_time": null });
        more["userinfo"] = json!({});
        more["access_token"]["xms_cc"] = json!({ "values": ["cp1"] });
        more["access_token"]["groups"] = Value::Null;
        more["access_token"]["acrs"]["more"] = json!(1);
        assert_eq!(passed(&more), Some(challenge.to_string()));
        let null = json!({ "access_token": { "acrs": null } });
        assert_eq!(passed(&null), Some(null.to_string()));
        for nothing in [
            json!({}),
            json!({ "access_token": {} }),
            json!({ "access_token": null }),
            json!({ "access_token": { "acrs": "c1", "nbf": [1], "ACRS": null } }),
            json!({ "acrs": { "value": "c1" } }),
        ] {
            assert_eq!(passed(&nothing), None, "{nothing}");
        }
        for no_object in ["", "1", "[]", "\"{}\"", "{"] {
            assert!(of_client(no_object).is_err(), "{no_object}");
        }
    }

    #[test]
    fn what_is_no_object_is_not_merged() {
        assert_eq!(merged("[]", "{}"), None);
        assert_eq!(merged("{}", "x"), None);
    }

    #[test]
    fn what_was_sent_carries_what_it_has_all_of() {
        let demanded = r#"{"access_token":{"acrs":{"value":"c2"}}}"#;
        assert!(!carries(None, demanded));
        assert!(!carries(Some("{}"), demanded));
        assert!(!carries(
            Some(r#"{"access_token":{"acrs":{"value":"c1"}}}"#),
            demanded
        ));
        assert!(carries(Some(demanded), demanded));
        let more = r#"{ "access_token": {"nbf":null, "acrs":{"value":"c2"}}, "id_token":{} }"#;
        assert!(carries(Some(more), demanded));
    }
}
