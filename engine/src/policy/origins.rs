//! `PLUGIN_SYNC_CORS_ORIGINS`: whose pages may call.

use super::InvalidVariable;

/// Whom browsers may call from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Nobody from another origin: no CORS header at all.
    None,
    /// Pages of these origins.
    Listed(Vec<String>),
    /// Any page. Tokens do not travel by themselves, so this exposes nothing to who has none.
    Any,
}

impl Origins {
    /// Reads the variable of that name.
    ///
    /// # Errors
    /// A part is no origin.
    pub fn parse(name: &str, text: &str) -> Result<Origins, InvalidVariable> {
        let origins: Vec<String> = text
            .split(',')
            .map(|origin| origin.trim().trim_end_matches('/').to_owned())
            .filter(|o| !o.is_empty())
            .collect();
        if origins == ["*"] {
            return Ok(Origins::Any);
        }
        match origins.iter().all(|origin| is_origin(origin)) {
            true => Ok(Origins::Listed(origins)),
            false => {
                let allowed = "* or comma-separated origins such as https://app.example.org";
                Err(InvalidVariable(format!("{name}={text}: allowed is {allowed}")))
            }
        }
    }
}

/// `scheme://host[:port]`: what a browser sends as `Origin`, which is compared as it is.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let is_scheme = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"+-.".contains(&c);
    let is_host = |c: u8| c.is_ascii_graphic() && !c.is_ascii_uppercase() && !b"/?#*@".contains(&c);
    !scheme.is_empty() && scheme.bytes().all(is_scheme) && !host.is_empty() && host.bytes().all(is_host)
}
