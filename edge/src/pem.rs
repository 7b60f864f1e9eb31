//! Public keys as PEM, as far as WebCrypto needs them: it takes a SubjectPublicKeyInfo and nothing else.

use nself_sync_engine::jwt::Algorithm;

/// `AlgorithmIdentifier` of rsaEncryption, with its NULL.
const RSA: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
/// The object identifiers id-ecPublicKey and prime256v1, as an `AlgorithmIdentifier` holds them.
const EC: [u8; 19] = [
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
    0x01, 0x07,
];

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
/// The version of a certificate, which may be left out.
const VERSION: u8 = 0xa0;

/// The key's SubjectPublicKeyInfo as DER; `None`: it is no public key or certificate of that algorithm.
pub fn public_key(pem: &str, algorithm: Algorithm) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (base64, _) = rest.split_once("-----END ")?;
    let der = decode(base64)?;
    let spki = match label {
        "PUBLIC KEY" => der,
        "RSA PUBLIC KEY" => {
            let key = [&[0][..], &der].concat();
            element(SEQUENCE, &[&RSA[..], &element(BIT_STRING, &key)].concat())
        }
        "CERTIFICATE" => of_certificate(&der)?.to_vec(),
        _ => return None,
    };
    let (tag, content, _) = split(&spki)?;
    let (_, identifier, _) = split(content)?;
    let is_meant = match algorithm {
        Algorithm::Rs256 => RSA.ends_with(identifier),
        Algorithm::Es256 => identifier == EC,
        Algorithm::Hs256 => false,
    };
    (tag == SEQUENCE && is_meant && !identifier.is_empty()).then_some(spki)
}

/// RFC 5280 §4.1: in the signed part after version, serial number, signature, issuer, validity and subject.
fn of_certificate(der: &[u8]) -> Option<&[u8]> {
    let (_, certificate, _) = split(der)?;
    let (_, mut signed, _) = split(certificate)?;
    if signed.first() == Some(&VERSION) {
        signed = split(signed)?.2;
    }
    for _ in 0..5 {
        signed = split(signed)?.2;
    }
    let rest = split(signed)?.2;
    signed.get(..signed.len() - rest.len())
}

/// The first element: its tag, its content, and what follows it.
fn split(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        ..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let head = match content.len() {
        ..=0x7f => vec![tag, content.len() as u8],
        _ => [&[tag, 0x80 | length.len() as u8][..], &length].concat(),
    };
    [&head, content].concat()
}

fn decode(base64: &str) -> Option<Vec<u8>> {
    let text: String = base64.chars().filter(|c| !c.is_whitespace()).collect();
    nself_sync_engine::wire::base64(&text)
}
