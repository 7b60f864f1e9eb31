use super::*;
use crate::live::{Next, Seat};
use futures_util::FutureExt;

fn ann() -> User {
    User { account: "primary".into(), id: "ann".into() }
}

fn push(seq: Seq) -> News {
    News { events: vec![Event::updated(format!("id-{seq}"), "desktop".into(), seq)], ended: None }
}

/// What `from` has to send, heard by `to`.
fn carry(from: &Relay, to: &Relay) {
    let notices = std::mem::take(&mut from.waiting().notices);
    notices.iter().for_each(|notice| to.hear(notice));
}

fn next(seat: &Seat) -> Option<String> {
    seat.next().now_or_never().map(|next| match next {
        Next::Message(text) => text.to_string(),
        other => format!("{other:?}"),
    })
}

#[test]
fn another_process_is_told_what_is_new_and_this_one_once() {
    let [here, there] = [(); 2].map(|()| Relay::new().unwrap());
    let [near, far] = [&here, &there].map(|relay| relay.hub().join(&ann(), "mobile").unwrap());
    here.tell(&ann(), &push(7));
    let notices = here.waiting().notices.clone();
    notices.iter().for_each(|notice| here.hear(notice));
    carry(&here, &there);
    assert!(next(&near).unwrap().contains(r#""seq":7"#));
    assert!(next(&far).unwrap().contains(r#""keys":[]"#));
    assert_eq!((next(&near), next(&far)), (None, None));
}

#[test]
fn what_ends_a_device_reaches_it_wherever_it_hangs() {
    let [here, there] = [(); 2].map(|()| Relay::new().unwrap());
    let far = there.hub().join(&ann(), "mobile").unwrap();
    for (ended, expected) in [
        (Ended::Replaced("mobile".into()), "Prove"),
        (Ended::Removed("web".into()), "nothing"),
        (Ended::Removed("mobile".into()), "End(Removed)"),
    ] {
        here.tell(&ann(), &News { events: Vec::new(), ended: Some(ended) });
        carry(&here, &there);
        assert_eq!(next(&far).unwrap_or("nothing".into()), expected);
    }
}

#[test]
fn notices_that_wait_for_postgres_are_bounded() {
    let [here, there] = [(); 2].map(|()| Relay::new().unwrap());
    let bob = User { id: "bob".into(), ..ann() };
    let far = there.hub().join(&bob, "mobile").unwrap();
    for seq in 0..3 * WAITING_MAX as u64 {
        here.tell(&ann(), &push(seq));
        assert!(here.waiting().notices.len() <= WAITING_MAX);
    }
    carry(&here, &there);
    assert_eq!(next(&far).as_deref(), Some("Prove"), "anything may have happened to anybody");
    assert!(next(&far).unwrap().contains("sync.pull"));
}

#[test]
fn what_cannot_be_read_means_that_something_happened() {
    let relay = Relay::new().unwrap();
    let seat = relay.hub().join(&ann(), "mobile").unwrap();
    relay.hear(r#"{"origin": "later", "told": "Unheard"}"#);
    assert_eq!(next(&seat).as_deref(), Some("Prove"));
}

#[test]
fn a_notice_is_small_whoever_it_is_about() {
    let relay = Relay::new().unwrap();
    let id = "\"".repeat(256);
    let user = User { account: id.clone(), id };
    let by = "\"".repeat(128);
    relay.send(Some(&user), Told::Updated { id: "x".repeat(40), by, seq: u64::MAX });
    assert!(relay.waiting().notices.iter().all(|notice| notice.len() < 2000));
}
