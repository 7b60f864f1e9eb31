//! The engine in a browser: thin handles over its parts, for the npm package `@nself/sync`.
//!
//! What goes over the border is plain: bytes as `Uint8Array`, JSON as JavaScript's own values, times in milliseconds
//! since 1970, errors as a [`SyncError`](border::thrown). Types that the package has anyway (`client/types.ts`) are named
//! and not repeated.

use nself_sync_engine::text::{self, Merge, Patch};
use wasm_bindgen::prelude::*;

mod border;
mod replica;
mod seal;
#[cfg(feature = "vectors")]
mod vectors;

/// In a debug build a panic says where it was.
#[cfg(debug_assertions)]
#[wasm_bindgen(start)]
fn start() {
    console_error_panic_hook::set_once();
}

/// What both sides made of `base`, merged by lines; `undefined` where they conflict.
#[wasm_bindgen]
pub fn merge(base: &[u8], mine: &[u8], theirs: &[u8]) -> Option<Vec<u8>> {
    match text::merge(base, mine, theirs) {
        Merge::Clean(merged) => Some(merged),
        Merge::Conflict => None,
    }
}

/// What leads from one text to another, for an editor: `[skip, delete, insert]` in UTF-16 code units.
#[wasm_bindgen(unchecked_return_type = "[skip: number, remove: number, insert: string][]")]
pub fn diff(from: &str, to: &str) -> js_sys::Array {
    let mut done = 0;
    let mut units = |bytes: usize| {
        let part = from.get(done..done + bytes).unwrap_or_default();
        done += bytes;
        JsValue::from(part.chars().map(char::len_utf16).sum::<usize>())
    };
    let patch = Patch::diff(from.as_bytes(), to.as_bytes());
    let ops = patch.ops().iter().map(|op| {
        let insert = String::from_utf8_lossy(&op.insert);
        js_sys::Array::of3(&units(op.skip), &units(op.delete), &JsValue::from(&*insert))
    });
    ops.collect()
}
