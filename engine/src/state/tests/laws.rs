use super::*;
use proptest::collection::btree_map;
use proptest::option;
use proptest::prelude::*;

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![Just(json!(1)), Just(json!("é\u{0}")), Just(json!({ "a": null })), Just(json!([1.5, false]))]
}

fn any_document() -> impl Strategy<Value = (Vec<u8>, Seq)> {
    let text = prop::sample::select(vec!["", "one", "two 😀", "three\r\n"]).prop_map(page);
    let content = prop_oneof![
        4 => text.prop_map(String::into_bytes),
        1 => Just(Vec::new()),
        1 => Just(vec![0xC3; 300]),
    ];
    (content, 1..4_u64)
}

fn any_state() -> impl Strategy<Value = State> {
    let keys = ["a", "b", "sessions/s/f", "sessions/s/g", "sessions/s0/f", "context_pages/p/title"];
    let scalars = btree_map(prop::sample::select(keys.to_vec()), any_value(), 0..6);
    let names = ["files/a", "files/a/b", "context_pages/p", "context_pages/q"];
    let documents = btree_map(prop::sample::select(names.to_vec()), any_document(), 0..4);
    (scalars, documents).prop_map(|(scalars, documents)| {
        let mut state = State::default();
        for (key, value) in scalars {
            state.set(key, value).expect("a scalar");
        }
        for (key, (content, seq)) in documents {
            let document = Document { seq: Some(seq), ..Document::new(content) };
            state.documents.insert(key.to_owned(), document);
        }
        state
    })
}

/// A diff as one of the forms that hosts send.
fn told(before: &State, after: &State, patched: bool) -> Delta {
    let diff = Delta::diff(before, after);
    if patched { diff.patched(before) } else { diff }
}

proptest! {
    #[test]
    fn a_diff_applied_gives_the_other_state(a in any_state(), b in any_state(), patched: bool) {
        prop_assert_eq!(applied(&a, &told(&a, &b, patched)), b);
    }

    #[test]
    fn a_diff_holds_nothing_that_is_the_same_in_both(a in any_state(), b in any_state()) {
        let diff = Delta::diff(&a, &b);
        for key in diff.keys() {
            prop_assert_ne!(
                (a.scalar(key), a.document(key), a.has_entry(key)),
                (b.scalar(key), b.document(key), b.has_entry(key)),
                "{}", key
            );
        }
        prop_assert_eq!(diff.is_empty(), a == b);
    }

    #[test]
    fn what_is_rendered_is_read_back(a in any_state(), b in any_state(), patched: bool) {
        prop_assert_eq!(State::parse(&a.render()), Ok(a.clone()));
        let diff = told(&a, &b, patched);
        let objects = diff.render();
        prop_assert!(objects.len() <= 1);
        let read = objects.iter().map(|object| Delta::parse(object).expect("a delta")).next();
        prop_assert_eq!(read.unwrap_or_default(), diff);
    }

    #[test]
    fn a_squash_does_what_its_deltas_do(
        states in prop::collection::vec(any_state(), 4),
        patched in any::<[bool; 3]>(),
    ) {
        let deltas: Vec<Delta> =
            states.windows(2).zip(patched).map(|(pair, patched)| told(&pair[0], &pair[1], patched)).collect();
        let [one, two, three] = [&deltas[0], &deltas[1], &deltas[2]].map(Delta::clone);
        let left = one.clone().squash(two.clone()).squash(three.clone());
        let right = one.squash(two.squash(three));
        prop_assert_eq!(&applied(&states[0], &left), &states[3]);
        prop_assert_eq!(&applied(&states[0], &right), &states[3]);
        let mut in_turn = states[0].clone();
        for object in left.render() {
            in_turn.apply(&Delta::parse(&object).expect("a delta")).expect("nothing is missing");
        }
        prop_assert_eq!(&in_turn, &states[3]);
    }

    #[test]
    fn a_squash_onto_what_another_entry_left_is_the_same(
        a in any_state(), b in any_state(), other in any_state(), gone in option::of(Just("sessions/s")),
    ) {
        // Deltas in full fit any state, also one that they were not made from.
        let mut first = Delta::diff(&State::default(), &a);
        first.removed.extend(gone.map(str::to_owned));
        let next = Delta::diff(&other, &b);
        prop_assume!(next.documents.values().flatten().all(|change| change.body != Body::Hash));
        let in_turn = applied(&applied(&other, &first), &next);
        prop_assert_eq!(applied(&other, &first.squash(next)), in_turn);
    }
}
