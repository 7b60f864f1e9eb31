//! The wire vectors' inputs, for the test that holds this build to Rust's answers.

use crate::border::thrown;
use serde_json::Value;
use wasm_bindgen::prelude::*;

#[path = "../../../tests/tests/wire/answers.rs"]
mod answers;

/// The output, as JSON, of an input of one of the files of vectors.
#[wasm_bindgen]
pub fn answer(file: &str, input: &str) -> Result<String, JsValue> {
    let answer = || {
        let (_, answer) = answers::FILES.into_iter().find(|(name, _)| *name == file)?;
        Some(answer(&serde_json::from_str::<Value>(input).ok()?).map_err(|error| format!("{error:#}")))
    };
    match answer() {
        Some(Ok(output)) => Ok(output.to_string()),
        Some(Err(problem)) => Err(thrown("no_answer", &problem)),
        None => Err(thrown("no_answer", "no such file of vectors, or no JSON")),
    }
}
