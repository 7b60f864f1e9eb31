use super::*;
use serde_json::json;

/// A replica, a journal that keeps what it writes, and a host that answers as it is told.
struct World {
    replica: Replica,
    journal: BTreeMap<String, Vec<u8>>,
    now: Millis,
}

impl World {
    fn new() -> World {
        let replica = Replica::open("web-1", Platform::Web, []).unwrap();
        World { replica, journal: BTreeMap::new(), now: 1000 }
    }

    /// One that is registered, at seq 3, with `files/a` as "one\ntwo\n" and `n` as 1.
    fn registered() -> World {
        let mut world = World::new();
        let state = json!({ "n": 1, "files": { "a": { "content": "one\ntwo\n", "seq": 2 } } });
        let request = world.ask(Kind::Push);
        world.answer(&request, 200, pushed(3, json!({}), state));
        world.now += 60_000;
        world
    }

    fn persist(&mut self) {
        while let Some(batch) = self.replica.take_writes() {
            for (name, value) in batch.writes {
                match value {
                    Some(value) => drop(self.journal.insert(name, value)),
                    None => drop(self.journal.remove(&name)),
                }
            }
            self.replica.written(batch.no);
        }
    }

    fn poll(&mut self) -> Option<Request> {
        self.persist();
        let request = self.replica.poll_request(self.now);
        self.persist();
        request.or_else(|| self.replica.poll_request(self.now))
    }

    #[track_caller]
    fn ask(&mut self, kind: Kind) -> Request {
        let request = self.poll().expect("a request is due");
        assert_eq!(request.kind, kind);
        request
    }

    fn answer(&mut self, request: &Request, status: u16, body: Value) {
        let body = body.to_string();
        self.replica.handle_reply(request.id, (status, body.as_bytes()), None, self.now, 0.0);
        self.persist();
    }

    /// The tab crashes and is opened again.
    fn reopen(&mut self) {
        let records = self.journal.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        self.replica = Replica::open("web-other", Platform::Web, records).unwrap();
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.replica.content(key).map(|content| std::str::from_utf8(content).unwrap())
    }

    fn write(&mut self, key: &str, text: &str) {
        self.replica.write(key, text.into(), self.now).unwrap();
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.replica.poll_event()).collect()
    }
}

fn changes(seq: u64, state: Value) -> Value {
    json!({ "kind": "delta", "seq": seq, "epoch": "e", "tag": format!("{seq:016x}"), "state": state })
}

fn pushed(seq: u64, results: Value, state: Value) -> Value {
    json!({
        "seq": seq, "epoch": "e", "tag": format!("{seq:016x}"), "sync_token": "nst_x", "results": results,
        "conflicts": [], "conflicts_open": 0, "changes": changes(seq, state), "policy": Policy::default().to_json(),
    })
}

fn pulled(seq: u64, state: Value) -> Value {
    let mut reply = changes(seq, state);
    reply["conflicts_open"] = json!(0);
    reply
}

fn problem(code: &str) -> Value {
    json!({ "type": format!("urn:nself-sync:problem:{code}"), "code": code })
}

fn body(request: &Request) -> Value {
    serde_json::from_str(request.body.as_deref().unwrap()).unwrap()
}

#[test]
fn a_push_is_stored_before_it_is_sent() {
    let mut world = World::registered();
    world.write("files/a", "one\ntwo\nthree\n");
    assert_eq!(world.replica.poll_request(world.now), None, "nothing is written yet");
    let batch = world.replica.take_writes().unwrap();
    assert!(batch.writes.iter().any(|(name, value)| name == "flight" && value.is_some()));
    assert_eq!(world.replica.poll_request(world.now), None, "it is being written");
    world.replica.written(batch.no);
    assert_eq!(world.replica.poll_request(world.now).unwrap().kind, Kind::Push);
}

#[test]
fn a_push_without_an_answer_is_sent_again_to_the_byte_and_after_a_crash_too() {
    let mut world = World::registered();
    world.write("files/a", "mine\n");
    let first = world.ask(Kind::Push);
    world.replica.handle_failure(first.id, world.now, 0.0);
    world.write("files/a", "mine and more\n");
    assert_eq!(world.poll(), None, "it waits");
    world.now += 1000;
    let second = world.ask(Kind::Push);
    assert_eq!(second.body, first.body);
    world.persist();
    world.reopen();
    assert_eq!(world.text("files/a"), Some("mine and more\n"));
    assert_eq!(world.ask(Kind::Push).body, first.body);
}

#[test]
fn what_was_typed_while_a_push_was_away_is_made_from_what_it_carried() {
    let mut world = World::registered();
    world.write("files/a", "one\ntwo\nmine\n");
    let request = world.ask(Kind::Push);
    world.write("files/a", "one\ntwo\nmine\nlater\n");
    let merged = json!({ "files": { "a": { "content": "zero\none\ntwo\nmine\n", "seq": 5 } } });
    world.answer(&request, 200, pushed(5, json!({ "files/a": { "status": "merged" } }), merged));
    assert_eq!(world.text("files/a"), Some("zero\none\ntwo\nmine\nlater\n"));
    world.now += 5000;
    let next = body(&world.ask(Kind::Push));
    let base = Hash::of(b"zero\none\ntwo\nmine\n").to_string();
    assert_eq!((&next["seq"], &next["state"]["files"]["a"]["base_hash"]), (&json!(5), &json!(base)));
}

#[test]
fn an_edit_is_merged_onto_what_arrives_and_else_keeps_its_base() {
    let mut world = World::registered();
    let pull = world.ask(Kind::Pull);
    world.write("files/a", "one\ntwo\nmine\n");
    world.answer(&pull, 200, pulled(4, json!({ "files": { "a": { "content": "ONE\ntwo\n", "seq": 4 } } })));
    assert_eq!(world.text("files/a"), Some("ONE\ntwo\nmine\n"));

    let mut world = World::registered();
    let pull = world.ask(Kind::Pull);
    world.write("files/a", "one\ntwo\nmine\n");
    world.answer(&pull, 200, pulled(5, json!({ "files": { "a": { "content": "ONE\nTWO\ntheirs\n" } } })));
    assert_eq!(world.text("files/a"), Some("one\ntwo\nmine\n"), "what does not merge stays as typed");
    world.now += 5000;
    let push = body(&world.ask(Kind::Push));
    assert_eq!(push["state"]["files"]["a"]["base_hash"], json!(Hash::of(b"one\ntwo\n").to_string()));
}

#[test]
fn a_scalar_that_others_wrote_meanwhile_says_where_it_was_written() {
    let mut world = World::registered();
    let pull = world.ask(Kind::Pull);
    world.replica.set("n", json!(2), world.now).unwrap();
    world.answer(&pull, 200, pulled(7, json!({ "n": 5 })));
    assert_eq!(world.replica.get("n"), Some(&json!(2)));
    world.now += 5000;
    let request = world.ask(Kind::Push);
    let push = body(&request);
    assert_eq!(
        (&push["seq"], &push["seen"], &push["changed_at"]["n"]),
        (&json!(7), &json!({ "n": 3 }), &json!(61_000))
    );
    world.answer(&request, 200, pushed(8, json!({ "n": { "status": "superseded" } }), json!({ "n": 5 })));
    assert_eq!(world.replica.get("n"), Some(&json!(5)));
    let lost = Event::Superseded { key: "n".into(), mine: json!(2), theirs: json!(5) };
    assert!(world.events().contains(&lost));
}

#[test]
fn a_session_that_is_removed_and_made_anew_goes_out_in_two_pushes() {
    let mut world = World::registered();
    let reply = pulled(4, json!({ "sessions": { "s": { "title": "x", "status": "idle" } } }));
    let pull = world.ask(Kind::Pull);
    world.answer(&pull, 200, reply);
    world.replica.remove("sessions/s", world.now).unwrap();
    assert!(!world.replica.has("sessions/s"));
    world.replica.set("sessions/s/title", json!("new"), world.now).unwrap();
    assert_eq!(world.replica.keys("sessions/"), ["sessions/s/title"]);
    world.now += 5000;
    let first = world.ask(Kind::Push);
    assert_eq!(body(&first)["state"], json!({ "sessions": { "s": null } }));
    world.answer(&first, 200, pushed(5, json!({}), json!({})));
    world.now += 5000;
    assert_eq!(body(&world.ask(Kind::Push))["state"], json!({ "sessions": { "s": { "title": "new" } } }));
    assert_eq!(world.replica.keys("sessions/"), ["sessions/s/title"]);
}

#[test]
fn edits_that_no_host_would_take_are_refused_and_change_nothing() {
    let mut world = World::registered();
    let code = |refused: Result<(), Refused>| refused.unwrap_err().code;
    assert_eq!(code(world.replica.set("env", json!({ "A": "1" }), 0)), "plaintext_env");
    assert_eq!(code(world.replica.set("files/a", json!(1), 0)), "invalid_key");
    assert_eq!(code(world.replica.set("context_pages/p/hash", json!(1), 0)), "invalid_key");
    assert_eq!(code(world.replica.write("files/../a", Vec::new(), 0)), "invalid_path");
    assert_eq!(code(world.replica.write("sessions/s", Vec::new(), 0)), "invalid_key");
    assert_eq!(code(world.replica.remove("n", 0)), "invalid_key");
    assert_eq!(world.replica.take_writes(), None);
}

#[test]
fn a_file_that_is_too_large_is_kept_and_told_and_does_not_hold_up_the_rest() {
    let mut world = World::registered();
    world.write("files/big", &"x".repeat((512 << 10) + 1));
    world.write("files/small", "x");
    let request = world.ask(Kind::Push);
    assert_eq!(body(&request)["state"]["files"].as_object().unwrap().len(), 1);
    assert!(
        world.events().iter().any(|event| matches!(event, Event::Rejected { key, .. } if key == "files/big"))
    );
    let mut reply = pushed(4, json!({}), json!({}));
    reply["policy"]["file_bytes_max"] = json!(1 << 20);
    world.answer(&request, 200, reply);
    assert!(world.replica.rejected().is_empty(), "the limit was raised");
    world.now += 5000;
    assert!(body(&world.ask(Kind::Push))["state"]["files"]["big"].is_object());
}

#[test]
fn a_push_that_is_too_large_is_halved_until_the_item_is_found() {
    let mut world = World::registered();
    for name in ["a", "b", "c", "d"] {
        world.replica.set(name, json!(1), world.now).unwrap();
    }
    let count = |request: &Request| body(request)["state"].as_object().unwrap().len();
    for expected in [4, 2, 1] {
        let request = world.ask(Kind::Push);
        assert_eq!(count(&request), expected);
        world.answer(&request, 413, problem("push_too_large"));
        world.now += 60_000;
    }
    assert_eq!(world.replica.rejected().len(), 1);
    let request = world.ask(Kind::Push);
    world.replica.handle_reply(request.id, (413, b"<html>nginx</html>"), None, world.now, 0.0);
    assert_eq!(world.replica.rejected().len(), 1);
    let request = world.ask(Kind::Push);
    assert_eq!(count(&request), 1, "a proxy has limits as well");
    world.answer(&request, 200, pushed(4, json!({}), json!({})));
    world.now += 5000;
    assert_eq!(count(&world.ask(Kind::Push)), 2, "the others go on");
}

#[test]
fn answers_that_are_not_the_protocols_are_failures_and_nothing_is_lost() {
    for garbage in [
        "<html>Sign in to the Wi-Fi</html>",
        "",
        "[]",
        "{}",
        r#"{"seq":"x"}"#,
        r#"{"seq":4,"epoch":"e","tag":"t"}"#,
    ] {
        let mut world = World::registered();
        world.write("files/a", "mine\n");
        let request = world.ask(Kind::Push);
        world.replica.handle_reply(request.id, (200, garbage.as_bytes()), None, world.now, 0.0);
        assert_eq!(world.replica.status(), Status::Offline, "{garbage}");
        world.now += 60_000;
        assert_eq!(world.ask(Kind::Push).body, request.body, "{garbage}");
    }
}

#[test]
fn another_history_gets_everything_that_differs_offered_again() {
    let mut world = World::registered();
    world.write("files/new", "mine\n");
    let request = world.ask(Kind::Push);
    world.answer(&request, 409, json!({ "code": "epoch_changed" }));
    let pull = world.ask(Kind::Pull);
    let mut reply = pulled(1, json!({ "files": { "a": { "content": "old\n" } } }));
    (reply["kind"], reply["reason"], reply["epoch"]) =
        (json!("snapshot"), json!("epoch_changed"), json!("f"));
    world.answer(&pull, 200, reply);
    assert_eq!(world.text("files/a"), Some("one\ntwo\n"), "it may be the only copy");
    world.now += 5000;
    let push = body(&world.ask(Kind::Push));
    assert_eq!((&push["epoch"], &push["seen"]), (&json!("f"), &json!({ "n": 0 })));
    assert_eq!(push["state"]["files"]["a"], json!({ "content": "one\ntwo\n", "base_hash": null }));
    assert_eq!(push["state"]["files"]["new"]["content"], "mine\n");
}

#[test]
fn a_conflict_blocks_the_device_until_the_list_says_otherwise() {
    let mut world = World::registered();
    world.write("files/a", "mine\n");
    let request = world.ask(Kind::Push);
    let conflict = json!({
        "id": "c1", "collection": "files", "file_path": "a", "mine_device_id": "web-1",
        "base": null, "mine": { "hash": Hash::of(b"mine\n").to_string(), "size": 5 }, "theirs": null,
    });
    let mut reply = pushed(
        4,
        json!({ "files/a": { "status": "conflict" } }),
        json!({ "files": { "a": { "content": "theirs\n" } } }),
    );
    (reply["conflicts"], reply["conflicts_open"]) = (json!([conflict]), json!(1));
    world.answer(&request, 200, reply);
    assert_eq!((world.text("files/a"), world.replica.status()), (Some("theirs\n"), Status::Blocked));
    assert_eq!(world.replica.conflicts()[0].side("mine").unwrap().content.as_deref(), Some(&b"mine\n"[..]));
    world.replica.set("n", json!(9), world.now).unwrap();
    world.now += 60_000;
    let list = world.ask(Kind::Conflicts);
    world.answer(&list, 200, json!({ "conflicts": [] }));
    assert_eq!(world.ask(Kind::Push).kind, Kind::Push);
}

#[test]
fn a_token_that_ended_is_replaced_under_the_users_and_the_waiting_push_goes_at_once() {
    let mut world = World::registered();
    world.write("files/a", "mine\n");
    let request = world.ask(Kind::Push);
    assert_eq!(request.auth, Auth::Device("nst_x".into()));
    world.answer(&request, 401, json!({ "code": "unauthorized" }));
    let token = world.ask(Kind::Token);
    assert_eq!(token.auth, Auth::User);
    world.answer(&token, 401, json!({ "code": "unauthorized" }));
    assert_eq!((world.replica.status(), world.poll()), (Status::Unauthorised, None));
    world.replica.signed_in(world.now);
    let token = world.ask(Kind::Token);
    world.answer(&token, 200, json!({ "sync_token": "nst_y" }));
    let again = world.ask(Kind::Push);
    assert_eq!((again.auth, again.body), (Auth::Device("nst_y".into()), request.body));
}

#[test]
fn another_machine_with_its_id_makes_it_another_device_with_all_its_edits() {
    let mut world = World::registered();
    world.write("files/a", "mine\n");
    let request = world.ask(Kind::Push);
    world.answer(&request, 409, json!({ "code": "device_forked" }));
    assert!(world.events().contains(&Event::Identity { reason: "forked" }));
    assert_eq!(world.poll(), None);
    world.replica.renew("web-2", world.now);
    let push = body(&world.ask(Kind::Push));
    assert_eq!((&push["device_id"], &push["push_no"]), (&json!("web-2"), &json!(1)));
    assert!(push["state"]["files"]["a"].is_object());
}

#[test]
fn tabs_that_edit_different_lines_merge_and_the_same_line_waits_its_turn() {
    let mut world = World::registered();
    world.write("files/a", "ONE\ntwo\n");
    let base = b"one\ntwo\n";
    world.replica.write_onto("files/a", Some(base), Some(b"one\ntwo\nthree\n".to_vec()), world.now).unwrap();
    assert_eq!(world.text("files/a"), Some("ONE\ntwo\nthree\n"));
    world.replica.write_onto("files/a", Some(base), Some(b"uno\ntwo\n".to_vec()), world.now).unwrap();
    assert_eq!(world.text("files/a"), Some("ONE\ntwo\nthree\n"));
    world.persist();
    world.reopen();
    let first = world.ask(Kind::Push);
    world.answer(&first, 200, pushed(4, json!({}), json!({})));
    world.now += 60_000;
    let second = body(&world.ask(Kind::Push));
    let file = &second["state"]["files"]["a"];
    assert_eq!(
        (&file["content"], &file["base_hash"]),
        (&json!("uno\ntwo\n"), &json!(Hash::of(base).to_string()))
    );
}

#[test]
fn a_damaged_or_newer_journal_is_told_and_not_guessed() {
    let mut world = World::registered();
    world.write("files/a", "mine\n");
    world.persist();
    for (name, value) in
        [("meta", &b"{\"v\":2}\n"[..]), ("meta", b"\xff"), ("ed/files/a", b"{\"at\":1,\"size\":99}\nshort")]
    {
        let mut journal = world.journal.clone();
        journal.insert(name.to_owned(), value.to_vec());
        let records = journal.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        assert_eq!(Replica::open("x", Platform::Web, records).unwrap_err().record, name);
    }
}

#[test]
fn failures_wait_longer_each_time_up_to_five_minutes_and_the_host_may_ask_for_more() {
    let mut world = World::registered();
    world.write("files/a", "mine\n");
    let mut waits = Vec::new();
    for _ in 0..12 {
        let request = world.ask(Kind::Push);
        world.replica.handle_failure(request.id, world.now, 1.0);
        let at = world.replica.poll_timeout().unwrap();
        waits.push(at - world.now);
        world.now = at;
    }
    assert_eq!(waits[..3], [1000, 2000, 4000]);
    assert_eq!(waits[11], 300_000);
    let request = world.ask(Kind::Push);
    world.replica.handle_reply(request.id, (503, b"{}"), Some(900_000), world.now, 0.0);
    assert_eq!(world.replica.poll_timeout().unwrap() - world.now, 900_000);
}

#[test]
fn a_gateway_that_answers_for_the_host_is_a_failure_and_rejects_nothing() {
    for status in [400, 403, 404, 415, 422, 500, 502] {
        let mut world = World::registered();
        world.write("files/a", "mine\n");
        let request = world.ask(Kind::Push);
        world.answer(&request, status, json!({ "message": "Bad Request" }));
        assert_eq!((world.replica.status(), world.poll()), (Status::Offline, None), "{status}");
        assert!(world.replica.rejected().is_empty(), "{status}");
        world.now += 60_000;
        assert_eq!(world.ask(Kind::Push).body, request.body, "{status}");
    }
}

#[test]
fn a_refused_registration_is_not_tried_again_at_once() {
    let mut world = World::new();
    let request = world.ask(Kind::Push);
    world.answer(&request, 400, problem("invalid_field"));
    assert_eq!(world.poll(), None);
    assert!(world.replica.poll_timeout().is_some_and(|at| at > world.now));
}

#[test]
fn a_scalar_set_on_a_tab_that_had_not_heard_of_others_write_is_no_later_than_that() {
    let mut world = World::registered();
    let pull = world.ask(Kind::Pull);
    world.answer(&pull, 200, pulled(7, json!({ "n": 5 })));
    world.replica.set_from("n", json!(2), 3, world.now).unwrap();
    world.now += 5000;
    assert_eq!(body(&world.ask(Kind::Push))["seen"], json!({ "n": 3 }));
}

#[test]
fn a_page_removed_on_a_tab_that_had_not_seen_its_new_text_stays() {
    let mut world = World::registered();
    let pull = world.ask(Kind::Pull);
    world.answer(&pull, 200, pulled(7, json!({ "context_pages": { "p": { "content": "new\n" } } })));
    world.replica.remove_from("context_pages/p", Some(b"old\n"), 3, world.now).unwrap();
    assert_eq!(world.text("context_pages/p"), Some("new\n"));
    world.replica.remove_from("context_pages/p", Some(b"new\n"), 7, world.now).unwrap();
    assert_eq!(world.text("context_pages/p"), None);
}

#[test]
fn what_was_superseded_is_kept_until_it_is_acknowledged() {
    let mut world = World::registered();
    world.replica.set("n", json!(2), world.now).unwrap();
    let request = world.ask(Kind::Push);
    world.answer(&request, 200, pushed(8, json!({ "n": { "status": "superseded" } }), json!({ "n": 5 })));
    world.reopen();
    let kept: Vec<_> = world
        .replica
        .superseded()
        .map(|(key, mine, theirs)| (key.to_owned(), mine.clone(), theirs.clone()))
        .collect();
    assert_eq!(kept, [("n".to_owned(), json!(2), json!(5))]);
    world.replica.acknowledge("n");
    world.persist();
    world.reopen();
    assert_eq!(world.replica.superseded().count(), 0);
}

#[test]
fn a_hint_during_a_pull_and_a_failed_pull_are_followed_by_another() {
    let mut world = World::registered();
    world.replica.set_live(true, world.now);
    let pull = world.ask(Kind::Pull);
    world.replica.wake(world.now);
    world.answer(&pull, 200, pulled(3, json!({})));
    let pull = world.ask(Kind::Pull);
    world.replica.handle_failure(pull.id, world.now, 1.0);
    world.now = world.replica.poll_timeout().unwrap();
    let pull = world.ask(Kind::Pull);
    world.answer(&pull, 200, pulled(3, json!({})));
    let far = world.replica.poll_timeout().unwrap();
    world.replica.set_live(false, world.now);
    assert!(world.replica.poll_timeout().unwrap() < far, "without hints it looks more often");
}

#[test]
fn a_content_that_cannot_be_had_does_not_hold_up_edits() {
    let mut world = World::registered();
    let pull = world.ask(Kind::Pull);
    let absent = json!({ "files": { "big": { "hash": Hash::of(b"?").to_string(), "size": 1 } } });
    world.answer(&pull, 200, pulled(4, absent));
    world.write("files/a", "mine\n");
    for _ in 0..20 {
        match world.poll() {
            Some(request) if request.kind == Kind::Push => return,
            Some(request) if request.kind == Kind::Content => world.answer(&request, 500, json!({})),
            Some(request) => panic!("{:?}", request.kind),
            None => world.now = world.replica.poll_timeout().unwrap(),
        }
    }
    panic!("the edit was never pushed");
}

#[test]
fn typing_on_does_not_forget_that_the_host_asked_for_the_content() {
    let mut world = World::registered();
    let long = "a line that is there\n".repeat(40);
    world.write("files/a", &long);
    let request = world.ask(Kind::Push);
    world.answer(&request, 200, pushed(4, json!({}), json!({})));
    world.now += 60_000;
    world.write("files/a", &(long.clone() + "x"));
    let request = world.ask(Kind::Push);
    assert!(body(&request)["state"]["files"]["a"]["patch"].is_array());
    world.write("files/a", &(long.clone() + "xy"));
    let unknown = json!({ "files/a": { "status": "rejected", "code": "base_unknown" } });
    world.answer(&request, 200, pushed(4, unknown, json!({})));
    world.write("files/a", &(long + "xyz"));
    world.now += 5000;
    assert!(body(&world.ask(Kind::Push))["state"]["files"]["a"]["content"].is_string());
}

#[test]
fn an_own_resolution_whose_answer_was_lost_is_a_success() {
    let mut world = World::registered();
    world.replica.resolve("c1", "mine", None, None, false);
    let request = world.ask(Kind::Resolve);
    let mut answer = problem("conflict_resolved");
    answer["resolved"] = json!({ "device_id": "web-1" });
    world.answer(&request, 409, answer);
    assert!(world.events().contains(&Event::Resolved { id: "c1".into(), code: None }));
}

#[test]
fn only_records_that_change_are_written() {
    let mut world = World::registered();
    let pull = world.ask(Kind::Pull);
    let mut whole = pulled(9, json!({ "n": 2, "files": { "a": { "content": "one\ntwo\n", "seq": 2 } } }));
    (whole["kind"], whole["reason"]) = (json!("snapshot"), json!("behind_threshold"));
    let names = |world: &mut World| -> Vec<String> {
        let batch = world.replica.take_writes().unwrap();
        world.replica.written(batch.no);
        batch.writes.into_iter().map(|(name, _)| name).collect()
    };
    let take = |world: &mut World, request: &Request, reply: Value| {
        world.replica.handle_reply(request.id, (200, reply.to_string().as_bytes()), None, world.now, 0.0);
        names(world)
    };
    assert_eq!(take(&mut world, &pull, whole), ["hs/n", "meta"]);
    world.now += 60_000;
    world.write("files/a", "one\ntwo\nthree\n");
    let push = world.ask(Kind::Push);
    let written = take(&mut world, &push, pushed(10, json!({}), json!({})));
    assert_eq!(written, ["flight", "hd/files/a", "meta", "xd/files/a"]);
}

#[test]
fn moved_user_keeps_the_edits_and_goes_on_at_the_other_host() {
    let mut world = World::registered();
    world.write("files/a", "one\nTWO\n");
    let sent = world.ask(Kind::Push);
    world.replica.resolve("c1", "mine", None, None, false);
    world.answer(&sent, 410, json!({ "code": "moved" }));
    assert_eq!((world.replica.status(), world.replica.pending_count()), (Status::Moved, 1));
    assert_eq!(world.text("files/a"), Some("one\nTWO\n"));
    world.now += 59_000;
    assert_eq!(world.poll(), None, "it is left alone");
    world.now += 1000;
    let again = world.ask(Kind::Push);
    assert_eq!(again.body, sent.body, "the very same push, so that a host that has it knows it");
    world.answer(&again, 200, pushed(4, json!({}), json!({})));
    let resolve = world.ask(Kind::Resolve);
    world.answer(&resolve, 410, json!({ "code": "moved" }));
    assert!(!world.events().iter().any(|event| matches!(event, Event::Resolved { .. })), "it is not refused");
    world.now += 60_000;
    world.ask(Kind::Resolve);
    assert_eq!(world.replica.status(), Status::Moved);
}

/// Until it waits, a host that has no room for what is new answers each push; these are their keys.
fn pushes_to_a_full_host(world: &mut World) -> Vec<Vec<String>> {
    let mut carried = Vec::new();
    for _ in 0..20 {
        world.now += 70_000;
        while let Some(request) = world.poll() {
            if request.kind != Kind::Push {
                let seq = 3 + carried.len() as u64;
                world.answer(&request, 200, pulled(seq, json!({})));
                continue;
            }
            let state = body(&request)["state"].clone();
            let files = state["files"].as_object().into_iter().flat_map(|files| files.keys());
            let scalars = state.as_object().unwrap().keys().filter(|key| *key != "files");
            let keys: Vec<String> = files.chain(scalars).cloned().collect();
            match keys.iter().any(|key| key.starts_with("new")) {
                true => world.answer(&request, 507, problem("quota_exceeded")),
                false => {
                    carried.push(keys);
                    world.answer(&request, 200, pushed(3 + carried.len() as u64, json!({}), json!({})));
                }
            }
        }
    }
    carried
}

#[test]
fn full_host_is_told_of_removals_and_then_of_what_it_has() {
    let mut world = World::registered();
    world.write("files/a", "one\nTWO\n");
    world.write("files/new", "new\n");
    world.replica.set("new", json!(1), world.now).unwrap();
    world.replica.set("n", Value::Null, world.now).unwrap();
    assert_eq!(pushes_to_a_full_host(&mut world), [["n"], ["a"]]);
    assert_eq!(world.replica.pending_count(), 2, "what there is no room for is kept");
    assert_eq!(world.text("files/new"), Some("new\n"));
}
