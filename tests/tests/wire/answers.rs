//! What the engine says to the input of a wire vector. Shared by the bin that bakes the vectors and the test that
//! holds the engine to them; the wasm build answers the same inputs. All outputs that stand for bytes on the wire or in
//! a store are text: JSON as it is written, bytes as hex.

use anyhow::{Context, Result, bail};
use base64::prelude::{BASE64_STANDARD, Engine};
use nself_sync_engine::error::{ConflictBrief, Reject};
use nself_sync_engine::ids::Hash;
use nself_sync_engine::key::{self, Key};
use nself_sync_engine::policy::Policy;
use nself_sync_engine::state::{Delta, Malformed, Missing, State};
use nself_sync_engine::text::Patch;
use nself_sync_engine::wire;
use serde_json::{Map, Value, json};

/// The output of an input.
type Answer = fn(&Value) -> Result<Value>;

/// The files of vectors, each with what answers its inputs. An input that cannot be answered is a mistake in the vectors.
pub const FILES: [(&str, Answer); 4] =
    [("patch", patch), ("delta", delta), ("keys", keys), ("problems", problems)];

fn patch(input: &Value) -> Result<Value> {
    if let Some(versions) = input["compose"].as_array() {
        let versions: Vec<Vec<u8>> = versions.iter().map(content).collect::<Result<_>>()?;
        let patches = versions.windows(2).map(|pair| Patch::diff(&pair[0], &pair[1]));
        return Ok(show_patch(&Patch::compose_all(patches)?));
    }
    if let Some(patch) = input["patch"].as_str() {
        let base = content(&input["base"])?;
        let applied = Patch::from_json(&serde_json::from_str(patch)?).and_then(|patch| {
            let text = std::str::from_utf8(&base).ok();
            text.map_or_else(|| patch.apply(&base), |text| patch.apply_text(text).map(String::into_bytes))
        });
        return Ok(match applied {
            Ok(result) => json!({ "hash": Hash::of(&result), "bytes": hex(&result) }),
            Err(error) => json!({ "error": error.to_string() }),
        });
    }
    let (base, target) = (content(&input["base"])?, content(&input["target"])?);
    let patch = Patch::diff(&base, &target);
    anyhow::ensure!(patch.apply(&base)? == target, "applying a diff gives its target");
    let mut shown = show_patch(&patch);
    shown["invert"] = show_patch(&patch.invert(&base)?);
    shown["base_hash"] = json!(Hash::of(&base));
    shown["hash"] = json!(Hash::of(&target));
    Ok(shown)
}

fn show_patch(patch: &Patch) -> Value {
    let mut encoded = Vec::new();
    patch.encode(&mut encoded);
    let json = patch.to_json().map(|json| json.to_string());
    json!({ "json": json, "json_len": patch.json_len(), "encoded": hex(&encoded) })
}

fn delta(input: &Value) -> Result<Value> {
    let op = text(input, "op")?;
    let state = |name: &str| -> Result<State> { Ok(State::parse(&object(text(input, name)?)?)?) };
    let read = |name: &str| -> Result<Delta> { Ok(Delta::parse(&object(text(input, name)?)?)?) };
    let malformed = |error: Malformed| json!({ "malformed": { "key": error.key, "problem": error.problem } });
    Ok(match op {
        "state" => match State::parse(&object(text(input, "state")?)?) {
            Ok(state) => json!({ "state": show(state.render()) }),
            Err(error) => malformed(error),
        },
        "delta" => match Delta::parse(&object(text(input, "delta")?)?) {
            Ok(delta) => json!({ "delta": show_delta(&delta) }),
            Err(error) => malformed(error),
        },
        "diff" => {
            let (from, to) = (state("from")?, state("to")?);
            let diff = Delta::diff(&from, &to);
            let keys: Vec<String> = diff.keys().into_iter().map(str::to_owned).collect();
            let patched = diff.clone().patched(&from);
            let mut applied = from.clone();
            applied.apply(&patched)?;
            anyhow::ensure!(applied == to, "applying a diff gives its target");
            json!({ "delta": show_delta(&diff), "patched": show_delta(&patched), "keys": keys })
        }
        "apply" | "reset" => {
            let (mut held, delta) = (state("state")?, read("delta")?);
            match if op == "apply" { held.apply(&delta) } else { held.reset(&delta) } {
                Ok(()) => json!({ "state": show(held.render()) }),
                Err(Missing { contents }) => json!({ "missing": contents }),
            }
        }
        "squash" => json!({ "delta": show_delta(&read("first")?.squash(read("next")?)) }),
        _ => bail!("no such op: {op}"),
    })
}

fn show(object: Map<String, Value>) -> String {
    Value::Object(object).to_string()
}

fn show_delta(delta: &Delta) -> Vec<String> {
    delta.render().into_iter().map(show).collect()
}

fn keys(input: &Value) -> Result<Value> {
    if let Some(path) = input["path"].as_str() {
        return Ok(json!({ "problem": key::path_problem(path) }));
    }
    Ok(match Key::parse(text(input, "key")?) {
        Some(Key::Scalar(name)) => json!({ "scalar": name }),
        Some(Key::Field(entry, field)) => json!({ "entry": entry, "field": field }),
        Some(Key::Entry(entry)) => json!({ "entry": entry }),
        Some(Key::File(file)) => json!({ "file": file, "path": key::within(file) }),
        None => Value::Null,
    })
}

fn problems(input: &Value) -> Result<Value> {
    const ID: &str = "r1";
    let policy = Policy::default();
    let (kind, given) = input.as_object().and_then(|input| input.iter().next()).context("one member")?;
    let call = |read: Result<nself_sync_engine::call::Call, Reject>| read.map(drop);
    let bytes = || content(given);
    let words = given.as_str().unwrap_or_default();
    let refused = match kind.as_str() {
        "push" => call(wire::push(&bytes()?, &policy)),
        "resolve" => call(wire::resolve("c1", &bytes()?, &policy)),
        "pull" => call(wire::pull(words, None)),
        "history" => call(wire::history(words)),
        "file" => call(wire::file(words, None)),
        "protocol" => wire::protocol_version(given.as_str()),
        "reject" => Err(reject(words)?),
        _ => bail!("no such input: {kind}"),
    };
    let Err(reject) = refused else { return Ok(json!({ "accepted": true })) };
    let problem = wire::problem(&reject, ID);
    let headers: Map<String, Value> =
        problem.headers.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    Ok(json!({ "status": problem.status, "headers": headers, "body": problem.body.to_string() }))
}

/// The rejects that no input alone can bring about.
fn reject(name: &str) -> Result<Reject> {
    let side = Some((Hash::of(b"x"), 1));
    let key = "files/src/main.rs".to_owned();
    let brief = ConflictBrief { id: "c1".to_owned(), key, base: side, mine: side, theirs: None };
    let at = wire::timestamp(1_763_815_000_123);
    let device_id = Some("web-1".to_owned());
    Ok(match name {
        "unauthorized" => Reject::Unauthorized("no token"),
        "device_mismatch" => Reject::DeviceMismatch,
        "device_revoked" => Reject::DeviceRevoked,
        "user_token_required" => Reject::UserTokenRequired,
        "too_many_devices" => Reject::TooManyDevices { max: 100 },
        "not_found" => Reject::NotFound("device"),
        "method_not_allowed" => Reject::MethodNotAllowed("GET, POST"),
        "device_forked" => Reject::DeviceForked,
        "stale_push" => Reject::StalePush { last: 17 },
        "seq_ahead" => Reject::SeqAhead { head: 41 },
        "epoch_changed" => Reject::EpochChanged,
        "conflicts_unresolved" => Reject::ConflictsUnresolved(vec![brief]),
        "conflict_moved" => Reject::ConflictMoved { theirs: Some(Hash::of(b"x")) },
        "conflict_moved_gone" => Reject::ConflictMoved { theirs: None },
        "conflict_resolved" => Reject::ConflictResolved { device_id, at, resolution: "mine".to_owned() },
        "body_too_large" => Reject::BodyTooLarge { max: 8 << 20 },
        "too_many_keys" => Reject::TooManyKeys { count: 10_001, max: 10_000 },
        "unsupported_encoding" => Reject::UnsupportedEncoding("gzip"),
        _ => bail!("no such reject: {name}"),
    })
}

fn text<'a>(input: &'a Value, name: &str) -> Result<&'a str> {
    input[name].as_str().with_context(|| format!("{name} of {input}"))
}

fn object(text: &str) -> Result<Map<String, Value>> {
    Ok(serde_json::from_str(text)?)
}

/// A content: text, or bytes as `{"base64": "…"}`.
fn content(given: &Value) -> Result<Vec<u8>> {
    match (given, given["base64"].as_str()) {
        (Value::String(text), _) => Ok(text.as_bytes().to_vec()),
        (_, Some(encoded)) => Ok(BASE64_STANDARD.decode(encoded)?),
        _ => bail!("no content: {given}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
