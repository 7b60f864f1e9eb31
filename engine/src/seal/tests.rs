use super::*;
use crate::{call::Call, policy::Policy, wire};

const USER: &str = "7f1c";
const AUTH: &[u8] = b"a secret of the user's, 32 bytes";
const NONCE: Nonce = [3; 24];

fn auth() -> Secret<'static> {
    Secret::Auth(AUTH)
}

fn fresh(seed: u8) -> Fresh {
    Fresh { salt: [seed; 16], nonce: [seed; 24] }
}

fn key() -> Key {
    Zeroizing::new([9; 32])
}

fn variables() -> Variables {
    [("DATABASE_URL", "postgres://u:p@db/x"), ("TOKEN", "tök\"en\n")].map(owned).into()
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn made() -> OpenBox {
    OpenBox::new(USER, variables(), key(), NONCE, "auth", &auth(), &fresh(1)).expect("a box")
}

fn open(value: &Value, secret: &Secret<'_>) -> Result<Variables, SealError> {
    OpenBox::open(USER, value, secret, None).map(|open| open.variables().clone())
}

/// Changes one bit of a field's bytes.
fn flip(field: &mut Value, at: usize) {
    let mut bytes = STANDARD.decode(field.as_str().expect("text")).expect("base64");
    bytes[at] ^= 1;
    *field = json!(STANDARD.encode(bytes));
}

#[test]
fn what_was_sealed_is_opened() {
    let value = made().render();
    assert_eq!(open(&value, &auth()), Ok(variables()));
    let none = OpenBox::new(USER, Variables::new(), key(), NONCE, "a", &auth(), &fresh(1)).expect("a box");
    assert_eq!(open(&none.render(), &auth()), Ok(Variables::new()));
}

#[test]
fn nothing_of_the_variables_or_the_secret_shows() {
    let text = made().render().to_string();
    assert!(!text.contains("DATABASE") && !text.contains(&STANDARD.encode(AUTH)), "{text}");
}

/// The second wrap is a passphrase's, the third a recovery code's.
fn with_three_wraps(code: &str) -> OpenBox {
    let mut open = made();
    open.add_wrap("phrase", &Secret::Passphrase("correct horse"), &fresh(4)).expect("a wrap");
    open.add_wrap("paper", &Secret::Recovery(code), &fresh(5)).expect("a wrap");
    open
}

#[test]
fn each_secret_opens_the_box_by_its_own_wrap() {
    let code = recovery_code(&[7; 20]);
    let open_box = with_three_wraps(&code);
    let value = open_box.render();
    assert_eq!(open_box.kids().collect::<Vec<_>>(), ["auth", "phrase", "paper"]);
    let typed = code.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l");
    let typed = Secret::Recovery(&typed);
    for secret in [auth(), Secret::Passphrase("correct horse"), Secret::Recovery(&code), typed] {
        assert_eq!(open(&value, &secret), Ok(variables()));
    }
    let by = |kid| OpenBox::open(USER, &value, &auth(), Some(kid)).err();
    assert_eq!(
        (by("auth"), by("paper"), by("other")),
        (None, Some(SealError::NoWrap), Some(SealError::NoWrap))
    );
}

#[test]
fn another_secret_does_not_open_the_box() {
    let value = with_three_wraps(&recovery_code(&[7; 20])).render();
    let other = recovery_code(&[8; 20]);
    let wrong =
        [Secret::Auth(b"a secret of another's, 32 bytes!"), Secret::Passphrase(""), Secret::Recovery(&other)];
    let [auth, empty, code] = wrong.map(|secret| open(&value, &secret).err());
    assert_eq!((auth, code), (Some(SealError::WrongKey), Some(SealError::WrongKey)));
    assert!(matches!(empty, Some(SealError::InvalidSecret(_))));
    assert_eq!(open(&value, &Secret::Passphrase("correct Horse")), Err(SealError::WrongKey));
    assert_eq!(open(&made().render(), &Secret::Recovery(&other)), Err(SealError::NoWrap));
    // The same bytes as another kind of secret are another secret.
    let mut value = value;
    value["wraps"] = json!([value["wraps"][2]]);
    value["wraps"][0]["kdf"] = json!("hkdf-sha256");
    assert_eq!(open(&value, &Secret::Auth(&[7; 20])), Err(SealError::WrongKey));
}

#[test]
fn secrets_that_cannot_be_are_refused() {
    let mut open = made();
    for secret in [
        Secret::Auth(b"short"),
        Secret::Passphrase(""),
        Secret::Recovery(""),
        Secret::Recovery("0000-0000-0000-0000-0000-0000-0000-000"),
        Secret::Recovery("0000-0000-0000-0000-0000-0000-0000-0000-0"),
        Secret::Recovery("U000-0000-0000-0000-0000-0000-0000-0000"),
        Secret::Recovery("é000-0000-0000-0000-0000-0000-0000-0000"),
    ] {
        let refused = open.add_wrap("k", &secret, &fresh(6));
        assert!(matches!(refused, Err(SealError::InvalidSecret(_))), "{refused:?}");
    }
    assert_eq!(open.kids().count(), 1);
}

#[test]
fn a_flipped_bit_is_seen_wherever_it_is() {
    let value = made().render();
    let sealed = STANDARD.decode(value["ct"].as_str().expect("text")).expect("base64").len();
    for (field, length) in [("nonce", 24), ("ct", sealed)] {
        for at in 0..length {
            let mut value = value.clone();
            flip(&mut value[field], at);
            assert_eq!(open(&value, &auth()), Err(SealError::Damaged), "{field} {at}");
        }
    }
    for (field, length) in [("salt", 16), ("nonce", 24), ("ct", 48)] {
        for at in 0..length {
            let mut value = value.clone();
            flip(&mut value["wraps"][0][field], at);
            assert_eq!(open(&value, &auth()), Err(SealError::WrongKey), "wrap's {field} {at}");
        }
    }
    let mut renamed = value.clone();
    renamed["wraps"][0]["kid"] = json!("other");
    assert_eq!(open(&renamed, &auth()), Err(SealError::WrongKey));
}

#[test]
fn bytes_that_are_cut_or_no_base64_are_damage() {
    for (field, text) in [("nonce", "AAAA"), ("nonce", "?"), ("ct", "?"), ("ct", ""), ("ct", "AAAA")] {
        let mut value = made().render();
        value[field] = json!(text);
        assert_eq!(open(&value, &auth()), Err(SealError::Damaged), "{field} {text}");
    }
    for (field, text) in [("salt", "AAAA"), ("salt", "?"), ("nonce", ""), ("ct", "AAAA")] {
        let mut value = made().render();
        value["wraps"][0][field] = json!(text);
        assert_eq!(open(&value, &auth()), Err(SealError::Damaged), "wrap's {field} {text}");
    }
}

#[test]
fn a_box_opens_for_its_user_only() {
    let value = made().render();
    let other = OpenBox::open("7f1d", &value, &auth(), None).err();
    assert_eq!(other, Some(SealError::WrongKey));
    // Also where the data key is known: the variables are bound to the user as well.
    let sealed = seal(USER, &key(), &NONCE, &variables()).expect("sealed");
    assert_eq!(unseal("7f1d", &key(), &NONCE, &sealed), Err(SealError::Damaged));
}

#[test]
fn a_wrap_of_another_box_does_not_open_this_one() {
    let other = OpenBox::new(USER, variables(), Key::default(), NONCE, "auth", &auth(), &fresh(2));
    let mut value = made().render();
    value["wraps"] = other.expect("a box").render()["wraps"].clone();
    assert_eq!(open(&value, &auth()), Err(SealError::Damaged));
}

#[test]
fn another_version_cipher_or_cost_is_not_guessed_at() {
    for (field, text, error) in [
        ("v", json!(2), SealError::UnknownVersion),
        ("v", json!(-1), SealError::UnknownVersion),
        ("v", json!("1"), SealError::NotABox),
        ("alg", json!("aes-256-gcm"), SealError::UnknownAlg),
    ] {
        let mut value = made().render();
        value[field] = text.clone();
        assert_eq!(open(&value, &auth()), Err(error), "{field} {text}");
    }
    let bound = String::from_utf8(bound("box", "", USER)).expect("text");
    assert_eq!(bound, "nself-sync env 1 xchacha20poly1305 box\0\x007f1c");
    let mut value = with_three_wraps(&recovery_code(&[7; 20])).render();
    value["wraps"][1]["m"] = json!(u32::MAX);
    assert_eq!(open(&value, &Secret::Passphrase("correct horse")), Err(SealError::UnknownAlg));
    assert_eq!(open(&value, &auth()), Ok(variables()), "the other wraps still open it");
}

#[test]
fn what_is_no_box_is_said_to_be_none() {
    let whole = made().render();
    let mut many = whole.clone();
    many["wraps"] = json!(vec![whole["wraps"][0].clone(); WRAPS_MAX + 1]);
    let mut values =
        vec![json!(null), json!("sealed"), json!([]), json!({}), json!({"v": 1, "wraps": []}), many];
    for field in ["v", "alg", "wraps", "nonce", "ct"] {
        let mut value = whole.clone();
        value[field] = json!({});
        values.push(value);
    }
    for value in values {
        assert_eq!(open(&value, &auth()), Err(SealError::NotABox), "{value}");
    }
    let mut odd = whole;
    odd["wraps"] = json!([1, null, {"kdf": "hkdf-sha256"}, {"kid": "x", "kdf": 1}]);
    assert_eq!(open(&odd, &auth()), Err(SealError::NoWrap));
}

#[test]
fn a_wrap_is_added_replaced_and_removed_without_sealing_anew() {
    let before = made().render();
    let mut open_box = OpenBox::open(USER, &before, &auth(), None).expect("open");
    let next = Secret::Auth(b"the next secret, of 32 bytes too");
    open_box.add_wrap("next", &next, &fresh(6)).expect("a wrap");
    let both = open_box.render();
    assert_eq!((&both["ct"], &both["nonce"]), (&before["ct"], &before["nonce"]));
    assert_eq!((open(&both, &auth()), open(&both, &next)), (Ok(variables()), Ok(variables())));

    open_box.remove_wrap("auth").expect("removed");
    let after = open_box.render();
    assert_eq!(open(&after, &auth()), Err(SealError::WrongKey));
    assert_eq!(open(&after, &next), Ok(variables()));
    assert_eq!(open_box.remove_wrap("auth"), Err(SealError::NoWrap));
    assert_eq!(open_box.remove_wrap("next"), Err(SealError::LastWrap));

    open_box.add_wrap("next", &auth(), &fresh(7)).expect("replaced");
    assert_eq!(open_box.kids().collect::<Vec<_>>(), ["next"]);
    assert_eq!(open(&open_box.render(), &auth()), Ok(variables()));
}

#[test]
fn wraps_that_this_version_does_not_know_stay() {
    let mut value = made().render();
    let unknown = json!({"kid": "yubikey", "kdf": "of-tomorrow", "x": [1]});
    value["wraps"].as_array_mut().expect("wraps").push(unknown.clone());
    let mut open_box = OpenBox::open(USER, &value, &auth(), None).expect("open");
    open_box.replace(variables(), [8; 24]).expect("sealed");
    assert_eq!(open_box.render()["wraps"][1], unknown);
}

#[test]
fn changed_variables_are_sealed_under_the_same_wraps() {
    let code = recovery_code(&[7; 20]);
    let before = with_three_wraps(&code).render();
    let mut open_box = OpenBox::open(USER, &before, &auth(), None).expect("open");
    let changed: Variables = [("TOKEN", "new")].map(owned).into();
    open_box.replace(changed.clone(), [4; 24]).expect("sealed");
    let after = open_box.render();
    assert_eq!(before["wraps"], after["wraps"]);
    assert_ne!(before["ct"], after["ct"]);
    assert_eq!(
        (open(&after, &auth()), open(&after, &Secret::Recovery(&code))),
        (Ok(changed.clone()), Ok(changed))
    );
}

#[test]
fn a_full_box_is_one_that_hosts_take() {
    let large = |bytes: usize| -> Variables { [("A".to_owned(), "x".repeat(bytes))].into() };
    let mut open_box = made();
    open_box.replace(large(VARIABLES_BYTES_MAX - 8), NONCE).expect("sealed");
    for at in 1..WRAPS_MAX {
        let kid = format!("{at:0>2}{}", "\"".repeat(254));
        open_box.add_wrap(&kid, &auth(), &fresh(1)).expect("a wrap");
    }
    assert_eq!(open_box.add_wrap("more", &auth(), &fresh(1)), Err(SealError::TooManyWraps));
    let policy = Policy::default();
    let value = open_box.render();
    assert!(value.to_string().len() <= policy.env_bytes_max);
    let body = json!({"device_id": "d", "seq": 0, "state": {"env_encrypted": value}}).to_string();
    let Ok(Call::Push(push)) = wire::push(body.as_bytes(), &policy) else { panic!("a push is read") };
    assert!(push.rejected.is_empty());

    assert_eq!(open_box.replace(large(VARIABLES_BYTES_MAX), NONCE), Err(SealError::TooLarge));
    assert_eq!(open_box.variables(), &large(VARIABLES_BYTES_MAX - 8), "and nothing changed");
    assert_eq!(open_box.add_wrap("a/b", &auth(), &fresh(1)), Err(SealError::InvalidKid));
}

/// Baked once, and opened by an implementation of its own (the RFCs in Python) from section 11 alone.
#[test]
fn a_box_of_today_opens_tomorrow() {
    let baked = include_str!("testdata/box.json");
    let value: Value = serde_json::from_str(baked).expect("JSON");
    let code = recovery_code(&[7; 20]);
    assert_eq!(*code, *"0W3G-E1R7-0W3G-E1R7-0W3G-E1R7-0W3G-E1R7");
    for secret in [auth(), Secret::Passphrase("correct horse"), Secret::Recovery(&code)] {
        assert_eq!(open(&value, &secret), Ok(variables()));
    }
    assert_eq!(with_three_wraps(&code).render(), value);
}

#[test]
fn errors_say_what_is_wrong_in_a_word_and_in_a_line() {
    let error = SealError::InvalidSecret("a passphrase is not empty");
    assert_eq!((error.code(), error.to_string().as_str()), ("invalid_secret", "a passphrase is not empty"));
}
