use super::*;
use nself_sync_engine::event::{Event, What};
use serde_json::{Value, json};

fn ann() -> User {
    User { account: "primary".into(), id: "ann".into() }
}

/// The news of a push by `desktop`.
fn push(seq: u64) -> News {
    let what = What::StateUpdated { seq, keys: vec!["n".into()] };
    News { events: vec![Event { id: format!("id-{seq}"), by: "desktop".into(), what }], ended: None }
}

fn ended(ended: Ended) -> News {
    News { events: Vec::new(), ended: Some(ended) }
}

/// What is next, if anything is.
fn now(seat: &Seat) -> Option<Next> {
    seat.inbox.waiting().take()
}

fn message(seat: &Seat) -> Value {
    match now(seat) {
        Some(Next::Message(text)) => serde_json::from_str(&text).unwrap(),
        other => panic!("no message: {other:?}"),
    }
}

#[test]
fn others_hear_of_a_push_and_the_device_itself_and_strangers_do_not() {
    let hub = Arc::new(Hub::default());
    let bob = User { id: "bob".into(), ..ann() };
    let same_id = User { account: "app2".into(), ..ann() };
    let [own, other] = ["desktop", "mobile"].map(|id| hub.join(&ann(), id).unwrap());
    let strangers = [bob, same_id].map(|user| hub.join(&user, "mobile").unwrap());
    hub.tell(&ann(), &push(7));
    assert_eq!(message(&other)["seq"], 7);
    assert!([&own, &other].into_iter().chain(&strangers).all(|seat| now(seat).is_none()));
}

#[test]
fn a_slow_reader_has_a_bounded_queue_and_is_told_to_pull() {
    let hub = Arc::new(Hub::default());
    let [slow, quick] = ["mobile", "web"].map(|id| hub.join(&ann(), id).unwrap());
    for seq in 1..=1000 {
        hub.tell(&ann(), &push(seq));
        assert_eq!(message(&quick)["seq"], seq);
        assert!(slow.inbox.waiting().messages.len() <= WAITING_MAX);
    }
    assert_eq!(message(&slow), json!({ "event": "sync.pull" }));
    assert_eq!(now(&slow), None, "it covers all that was before");
    hub.tell(&ann(), &push(1001));
    assert_eq!(message(&slow)["seq"], 1001);
}

#[test]
fn a_full_queue_is_still_a_queue() {
    let hub = Arc::new(Hub::default());
    let seat = hub.join(&ann(), "mobile").unwrap();
    (1..=WAITING_MAX as u64).for_each(|seq| hub.tell(&ann(), &push(seq)));
    for seq in 1..=WAITING_MAX {
        assert_eq!(message(&seat)["seq"], seq);
    }
}

#[test]
fn what_ends_a_device_ends_its_connections_alone_and_before_all_else() {
    let hub = Arc::new(Hub::default());
    let [first, second, other] = ["mobile", "mobile", "web"].map(|id| hub.join(&ann(), id).unwrap());
    hub.tell(&ann(), &push(1));
    hub.tell(&ann(), &ended(Ended::Replaced("mobile".into())));
    assert_eq!(now(&first), Some(Next::Prove));
    assert_eq!(message(&first)["seq"], 1);
    hub.tell(&ann(), &ended(Ended::Removed("mobile".into())));
    for seat in [&first, &second] {
        assert_eq!(now(seat), Some(Next::End(End::Removed)));
    }
    assert_eq!(message(&other)["seq"], 1);
    assert_eq!(now(&other), None);
}

#[test]
fn places_are_counted_by_device_and_by_user_and_are_free_again() {
    let hub = Arc::new(Hub::default());
    let mut seats = Vec::new();
    for device in 0..USER_MAX / DEVICE_MAX {
        let id = device.to_string();
        seats.extend((0..DEVICE_MAX).map(|_| hub.join(&ann(), &id).unwrap()));
        assert_eq!(hub.join(&ann(), &id).err(), Some(DEVICE_MAX));
    }
    assert_eq!(hub.join(&ann(), "one-more").err(), Some(USER_MAX));
    seats.pop();
    assert!(hub.join(&ann(), "one-more").is_ok());
}

#[tokio::test]
async fn a_stop_ends_everybody_and_waits_until_they_have_left() {
    let hub = Arc::new(Hub::default());
    let seat = hub.join(&ann(), "mobile").unwrap();
    hub.stop();
    assert_eq!(seat.next().await, Next::End(End::Stopping));
    assert_eq!(seat.ended().await, End::Stopping);
    let late = hub.join(&ann(), "web").unwrap();
    assert_eq!(late.next().await, Next::End(End::Stopping));
    let leaving = tokio::spawn(async move {
        tokio::task::yield_now().await;
        drop((seat, late));
    });
    hub.emptied().await;
    leaving.await.unwrap();
}
