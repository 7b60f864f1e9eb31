use super::*;
use proptest::prelude::*;

const SECRET: [u8; 32] = [7; 32];

fn user() -> User {
    User { account: "primary".to_owned(), id: "u/1.é".to_owned() }
}

fn token() -> String {
    render(&user(), "desktop-1", &SECRET)
}

#[test]
fn a_token_names_its_device_and_proves_its_secret() {
    let Some(Caller::Device { user: whose, device_id, secret }) = parse(&token()) else {
        panic!("a device's token is read");
    };
    assert_eq!((whose, device_id.as_str()), (user(), "desktop-1"));
    assert_eq!(secret, Hash::of(&SECRET));
    assert!(is_sync_token(&token()));
}

#[test]
fn a_token_fits_a_header_and_does_not_look_like_a_jwt() {
    assert!(token().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte)));
    assert!(!is_sync_token("eyJhbGciOiJIUzI1NiJ9.e30.sig"));
}

#[test]
fn what_is_no_token_is_not_read() {
    let whole = token();
    let (route, secret) = whole.split_once('.').expect("two parts");
    let long = User { account: "a".to_owned(), id: "u".repeat(PART_BYTES_MAX + 1) };
    let control = User { account: "a".to_owned(), id: "u\n".to_owned() };
    let none = [
        String::new(),
        "nst_".to_owned(),
        "nst_.".to_owned(),
        whole.replace("nst_", ""),
        format!("{route}."),
        format!("{route}.{}", secret.get(..40).expect("longer")),
        format!("{route}.{secret}A"),
        format!("{route}.{secret}="),
        format!("{route}A.{secret}"),
        format!("{}.{secret}", route.get(..route.len() - 2).expect("longer")),
        format!("{whole}.{secret}"),
        render(&long, "d", &SECRET),
        render(&control, "d", &SECRET),
        render(&user(), "", &SECRET),
    ];
    for text in none {
        assert_eq!(parse(&text), None, "{text}");
    }
}

#[test]
fn secrets_are_the_same_only_when_every_byte_is() {
    let hash = Hash::of(&SECRET);
    assert!(same(&hash, &Hash::of(&SECRET)));
    for at in 0..32 {
        let mut other = hash;
        other.0[at] ^= 1;
        assert!(!same(&hash, &other), "byte {at}");
    }
}

proptest! {
    #[test]
    fn every_token_is_read_back(account in "\\PC{1,20}", id in "\\PC{1,40}", device in "\\PC{1,30}", secret: [u8; 32]) {
        let user = User { account, id };
        let claim = parse(&render(&user, &device, &secret));
        prop_assert_eq!(claim, Some(Caller::Device { user, device_id: device, secret: Hash::of(&secret) }));
    }

    #[test]
    fn no_text_breaks_the_reader(text in "nst_[A-Za-z0-9_.-]{0,90}") {
        let _ = parse(&text);
    }
}
