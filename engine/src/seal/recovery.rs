//! Recovery codes: 160 random bits as 32 letters and digits that are not taken for one another (Crockford's base32).

use super::SealError;
use zeroize::Zeroizing;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const GROUP: usize = 4;

/// The code to write down, `XXXX-XXXX-…`, of random bytes.
pub fn recovery_code(random: &[u8; 20]) -> Zeroizing<String> {
    let mut code = Zeroizing::new(String::with_capacity(40));
    for (at, digit) in digits(random).enumerate() {
        if at > 0 && at % GROUP == 0 {
            code.push('-');
        }
        code.push(digit);
    }
    code
}

fn digits(random: &[u8; 20]) -> impl Iterator<Item = char> {
    let (groups, _) = random.as_chunks::<5>();
    groups.iter().flat_map(|group| {
        let bits = group.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
        (0..8).rev().filter_map(move |at| {
            let digit = usize::try_from(bits >> (5 * at) & 31).ok()?;
            ALPHABET.get(digit).map(|digit| char::from(*digit))
        })
    })
}

/// The random bytes of a code, however it was typed: small letters, other groups, O for 0, I or L for 1.
pub(super) fn parse(code: &str) -> Result<Zeroizing<[u8; 20]>, SealError> {
    let invalid = SealError::InvalidSecret("a recovery code has 32 letters and digits");
    let mut random = Zeroizing::new([0; 20]);
    let (mut bits, mut count) = (0_u64, 0);
    let mut bytes = random.iter_mut();
    for typed in code.chars().filter(|typed| !typed.is_whitespace() && *typed != '-') {
        let typed = match typed.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        };
        let digit = ALPHABET.iter().position(|digit| char::from(*digit) == typed).ok_or(invalid)?;
        bits = bits << 5 | digit as u64;
        count += 5;
        if count >= 8 {
            count -= 8;
            *bytes.next().ok_or(invalid)? = (bits >> count) as u8;
        }
    }
    if bytes.next().is_some() || count != 0 {
        return Err(invalid);
    }
    Ok(random)
}
