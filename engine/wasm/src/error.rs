//! What is thrown.

use js_sys::{Error, Reflect};
use wasm_bindgen::JsValue;

/// A JavaScript `Error` named `SyncError`, whose `code` is for programs and whose `message` is for people.
pub fn thrown(code: &str, message: &str) -> JsValue {
    let error = Error::new(message);
    error.set_name("SyncError");
    // Fails on frozen objects only, and this one is new.
    let _ = Reflect::set(&error, &"code".into(), &code.into());
    error.into()
}
