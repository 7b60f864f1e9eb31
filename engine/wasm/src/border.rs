//! What crosses the border: JSON values, objects, errors.

use js_sys::{Error, JSON, Object, Reflect};
use serde_json::Value;
use wasm_bindgen::prelude::*;

/// A JavaScript `Error` named `SyncError`, whose `code` is for programs and whose `message` is for people.
pub fn thrown(code: &str, message: &str) -> JsValue {
    let error = Error::new(message);
    error.set_name("SyncError");
    put(&error, "code", code);
    error.into()
}

/// An object with these fields.
pub fn object<const N: usize>(fields: [(&str, JsValue); N]) -> JsValue {
    let object = Object::new();
    for (name, value) in fields {
        put(&object, name, value);
    }
    object.into()
}

fn put(object: &Object, name: &str, value: impl Into<JsValue>) {
    // Fails on frozen objects only, and this one is new.
    let _ = Reflect::set(object, &name.into(), &value.into());
}

/// JSON as JavaScript's values. By way of its text: an integer beyond 2^53 loses digits but arrives, and a field named
/// `__proto__` is one.
pub fn to_js(value: &Value) -> JsValue {
    // Written by serde_json, so it can be read.
    JSON::parse(&value.to_string()).unwrap_or_default()
}

/// JavaScript's values as JSON.
pub fn from_js(value: &JsValue) -> Result<Value, JsValue> {
    serde_wasm_bindgen::from_value(value.clone()).map_err(|error| thrown("invalid_value", &error.to_string()))
}

/// Text or bytes, as bytes.
pub fn bytes(content: &JsValue) -> Vec<u8> {
    match content.as_string() {
        Some(text) => text.into_bytes(),
        None => js_sys::Uint8Array::new(content).to_vec(),
    }
}
