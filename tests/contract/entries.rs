//! PROTOCOL sections 2 and 4, entries: fields are scalars of their own; a removal is decided for the whole entry.

use nself_sync_tests::world::{Device, World};
use serde_json::json;

crate::cases![
    fields_of_one_session_are_written_side_by_side,
    concurrent_writes_of_one_field_follow_the_clocks,
    pushing_some_fields_leaves_the_others,
    null_removes_a_field,
    entry_without_fields_is_gone,
    empty_entry_is_nothing,
    removing_a_session_removes_all_of_it,
    removal_after_what_it_removes_wins_with_any_clock,
    later_field_write_keeps_the_whole_entry,
    earlier_field_write_loses_against_the_removal,
    later_removal_takes_a_concurrently_written_entry,
    earlier_removal_loses_and_gets_the_whole_entry_back,
    later_write_brings_a_removed_entry_back_whole,
    new_field_does_not_bring_back_half_an_entry,
    latest_of_several_field_writes_decides_for_all,
    removal_is_compared_with_the_latest_concurrent_write,
    full_state_of_a_naive_device_does_not_bring_a_removed_session_back,
    recreated_entry_has_only_what_was_written_then,
    delta_of_a_recreated_entry_names_its_gone_fields,
    page_fields_are_scalars_beside_its_content,
    page_may_be_without_content,
    removed_page_is_gone_whole,
    page_removal_against_changed_content_is_a_conflict_and_removes_nothing,
    page_removal_against_an_earlier_field_write_removes_it,
    page_removal_against_a_later_field_write_keeps_it_whole,
    later_field_write_brings_a_removed_page_back_with_its_content,
    page_that_returns_is_whole_before_pushed_content_is_decided,
    resolution_that_brings_a_page_back_restores_its_fields,
    reserved_names_are_not_fields_of_a_page,
    sessions_may_have_fields_named_like_documents,
];

fn session(world: &World) -> (Device, Device) {
    world.two_devices(json!({"sessions": {"s1": {"title": "t0", "status": "running"}}}))
}

fn fields_of_one_session_are_written_side_by_side(world: &World) {
    let (mut a, mut b) = session(world);
    a.push(json!({"sessions": {"s1": {"title": "t1"}}}));
    let reply = b.push(json!({"sessions": {"s1": {"status": "done"}}}));
    assert_eq!(reply.status("sessions/s1/status"), "applied");
    assert_eq!(reply.entry("sessions", "s1"), Some(&json!({"title": "t1"})));
    assert_eq!(world.snapshot()["state"]["sessions"], json!({"s1": {"title": "t1", "status": "done"}}));
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn concurrent_writes_of_one_field_follow_the_clocks(world: &World) {
    let (mut a, mut b) = session(world);
    a.push_at(
        json!({"sessions": {"s1": {"title": "a", "status": "a"}}}),
        json!({"sessions/s1/title": 2000, "sessions/s1/status": 2000}),
    );
    let reply = b.push_at(
        json!({"sessions": {"s1": {"title": "b", "status": "b"}}}),
        json!({"sessions/s1/title": 1000, "sessions/s1/status": 3000}),
    );
    assert_eq!(
        (reply.status("sessions/s1/title"), reply.status("sessions/s1/status")),
        ("superseded", "applied")
    );
    assert_eq!(world.snapshot()["state"]["sessions"]["s1"], json!({"title": "a", "status": "b"}));
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn pushing_some_fields_leaves_the_others(world: &World) {
    let (mut a, _) = session(world);
    a.push(json!({"sessions": {"s1": {"title": "t1"}, "s2": {"title": "x"}}}));
    let sessions = world.view().sessions;
    assert_eq!(sessions["s1"]["status"], "running");
    assert_eq!(sessions.len(), 2);
}

fn null_removes_a_field(world: &World) {
    let (mut a, mut b) = session(world);
    a.push(json!({"sessions": {"s1": {"title": null}}}));
    assert_eq!(b.pull()["state"], json!({"sessions": {"s1": {"title": null}}}));
    assert_eq!(world.snapshot()["state"]["sessions"], json!({"s1": {"status": "running"}}));
}

fn entry_without_fields_is_gone(world: &World) {
    let (mut a, mut b) = session(world);
    a.push(json!({"sessions": {"s1": {"title": null, "status": null}}}));
    assert_eq!(b.pull()["state"], json!({"sessions": {"s1": null}}));
    assert_eq!(world.snapshot()["state"], json!({}));
}

fn empty_entry_is_nothing(world: &World) {
    let (mut a, _) = session(world);
    let head = world.head();
    a.push(json!({"sessions": {"new": {}, "s1": {}}, "context_pages": {"p": {}}}));
    assert_eq!(world.head(), head);
    assert_eq!(world.snapshot()["state"], json!({"sessions": {"s1": {"title": "t0", "status": "running"}}}));
}

fn removing_a_session_removes_all_of_it(world: &World) {
    let (mut a, mut b) = session(world);
    assert_eq!(a.push(json!({"sessions": {"s1": null}})).status("sessions/s1"), "applied");
    assert_eq!(b.pull()["state"], json!({"sessions": {"s1": null}}));
    assert_eq!(world.snapshot()["state"], json!({}));
    let again = a.push(json!({"sessions": {"s1": null}}));
    assert_eq!(again.status("sessions/s1"), "unchanged");
}

fn removal_after_what_it_removes_wins_with_any_clock(world: &World) {
    let (mut a, mut b) = session(world);
    a.push(json!({"sessions": {"s1": {"title": "t1"}}}));
    b.pull();
    assert_eq!(
        b.push_at(json!({"sessions": {"s1": null}}), json!({"sessions/s1": 1})).status("sessions/s1"),
        "applied"
    );
    assert!(world.view().sessions.is_empty());
}

/// `a` removed s1 at client time 2000, which `b` has not seen.
fn removed(world: &World) -> (Device, Device) {
    let (mut a, b) = session(world);
    a.push_at(json!({"sessions": {"s1": null}}), json!({"sessions/s1": 2000}));
    (a, b)
}

fn later_field_write_keeps_the_whole_entry(world: &World) {
    let (mut a, mut b) = removed(world);
    let reply = b.push_at(json!({"sessions": {"s1": {"title": "b"}}}), json!({"sessions/s1/title": 3000}));
    assert_eq!(reply.status("sessions/s1/title"), "applied");
    assert_eq!(
        world.snapshot()["state"]["sessions"]["s1"],
        json!({"title": "b", "status": "running"}),
        "the entry stays with all it had and the write"
    );
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn earlier_field_write_loses_against_the_removal(world: &World) {
    let (mut a, mut b) = removed(world);
    let reply = b.push_at(json!({"sessions": {"s1": {"title": "b"}}}), json!({"sessions/s1/title": 1000}));
    assert_eq!(reply.status("sessions/s1/title"), "superseded");
    assert_eq!(reply.entry("sessions", "s1"), Some(&json!(null)), "of a removed entry: the whole entry");
    assert!(world.view().sessions.is_empty());
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn later_removal_takes_a_concurrently_written_entry(world: &World) {
    let (mut a, mut b) = session(world);
    a.push_at(json!({"sessions": {"s1": {"title": "a"}}}), json!({"sessions/s1/title": 2000}));
    assert_eq!(
        b.push_at(json!({"sessions": {"s1": null}}), json!({"sessions/s1": 3000})).status("sessions/s1"),
        "applied"
    );
    assert!(world.view().sessions.is_empty());
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn earlier_removal_loses_and_gets_the_whole_entry_back(world: &World) {
    let (mut a, mut b) = session(world);
    a.push_at(json!({"sessions": {"s1": {"title": "a"}}}), json!({"sessions/s1/title": 2000}));
    let reply = b.push_at(json!({"sessions": {"s1": null}}), json!({"sessions/s1": 1000}));
    assert_eq!(reply.status("sessions/s1"), "superseded");
    assert_eq!(
        reply.entry("sessions", "s1"),
        Some(&json!({"title": "a", "status": "running"})),
        "the whole entry"
    );
    assert_eq!(b.view, world.view());
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn later_write_brings_a_removed_entry_back_whole(world: &World) {
    let (mut a, mut b) = removed(world);
    a.push(json!({"other": 1}));
    let reply = b.push(json!({"sessions": {"s1": {"title": "b"}}}));
    assert_eq!(reply.status("sessions/s1/title"), "applied", "arrival is later than client time 2000");
    assert_eq!(world.view().sessions["s1"].len(), 2);
    assert_eq!(a.pull()["state"]["sessions"]["s1"], json!({"title": "b", "status": "running"}));
    assert_eq!(a.view, world.view());
}

fn new_field_does_not_bring_back_half_an_entry(world: &World) {
    let (mut a, mut b) = removed(world);
    let reply = b.push_at(json!({"sessions": {"s1": {"fresh": 1}}}), json!({"sessions/s1/fresh": 1000}));
    assert_eq!(
        reply.status("sessions/s1/fresh"),
        "superseded",
        "a removal is a write also of fields it never had"
    );
    assert!(world.view().sessions.is_empty());
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn latest_of_several_field_writes_decides_for_all(world: &World) {
    let (mut a, mut b) = removed(world);
    let reply = b.push_at(
        json!({"sessions": {"s1": {"title": "b", "status": "b"}}}),
        json!({"sessions/s1/title": 1000, "sessions/s1/status": 3000}),
    );
    assert_eq!(
        (reply.status("sessions/s1/title"), reply.status("sessions/s1/status")),
        ("applied", "applied")
    );
    assert_eq!(world.snapshot()["state"]["sessions"]["s1"], json!({"title": "b", "status": "b"}));
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn removal_is_compared_with_the_latest_concurrent_write(world: &World) {
    let (mut a, mut b) = session(world);
    a.push_at(json!({"sessions": {"s1": {"title": "a"}}}), json!({"sessions/s1/title": 3000}));
    a.push_at(json!({"sessions": {"s1": {"status": "a"}}}), json!({"sessions/s1/status": 1000}));
    let reply = b.push_at(json!({"sessions": {"s1": null}}), json!({"sessions/s1": 2000}));
    assert_eq!(reply.status("sessions/s1"), "superseded");
    assert_eq!(world.view().sessions["s1"].len(), 2);
}

fn full_state_of_a_naive_device_does_not_bring_a_removed_session_back(world: &World) {
    let full = json!({"sessions": {"s1": {"title": "t0", "status": "running"}}});
    let mut a = world.device("desktop-a").naive();
    a.push(full.clone());
    let mut b = world.device("mobile-b");
    b.pull();
    b.push(json!({"sessions": {"s1": null}}));
    for _ in 0..3 {
        a.push(full.clone());
    }
    assert!(world.view().sessions.is_empty(), "deleted sessions stay deleted");
}

fn recreated_entry_has_only_what_was_written_then(world: &World) {
    let (mut a, mut b) = session(world);
    a.push(json!({"sessions": {"s1": null}}));
    a.push(json!({"sessions": {"s1": {"title": "new"}}}));
    assert_eq!(world.snapshot()["state"]["sessions"]["s1"], json!({"title": "new"}));
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn delta_of_a_recreated_entry_names_its_gone_fields(world: &World) {
    let (mut a, mut b) = session(world);
    a.push(json!({"sessions": {"s1": null}}));
    a.push(json!({"sessions": {"s1": {"title": "new"}}}));
    assert_eq!(b.pull()["state"], json!({"sessions": {"s1": {"title": "new", "status": null}}}));
}

fn page(world: &World) -> (Device, Device) {
    world
        .two_devices(json!({"context_pages": {"p1": {"title": "t0", "color": "red", "content": "# Plan\n"}}}))
}

fn page_fields_are_scalars_beside_its_content(world: &World) {
    let (mut a, mut b) = page(world);
    a.push(json!({"context_pages": {"p1": {"title": "a"}}}));
    let reply = b.push(json!({"context_pages": {"p1": {"content": "# Plan b\n", "color": "blue"}}}));
    assert_eq!(reply.value["results"], json!({}), "all plainly applied");
    let page = world.view().pages["p1"].clone();
    assert_eq!((&page.fields["title"], &page.fields["color"]), (&json!("a"), &json!("blue")));
    assert_eq!(page.content.as_deref(), Some(&b"# Plan b\n"[..]));
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn page_may_be_without_content(world: &World) {
    let (mut a, mut b) = world.two_devices(json!({"context_pages": {"p1": {"title": "t"}}}));
    assert_eq!(world.view().pages["p1"].content, None);
    a.push(json!({"context_pages": {"p1": {"content": "now\n"}}}));
    b.pull();
    assert_eq!(b.view.pages["p1"].content.as_deref(), Some(&b"now\n"[..]));
    assert_eq!(b.view, world.view());
}

fn removed_page_is_gone_whole(world: &World) {
    let (mut a, mut b) = page(world);
    assert_eq!(a.push(json!({"context_pages": {"p1": null}})).status("context_pages/p1"), "applied");
    assert_eq!(b.pull()["state"], json!({"context_pages": {"p1": null}}));
    assert_eq!(world.snapshot()["state"], json!({}));
}

fn page_removal_against_changed_content_is_a_conflict_and_removes_nothing(world: &World) {
    let (mut a, mut b) = page(world);
    a.push(json!({"context_pages": {"p1": {"content": "# Changed\n"}}}));
    let before = world.view();
    let reply =
        b.push_at(json!({"context_pages": {"p1": null}}), json!({"context_pages/p1": 9_000_000_000_000u64}));
    assert_eq!(reply.status("context_pages/p1"), "conflict");
    assert_eq!(world.view(), before, "nothing is removed, its fields neither");
    let conflict = world.only_conflict();
    assert_eq!((&conflict["collection"], &conflict["mine"]), (&json!("context_pages"), &json!(null)));
    assert_eq!(b.view, before);
}

fn page_removal_against_an_earlier_field_write_removes_it(world: &World) {
    let (mut a, mut b) = page(world);
    a.push_at(json!({"context_pages": {"p1": {"title": "a"}}}), json!({"context_pages/p1/title": 1000}));
    let reply = b.push_at(json!({"context_pages": {"p1": null}}), json!({"context_pages/p1": 2000}));
    assert_eq!(reply.status("context_pages/p1"), "applied");
    assert!(world.view().pages.is_empty());
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn page_removal_against_a_later_field_write_keeps_it_whole(world: &World) {
    let (mut a, mut b) = page(world);
    a.push_at(json!({"context_pages": {"p1": {"title": "a"}}}), json!({"context_pages/p1/title": 2000}));
    let before = world.view();
    let reply = b.push_at(json!({"context_pages": {"p1": null}}), json!({"context_pages/p1": 1000}));
    assert_eq!(reply.status("context_pages/p1"), "superseded");
    assert_eq!(world.view(), before, "the page stays whole, with its content");
    assert_eq!(b.view, before);
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn later_field_write_brings_a_removed_page_back_with_its_content(world: &World) {
    let (mut a, mut b) = page(world);
    let before = world.view();
    a.push_at(json!({"context_pages": {"p1": null}}), json!({"context_pages/p1": 1000}));
    let reply =
        b.push_at(json!({"context_pages": {"p1": {"title": "b"}}}), json!({"context_pages/p1/title": 2000}));
    assert_eq!(reply.status("context_pages/p1/title"), "applied");
    let mut want = before;
    want.pages.get_mut("p1").expect("the page").fields.insert("title".into(), json!("b"));
    assert_eq!(world.view(), want);
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn page_that_returns_is_whole_before_pushed_content_is_decided(world: &World) {
    let (mut a, mut b) = page(world);
    a.push_at(json!({"context_pages": {"p1": null}}), json!({"context_pages/p1": 1000}));
    let reply = b.push_at(
        json!({"context_pages": {"p1": {"title": "b", "content": "# Plan b\n"}}}),
        json!({"context_pages/p1/title": 2000}),
    );
    assert_eq!(reply.status("context_pages/p1"), "applied", "head is its base again: {}", reply.value);
    assert!(world.conflicts().is_empty());
    let page = world.view().pages["p1"].clone();
    assert_eq!(page.content.as_deref(), Some(&b"# Plan b\n"[..]));
    assert_eq!((page.fields.len(), &page.fields["color"]), (2, &json!("red")));
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn resolution_that_brings_a_page_back_restores_its_fields(world: &World) {
    let (mut a, mut b) = page(world);
    a.push(json!({"context_pages": {"p1": null}}));
    assert_eq!(
        b.push(json!({"context_pages": {"p1": {"content": "# Mine\n"}}})).status("context_pages/p1"),
        "conflict"
    );
    assert!(world.view().pages.is_empty());
    world.resolved(&world.only_conflict(), json!({"resolution": "mine"}));
    let page = world.view().pages["p1"].clone();
    assert_eq!(page.content.as_deref(), Some(&b"# Mine\n"[..]));
    assert_eq!((&page.fields["title"], &page.fields["color"]), (&json!("t0"), &json!("red")));
    world.assert_converged(&mut [&mut a, &mut b]);
}

fn reserved_names_are_not_fields_of_a_page(world: &World) {
    let mut a = world.device("desktop-a");
    a.push(json!({"context_pages": {"p1": {"content": "x\n", "title": "t", "hash": "bogus", "size": 999, "seq": 999}}}));
    let entry = world.snapshot()["state"]["context_pages"]["p1"].clone();
    assert_eq!(entry["size"], 2);
    assert_eq!(entry["seq"], 1);
    assert_eq!(entry["hash"], json!(nself_sync_tests::world::sha256_hex(b"x\n")));
    assert_eq!(world.view().pages["p1"].fields.len(), 1);
}

fn sessions_may_have_fields_named_like_documents(world: &World) {
    let entry = json!({"content": "not a document", "hash": 1, "size": "big", "seq": 5, "patch": [], "base_hash": "x"});
    let (_, b) = world.two_devices(json!({"sessions": {"s1": entry}}));
    assert_eq!(world.snapshot()["state"]["sessions"]["s1"], entry);
    assert_eq!(b.view, world.view());
}
