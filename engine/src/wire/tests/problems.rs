use super::*;
use crate::error::ConflictBrief;

/// Every reject, with the status that PROTOCOL section 9 gives it. A new one does not compile until it is here.
fn status_of(reject: &Reject) -> u16 {
    match reject {
        Reject::MalformedJson(_) | Reject::InvalidField { .. } => 400,
        Reject::InvalidResolution | Reject::ContentRequired => 400,
        Reject::Unauthorized(_) => 401,
        Reject::DeviceMismatch | Reject::DeviceRevoked | Reject::UserTokenRequired => 403,
        Reject::TooManyDevices { .. } => 403,
        Reject::NotFound(_) => 404,
        Reject::MethodNotAllowed(_) => 405,
        Reject::DeviceForked | Reject::StalePush { .. } | Reject::SeqAhead { .. } | Reject::EpochChanged => {
            409
        }
        Reject::ConflictsUnresolved(_) | Reject::ConflictMoved { .. } | Reject::ConflictResolved { .. } => {
            409
        }
        Reject::BodyTooLarge { .. } | Reject::TooManyKeys { .. } | Reject::TooMuchTouched { .. } => 413,
        Reject::SlowBody => 408,
        Reject::UnsupportedEncoding(_) => 415,
        Reject::PlaintextEnv => 422,
        Reject::UnsupportedProtocol | Reject::UpgradeRequired => 426,
        Reject::TooManyConnections { .. } | Reject::RateLimited { .. } => 429,
        Reject::QuotaExceeded { .. } => 507,
        Reject::Transfer(_) => 409,
        Reject::Moved => 410,
        Reject::Importing => 503,
    }
}

pub(super) fn rejects() -> Vec<Reject> {
    let side = Some((Hash::of(b"x"), 1));
    let key = "context_pages/p1".to_owned();
    let brief = ConflictBrief { id: "c1".into(), key, base: None, mine: side, theirs: side };
    vec![
        Reject::MalformedJson("it ends early".into()),
        Reject::InvalidField { field: "seq".into(), detail: "it is missing".into() },
        Reject::InvalidResolution,
        Reject::ContentRequired,
        Reject::Unauthorized("no token"),
        Reject::DeviceMismatch,
        Reject::DeviceRevoked,
        Reject::UserTokenRequired,
        Reject::TooManyDevices { max: 100 },
        Reject::NotFound("conflict"),
        Reject::MethodNotAllowed("GET"),
        Reject::DeviceForked,
        Reject::StalePush { last: 17 },
        Reject::SeqAhead { head: 3 },
        Reject::EpochChanged,
        Reject::ConflictsUnresolved(vec![brief]),
        Reject::ConflictMoved { theirs: Some(Hash::of(b"x")) },
        Reject::ConflictResolved { device_id: None, at: timestamp(0), resolution: "mine".into() },
        Reject::BodyTooLarge { max: 8 },
        Reject::TooManyKeys { count: 2, max: 1 },
        Reject::TooMuchTouched { bytes: 2, max: 1 },
        Reject::UnsupportedEncoding("gzip"),
        Reject::PlaintextEnv,
        Reject::UnsupportedProtocol,
        Reject::SlowBody,
        Reject::UpgradeRequired,
        Reject::TooManyConnections { max: 8 },
        Reject::Transfer("the user has a history here".into()),
        Reject::Moved,
        Reject::Importing,
        Reject::RateLimited { retry_after_s: 3 },
        Reject::QuotaExceeded { of: "are stored", bytes: 2, max: 1 },
    ]
}

#[test]
fn every_reject_has_the_status_of_the_protocol_and_a_code_of_its_own() {
    let mut codes = std::collections::BTreeSet::new();
    for reject in rejects() {
        let Problem { status, body, .. } = problem(&reject, "r1");
        assert_eq!((status, &body["status"]), (status_of(&reject), &json!(status)), "{reject:?}");
        for member in ["type", "title", "detail", "code"] {
            assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{member} of {reject:?}");
        }
        let retryable = json!(matches!(
            reject,
            Reject::SlowBody
                | Reject::TooManyConnections { .. }
                | Reject::RateLimited { .. }
                | Reject::Importing
        ));
        assert_eq!((&body["request_id"], &body["retryable"]), (&json!("r1"), &retryable));
        assert!(codes.insert(body["code"].to_string()), "{body}");
    }
    let named = [
        "invalid_resolution",
        "content_required",
        "device_mismatch",
        "device_revoked",
        "user_token_required",
    ];
    let named = named.iter().chain(&[
        "too_many_devices",
        "device_forked",
        "stale_push",
        "seq_ahead",
        "epoch_changed",
    ]);
    let named = named.chain(&["rate_limited", "quota_exceeded"]);
    for code in named.chain(&["conflicts_unresolved", "conflict_moved", "conflict_resolved", "plaintext_env"])
    {
        assert!(codes.contains(&json!(code).to_string()), "{code}");
    }
}

#[test]
fn a_conflict_in_an_error_carries_hashes_and_no_content() {
    let shown = problem(&rejects()[15], "r1").body["conflicts"][0].clone();
    let side = json!({ "hash": Hash::of(b"x"), "size": 1 });
    let whole = json!({
        "id": "c1", "collection": "context_pages", "file_path": "p1", "base": null, "mine": side, "theirs": side,
    });
    assert_eq!(shown, whole);
}

#[test]
fn what_a_client_can_act_on_is_a_header_or_a_member() {
    let header = |reject: Reject| problem(&reject, "r1").headers;
    assert_eq!(header(Reject::MethodNotAllowed("GET")), [("allow", "GET".to_owned())]);
    assert_eq!(header(Reject::UnsupportedEncoding("gzip")), [("accept-encoding", "gzip".to_owned())]);
    assert_eq!(header(Reject::Unauthorized("x")), [("www-authenticate", "Bearer".to_owned())]);
    assert_eq!(problem(&Reject::SeqAhead { head: 3 }, "r1").body["head"], 3);
    assert_eq!(problem(&Reject::StalePush { last: 17 }, "r1").body["push_no"], 17);
    assert_eq!(header(Reject::SlowBody), [("connection", "close".to_owned())]);
    assert_eq!(header(Reject::RateLimited { retry_after_s: 3 }), [("retry-after", "3".to_owned())]);
    for away in [unavailable("r1"), busy("r1")] {
        assert_eq!((away.status, &away.body["retryable"]), (503, &json!(true)));
        assert!(away.headers.iter().any(|(name, _)| *name == "retry-after"));
    }
    assert_eq!(header(Reject::Importing), [("retry-after", "5".to_owned())]);
    assert_eq!(internal("r1").status, 500);
}
