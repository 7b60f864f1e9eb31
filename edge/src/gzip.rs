//! gzip (RFC 1952) around the inflate that the engine has anyway. A library's checksum would be a twentieth of all that is
//! deployed: 16 KiB of tables, which do not compress.

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZFlush, MZStatus};

/// What the header says that it has.
const CHECKSUM: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0xe0;

/// Why there is no content.
pub enum Problem {
    /// It is no gzip, or damaged.
    Broken,
    /// There is more of it than is allowed.
    TooLarge,
}

/// The content of all members, which is at most `max` bytes.
pub fn decompress(mut gzip: &[u8], max: usize) -> Result<Vec<u8>, Problem> {
    let mut content = Vec::new();
    loop {
        let began = content.len();
        let deflated = after_header(gzip).ok_or(Problem::Broken)?;
        let after = inflate_onto(&mut content, deflated, max)?;
        let (trailer, rest) = after.split_first_chunk::<8>().ok_or(Problem::Broken)?;
        let [c0, c1, c2, c3, l0, l1, l2, l3] = *trailer;
        let member = content.get(began..).unwrap_or_default();
        let is_whole = u32::from_le_bytes([c0, c1, c2, c3]) == crc32(member);
        // Of a content's length there are 32 bits, and `max` is less.
        if !is_whole || u32::from_le_bytes([l0, l1, l2, l3]) as usize != member.len() {
            return Err(Problem::Broken);
        }
        if rest.is_empty() {
            return Ok(content);
        }
        gzip = rest;
    }
}

/// What follows a member's header.
fn after_header(gzip: &[u8]) -> Option<&[u8]> {
    let (&[0x1f, 0x8b, 8, flags, ..], mut rest) = gzip.split_first_chunk::<10>()? else { return None };
    if flags & RESERVED != 0 {
        return None;
    }
    if flags & EXTRA != 0 {
        let (&length, extra) = rest.split_first_chunk()?;
        rest = extra.get(usize::from(u16::from_le_bytes(length))..)?;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let end = rest.iter().position(|byte| *byte == 0)?;
            rest = rest.get(end + 1..)?;
        }
    }
    if flags & CHECKSUM != 0 { rest.get(2..) } else { Some(rest) }
}

/// Appends what was deflated; returns what follows it. Data that end early are an error: nothing more comes of them.
fn inflate_onto<'a>(content: &mut Vec<u8>, mut deflated: &'a [u8], max: usize) -> Result<&'a [u8], Problem> {
    let mut state = InflateState::new_boxed(DataFormat::Raw);
    let mut buffer = vec![0; 32 << 10];
    loop {
        let result = inflate(&mut state, deflated, &mut buffer, MZFlush::None);
        let (Ok(status), Some(written), Some(rest)) =
            (result.status, buffer.get(..result.bytes_written), deflated.get(result.bytes_consumed..))
        else {
            return Err(Problem::Broken);
        };
        if written.len() > max - content.len() {
            return Err(Problem::TooLarge);
        }
        content.extend_from_slice(written);
        deflated = rest;
        if status == MZStatus::StreamEnd {
            return Ok(deflated);
        }
    }
}

/// CRC-32 of ISO-HDLC, by half bytes: a table of 64 bytes.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 16] = table();
    let half = |crc: u32| (crc >> 4) ^ TABLE[(crc & 15) as usize];
    !bytes.iter().fold(!0, |crc, byte| half(half(crc ^ u32::from(*byte))))
}

const fn table() -> [u32; 16] {
    let mut table = [0; 16];
    let mut at = 0;
    while at < 16 {
        let mut crc = at as u32;
        let mut bit = 0;
        while bit < 4 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
}
