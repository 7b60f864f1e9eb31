//! A patch as bytes, for storage, and as JSON, for the wire.

use serde_json::Value;

use super::{Op, Patch, PatchError};

/// Whole numbers up to here survive every JSON implementation.
const JSON_INTEGER_MAX: u64 = 1 << 53;

impl Patch {
    /// Appends the stored form: per operation the lengths of skip, delete and insert as LEB128 (seven bits a
    /// byte, low ones first), then the inserted bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for op in &self.ops {
            for length in [op.skip, op.delete, op.insert.len()] {
                encode_length(length, out);
            }
            out.extend_from_slice(&op.insert);
        }
    }

    /// Reads what [`Patch::encode`] wrote; `bytes` are the whole of it.
    ///
    /// # Errors
    /// [`PatchError::Truncated`], [`PatchError::TooLarge`].
    pub fn decode(mut bytes: &[u8]) -> Result<Patch, PatchError> {
        let mut ops = Vec::new();
        while !bytes.is_empty() {
            let op = ops.len();
            let skip = decode_length(&mut bytes, op)?;
            let delete = decode_length(&mut bytes, op)?;
            let length = decode_length(&mut bytes, op)?;
            let (insert, rest) = bytes.split_at_checked(length).ok_or(PatchError::Truncated { op })?;
            ops.push(Op { skip, delete, insert: insert.to_vec() });
            bytes = rest;
        }
        Ok(Patch { ops })
    }

    /// The protocol's form, `[[skip, delete, "insert"], …]`; `None` where an insert is not UTF-8.
    pub fn to_json(&self) -> Option<Value> {
        let triple = |op: &Op| {
            let insert = std::str::from_utf8(&op.insert).ok()?;
            Some(Value::from(vec![Value::from(op.skip), Value::from(op.delete), Value::from(insert)]))
        };
        self.ops.iter().map(triple).collect::<Option<Vec<Value>>>().map(Value::from)
    }

    /// Length in bytes of [`Patch::to_json`], as serde_json writes it, without making it. (For inserts that are not
    /// UTF-8 it is near what their text would have.)
    pub fn json_len(&self) -> usize {
        let triple = |op: &Op| {
            let escapes: usize = op.insert.iter().map(|&byte| escaped_len(byte)).sum();
            r#"[,,""],"#.len() + digits(op.skip) + digits(op.delete) + escapes
        };
        let triples: usize = self.ops.iter().map(triple).sum();
        2 + triples.saturating_sub(1)
    }

    /// Reads the protocol's form.
    ///
    /// # Errors
    /// [`PatchError::NotTriples`], [`PatchError::NotATriple`], [`PatchError::NotALength`].
    pub fn from_json(value: &Value) -> Result<Patch, PatchError> {
        let triples = value.as_array().ok_or(PatchError::NotTriples)?;
        let op = |(index, triple): (usize, &Value)| match triple.as_array().map(Vec::as_slice) {
            Some([skip, delete, Value::String(insert)]) => Ok(Op {
                skip: json_length(skip, index)?,
                delete: json_length(delete, index)?,
                insert: insert.as_bytes().to_vec(),
            }),
            Some(_) | None => Err(PatchError::NotATriple { op: index }),
        };
        Ok(Patch { ops: triples.iter().enumerate().map(op).collect::<Result<_, _>>()? })
    }
}

fn encode_length(mut length: usize, out: &mut Vec<u8>) {
    while length >= 0x80 {
        out.push((length & 0x7F) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

fn decode_length(bytes: &mut &[u8], op: usize) -> Result<usize, PatchError> {
    let mut length = 0_usize;
    for shift in (0..usize::BITS).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(PatchError::Truncated { op })?;
        *bytes = rest;
        let bits = usize::from(byte & 0x7F);
        if (bits << shift) >> shift != bits {
            return Err(PatchError::TooLarge { op });
        }
        length |= bits << shift;
        if byte < 0x80 {
            return Ok(length);
        }
    }
    Err(PatchError::TooLarge { op })
}

fn json_length(value: &Value, op: usize) -> Result<usize, PatchError> {
    let length = value.as_u64().filter(|&length| length <= JSON_INTEGER_MAX);
    // What this machine cannot address (wasm's 32 bits) reaches past every base, as it does where there are 64.
    Ok(usize::try_from(length.ok_or(PatchError::NotALength { op })?).unwrap_or(usize::MAX))
}

fn escaped_len(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0C => 2,
        0..0x20 => 6,
        0x20.. => 1,
    }
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}
