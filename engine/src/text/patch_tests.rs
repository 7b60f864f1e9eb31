use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn encoded(patch: &Patch) -> Vec<u8> {
    let mut bytes = Vec::new();
    patch.encode(&mut bytes);
    bytes
}

fn op(skip: usize, delete: usize, insert: &str) -> Op {
    Op { skip, delete, insert: insert.into() }
}

fn patch(ops: impl IntoIterator<Item = Op>) -> Patch {
    Patch { ops: ops.into_iter().collect() }
}

/// Text that is long and not periodic.
fn prose(words: usize) -> String {
    let mut seed = 7_u32;
    let mut word = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        format!("w{} ", seed >> 18)
    };
    (0..words).map(|_| word()).collect()
}

#[test]
fn only_the_bytes_that_changed_are_in_the_patch() {
    assert_eq!(Patch::diff(b"let x = 1;\n", b"let y = 1;\n"), patch([op(4, 1, "y")]));
    assert_eq!(Patch::diff(b"same", b"same"), Patch::default());
    assert_eq!(Patch::diff(b"", b"new"), patch([op(0, 0, "new")]));
    assert_eq!(Patch::diff(b"old", b""), patch([op(0, 3, "")]));
}

#[test]
fn characters_are_never_cut_in_two() {
    // é is C3 A9, è is C3 A8; the emoji share their first three bytes.
    assert_eq!(Patch::diff("né".as_bytes(), "nè".as_bytes()), patch([op(1, 2, "è")]));
    assert_eq!(Patch::diff("😀".as_bytes(), "😁".as_bytes()), patch([op(0, 4, "😁")]));
    assert!(Patch::diff("α\u{3c1}".as_bytes(), "α\u{441}".as_bytes()).to_json().is_some());
}

#[test]
fn a_burst_of_typing_costs_about_the_bytes_typed() {
    let base = prose(60_000);
    let middle = base.len() / 2;
    let target = [&base[..middle], "and so on", &base[middle..]].concat();
    let patch = Patch::diff(base.as_bytes(), target.as_bytes());
    assert!(encoded(&patch).len() <= "and so on".len() + 6, "{patch:?}");
}

#[test]
fn two_distant_edits_in_one_long_line_cost_two_small_operations() {
    let base = prose(80_000);
    let (near, far) = (1_000, base.len() - 1_000);
    let target = [&base[..near], "NEAR", &base[near..far], "FAR", &base[far..]].concat();
    let patch = Patch::diff(base.as_bytes(), target.as_bytes());
    assert_eq!(patch.apply_text(&base).as_deref(), Ok(target.as_str()));
    assert!(encoded(&patch).len() < 600, "{} bytes", encoded(&patch).len());
}

#[test]
fn large_unlike_contents_have_a_patch() {
    let letters = |count: usize, mut seed: u32| -> Vec<u8> {
        let mut letter = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            [b'a' + (seed >> 29) as u8, b'\n']
        };
        (0..count).flat_map(|_| letter()).collect()
    };
    for (base, target) in [
        (letters(30_000, 1), letters(30_000, 2)),
        (letters(200_000, 3), letters(200_000, 4)),
        (b"same\n".repeat(100_000), b"same\n".repeat(99_000)),
        (b"x".repeat(500_000), b"x".repeat(400_000)),
        (prose(80_000).into_bytes(), letters(250_000, 5)),
    ] {
        assert_eq!(Patch::diff(&base, &target).apply(&base), Ok(target));
    }
}

#[test]
fn a_patch_past_the_end_is_an_error() {
    let error = patch([op(1, 1, ""), op(2, 0, "x")]).apply(b"abc");
    assert_eq!(error, Err(PatchError::PastEnd { op: 1, base_bytes: 3 }));
    let error = patch([op(usize::MAX, usize::MAX, "")]).apply(b"abc");
    assert_eq!(error, Err(PatchError::PastEnd { op: 0, base_bytes: 3 }));
    assert!(patch([op(0, 4, "")]).invert(b"abc").is_err());
}

#[test]
fn text_refuses_what_would_not_be_text() {
    assert_eq!(
        patch([op(2, 0, "x")]).apply_text("né"),
        Err(PatchError::NotCharBoundary { op: 0, offset: 2 })
    );
    assert_eq!(
        patch([op(1, 1, "x")]).apply_text("né"),
        Err(PatchError::NotCharBoundary { op: 0, offset: 2 })
    );
    let bytes = patch([Op { skip: 0, delete: 0, insert: vec![0xFF] }]);
    assert_eq!(bytes.apply_text("a"), Err(PatchError::NotText { op: 0 }));
    assert_eq!(bytes.to_json(), None);
}

#[test]
fn what_is_typed_and_deleted_again_leaves_no_trace() {
    let (typed, deleted) = (patch([op(3, 0, "hello")]), patch([op(3, 5, "")]));
    assert_eq!(typed.compose(&deleted), Ok(Patch::default()));
    assert_eq!(typed.compose(&patch([op(5, 1, "L")])), Ok(patch([op(3, 0, "heLlo")])));
    assert_eq!(patch([op(3, 2, "")]).compose(&patch([op(3, 0, "x")])), Ok(patch([op(3, 2, "x")])));
}

#[test]
fn ten_thousand_letters_typed_compose_to_one_operation() {
    let base = prose(100_000);
    let typing = (0..10_000).map(|at| patch([op(200_000 + at, 0, "z")]));
    let all = Patch::compose_all(typing).unwrap();
    assert_eq!(all, patch([op(200_000, 0, &"z".repeat(10_000))]));
    let scattered = (0..10_000).map(|at| patch([op(at * 41 % 400_000, 0, "z")]));
    let all = Patch::compose_all(scattered).unwrap();
    assert_eq!(all.apply_text(&base).unwrap().len(), base.len() + 10_000);
}

#[test]
fn lengths_that_overflow_are_an_error() {
    let gone = patch([op(0, 1, ""), op(usize::MAX, 1, "")]);
    assert!(matches!(gone.compose(&patch([op(0, usize::MAX, "")])), Err(PatchError::TooLarge { .. })));
    assert_eq!(Patch::decode(&[0xFF; 11]), Err(PatchError::TooLarge { op: 0 }));
}

#[test]
fn json_that_is_no_patch_says_why() {
    let error = |value: Value| Patch::from_json(&value).unwrap_err();
    assert_eq!(error(json!({})), PatchError::NotTriples);
    assert_eq!(error(json!([[0, 0, ""], [0, 0]])), PatchError::NotATriple { op: 1 });
    assert_eq!(error(json!([[0, 0, 0]])), PatchError::NotATriple { op: 0 });
    assert_eq!(error(json!([[0, 0, "", 1]])), PatchError::NotATriple { op: 0 });
    assert_eq!(error(json!([[-1, 0, ""]])), PatchError::NotALength { op: 0 });
    assert_eq!(error(json!([[0, 1.5, ""]])), PatchError::NotALength { op: 0 });
    assert_eq!(error(json!([["0", 0, ""]])), PatchError::NotALength { op: 0 });
    assert_eq!(error(json!([[(1_u64 << 53) + 1, 0, ""]])), PatchError::NotALength { op: 0 });
    assert_eq!(
        error(json!([[0, 1.5, ""]])).to_string(),
        "patch operation 0: skip and delete are whole numbers from 0 to 2^53"
    );
}

/// Texts with characters of every length, both line endings, and long stretches that pairs of them share.
fn text() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "b",
        "é",
        "è",
        "ж",
        "€",
        "😀",
        "😁",
        "\n",
        "\r\n",
        " ",
        "let x = 1;\n",
        "a longer line, over and over\n",
        "\"\\\t\u{1}",
        "one very long word without a single blank in it to be matched whole ",
        "e\u{301}",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..30),
        Just(b"shared stretch of bytes\x80\x80\xC3\n".to_vec()),
        Just(vec![0x80; 20]),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Operations as a stranger may send them: empty ones, touching ones, none trimmed.
fn ops() -> impl Strategy<Value = Vec<Op>> {
    let insert = prop::collection::vec(any::<u8>(), 0..6);
    let op = (0_usize..8, 0_usize..5, insert).prop_map(|(skip, delete, insert)| Op { skip, delete, insert });
    prop::collection::vec(op, 0..8)
}

/// Long enough for every result of `ops`, three deep.
fn long_base() -> Vec<u8> {
    (0..=255).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_patch_of_texts_leads_from_one_to_the_other(base in text(), target in text()) {
        let patch = Patch::diff(base.as_bytes(), target.as_bytes());
        prop_assert_eq!(patch.apply_text(&base), Ok(target.clone()));
        let json = patch.to_json().unwrap();
        prop_assert_eq!(json.to_string().len(), patch.json_len());
        prop_assert_eq!(Patch::from_json(&json).unwrap(), patch.clone());
        prop_assert_eq!(Patch::decode(&encoded(&patch)).unwrap(), patch.clone());
        prop_assert_eq!(patch.compose(&Patch::default()), Ok(patch.clone()));
        prop_assert_eq!(Patch::default().compose(&patch), Ok(patch));
    }

    #[test]
    fn a_patch_of_bytes_leads_there_and_its_inverse_back(base in bytes(), target in bytes()) {
        let patch = Patch::diff(&base, &target);
        prop_assert_eq!(patch.apply(&base), Ok(target.clone()));
        prop_assert_eq!(patch.invert(&base).unwrap().apply(&target), Ok(base));
    }

    #[test]
    fn composing_is_applying_in_turn(first in ops(), second in ops(), third in ops()) {
        let [a, b, c] = [first, second, third].map(|ops| Patch { ops });
        let base = long_base();
        let in_turn = b.apply(&a.apply(&base).unwrap()).unwrap();
        let ab = a.compose(&b).unwrap();
        prop_assert_eq!(ab.apply(&base), Ok(in_turn.clone()));
        prop_assert_eq!(ab.compose(&c), a.compose(&b.compose(&c).unwrap()));
        let all = Patch::compose_all([a.clone(), b, c.clone()]).unwrap();
        prop_assert_eq!(all.apply(&base), c.apply(&in_turn));
        let back = a.invert(&base).unwrap();
        prop_assert_eq!(a.compose(&back).unwrap().apply(&base), Ok(base));
    }

    #[test]
    fn bytes_from_anywhere_never_panic(stored in prop::collection::vec(any::<u8>(), 0..64), base in text()) {
        if let Ok(patch) = Patch::decode(&stored) {
            let _ = patch.apply_text(&base);
            let _ = patch.invert(base.as_bytes());
            let _ = patch.compose(&patch);
            prop_assert_eq!(Patch::decode(&encoded(&patch)), Ok(patch));
        }
    }
}
