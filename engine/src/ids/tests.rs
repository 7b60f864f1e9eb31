use super::*;

#[test]
fn a_hash_is_sha_256_in_hex() {
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(Hash::of(b"").to_string(), empty);
    assert_eq!(Hash::parse(empty), Some(Hash::of(b"")));
    assert_eq!(Hash::parse(&empty.to_uppercase()), Some(Hash::of(b"")));
    assert_eq!(serde_json::json!(Hash::of(b"")), empty);
    assert_eq!(Hash::of(b"").prefix(), 0xe3b0_c442_98fc, "an integer to JavaScript as well");
}

#[test]
fn what_is_not_hex_of_the_right_length_is_no_hash() {
    let hex = Hash::of(b"").to_string();
    let short = hex.get(..63).expect("longer").to_owned();
    for text in [
        String::new(),
        short.clone(),
        format!("{hex}0"),
        format!("{short}g"),
        format!("{short}+"),
        "é".repeat(32),
    ] {
        assert_eq!(Hash::parse(&text), None, "{text}");
    }
    assert_eq!(
        Tag::parse("0123456789abcdef").map(|tag| tag.to_string()),
        Some("0123456789abcdef".to_owned())
    );
    assert_eq!(Tag::parse("0123456789abcde"), None);
}

#[test]
fn the_tag_of_a_history_depends_on_all_that_was_ever_in_it() {
    let start = Tag::initial("epoch");
    let after = start.next(1, "a", 1000, "{}").next(2, "b", 2000, "{}");
    assert_eq!(after, start.next(1, "a", 1000, "{}").next(2, "b", 2000, "{}"));
    let others = [
        Tag::initial("another").next(1, "a", 1000, "{}").next(2, "b", 2000, "{}"),
        start.next(1, "a", 1000, r#"{"n":1}"#).next(2, "b", 2000, "{}"),
        start.next(1, "c", 1000, "{}").next(2, "b", 2000, "{}"),
        start.next(1, "a", 1001, "{}").next(2, "b", 2000, "{}"),
        start.next(2, "b", 2000, "{}").next(1, "a", 1000, "{}"),
        start.next(1, "a", 1000, "{}").next(3, "b", 2000, "{}"),
        start.next(1, "a", 1000, "{}"),
        // A device id and a diff that only together read the same.
        start.next(1, "a", 1000, "{}").next(2, "b{", 2000, "}"),
    ];
    for other in others {
        assert_ne!(after, other);
    }
}

#[test]
fn tags_stay_as_they_were_given_out() {
    // Clients hold these: another way to compute them would send every device a snapshot.
    assert_eq!(Tag::initial("e").to_string(), "3f79bb7b435b0532");
    assert_eq!(Tag::initial("e").next(1, "a", 1000, r#"{"n":1}"#).to_string(), "184fa75b29eed542");
}

#[test]
fn a_platform_is_the_clients_word_or_the_prefix_of_its_id() {
    let cases = [
        (Some("desktop"), "x", Platform::Desktop),
        (Some("macOS"), "x", Platform::Desktop),
        (Some("windows"), "web-1", Platform::Desktop),
        (Some("linux"), "x", Platform::Desktop),
        (Some("ios"), "x", Platform::Mobile),
        (Some("android"), "x", Platform::Mobile),
        (Some("web"), "x", Platform::Web),
        (Some("fridge"), "mobile-1", Platform::Mobile),
        (None, "desktop-abc123", Platform::Desktop),
        (None, "web_1", Platform::Web),
        (None, "ios:1", Platform::Mobile),
        (None, "webbed-1", Platform::Unknown),
        (None, "", Platform::Unknown),
    ];
    for (word, id, platform) in cases {
        assert_eq!(Platform::of(word, id), platform, "{word:?} {id}");
    }
}

#[test]
fn what_is_derived_under_different_names_differs() {
    let fresh = Fresh([1; 32]);
    assert_eq!(fresh.id("a"), Fresh([1; 32]).id("a"));
    assert_ne!(fresh.id("a"), fresh.id("b"));
    assert_ne!(fresh.id("a"), Fresh([2; 32]).id("a"));
    assert_eq!(fresh.epoch().len(), 32);
    assert!(!hex(&fresh.derive("a")).contains(&hex(&fresh.0)));
}
