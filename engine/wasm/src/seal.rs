//! Sealed environment variables, with the browser's random bytes.

use crate::border::{from_js, thrown, to_js};
use nself_sync_engine::seal::{self, Fresh, Key, SealError, Variables};
use serde_json::Value;
use wasm_bindgen::prelude::*;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** What opens a box: the auth secret, a passphrase (in Unicode's form NFKC), or a recovery code. */
export type Secret = { auth: Uint8Array } | { passphrase: string } | { recovery: string };
"#;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = crypto, js_name = getRandomValues)]
    fn fill_random(bytes: &mut [u8]);

    /// What opens a box.
    #[wasm_bindgen(typescript_type = "Secret")]
    pub type Secret;
    #[wasm_bindgen(method, getter)]
    fn auth(this: &Secret) -> Option<Vec<u8>>;
    #[wasm_bindgen(method, getter)]
    fn passphrase(this: &Secret) -> Option<String>;
    #[wasm_bindgen(method, getter)]
    fn recovery(this: &Secret) -> Option<String>;
}

/// A new recovery code, to be written down.
#[wasm_bindgen(js_name = recoveryCode)]
pub fn recovery_code() -> String {
    seal::recovery_code(&random()).to_string()
}

/// A box of environment variables while it is open.
#[wasm_bindgen]
pub struct OpenBox(seal::OpenBox);

#[wasm_bindgen]
impl OpenBox {
    /// A new box of this user (the id in its token), with one secret that opens it.
    pub fn create(
        user: &str,
        #[wasm_bindgen(unchecked_param_type = "Record<string, string>")] variables: &JsValue,
        kid: &str,
        secret: &Secret,
    ) -> Result<OpenBox, JsValue> {
        let (variables, mut key) = (read(variables)?, Key::default());
        fill_random(&mut *key);
        let open = |secret: &seal::Secret<'_>| {
            seal::OpenBox::new(user, variables, key, random(), kid, secret, &fresh())
        };
        with(secret, open).map(OpenBox)
    }

    /// Opens `env_encrypted` by the wrap of this key id, or by whichever of the secret's kind opens.
    pub fn open(
        user: &str,
        #[wasm_bindgen(unchecked_param_type = "Json")] value: &JsValue,
        secret: &Secret,
        kid: Option<String>,
    ) -> Result<OpenBox, JsValue> {
        let value = from_js(value)?;
        with(secret, |secret| seal::OpenBox::open(user, &value, secret, kid.as_deref())).map(OpenBox)
    }

    /// What is in it.
    #[wasm_bindgen(unchecked_return_type = "Record<string, string>")]
    pub fn variables(&self) -> JsValue {
        let variables = self.0.variables().iter();
        to_js(&variables.map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect())
    }

    /// Puts other variables in: every secret goes on opening the box.
    pub fn replace(
        &mut self,
        #[wasm_bindgen(unchecked_param_type = "Record<string, string>")] variables: &JsValue,
    ) -> Result<(), JsValue> {
        self.0.replace(read(variables)?, random()).map_err(refused)
    }

    /// The key ids of what opens it.
    pub fn kids(&self) -> Vec<String> {
        self.0.kids().map(str::to_owned).collect()
    }

    /// Lets one more secret open the box, or another in place of the one with this key id.
    #[wasm_bindgen(js_name = addWrap)]
    pub fn add_wrap(&mut self, kid: &str, secret: &Secret) -> Result<(), JsValue> {
        with(secret, |secret| self.0.add_wrap(kid, secret, &fresh()))
    }

    /// Ends what opens the box by this key id.
    #[wasm_bindgen(js_name = removeWrap)]
    pub fn remove_wrap(&mut self, kid: &str) -> Result<(), JsValue> {
        self.0.remove_wrap(kid).map_err(refused)
    }

    /// The value of `env_encrypted`.
    #[wasm_bindgen(unchecked_return_type = "Json")]
    pub fn render(&self) -> JsValue {
        to_js(&self.0.render())
    }
}

fn with<T>(
    secret: &Secret,
    run: impl FnOnce(&seal::Secret<'_>) -> Result<T, SealError>,
) -> Result<T, JsValue> {
    let done = match (secret.auth(), secret.passphrase(), secret.recovery()) {
        (Some(auth), _, _) => run(&seal::Secret::Auth(&auth)),
        (_, Some(passphrase), _) => run(&seal::Secret::Passphrase(&passphrase)),
        (_, _, Some(code)) => run(&seal::Secret::Recovery(&code)),
        (None, None, None) => Err(SealError::InvalidSecret("a secret is auth, passphrase or recovery")),
    };
    done.map_err(refused)
}

fn read(variables: &JsValue) -> Result<Variables, JsValue> {
    let variables = from_js(variables)?;
    let text = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
    let variables = variables.as_object().and_then(|object| object.iter().map(text).collect());
    variables.ok_or_else(|| thrown("invalid_value", "variables have a text for each name"))
}

fn refused(error: SealError) -> JsValue {
    thrown(error.code(), &error.to_string())
}

fn fresh() -> Fresh {
    Fresh { salt: random(), nonce: random() }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill_random(&mut bytes);
    bytes
}
