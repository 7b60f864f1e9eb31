//! The SQL of a Durable Object's storage.

use js_sys::{Array, Function, Reflect, Uint8Array};
use nself_sync_sqlite::{Param, Row, Sql, Value};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use wasm_bindgen::prelude::Closure;
use wasm_bindgen::{JsCast, JsValue};
use worker::{Error, Result, State};

/// Integers beyond this are no integers to JavaScript.
const SAFE_MAX: i64 = (1 << 53) - 1;

/// The storage of one object, with what its statements have cost.
#[derive(Clone)]
pub struct Storage {
    storage: JsValue,
    sql: JsValue,
    exec: Function,
    rows: Rc<Cell<Rows>>,
}

/// What statements have cost, as the runtime counts and bills it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rows {
    /// Rows read.
    pub read: u64,
    /// Rows written, those of indexes as well.
    pub written: u64,
}

impl Storage {
    /// The object's own.
    pub fn of(state: &State) -> Result<Storage> {
        let storage: JsValue = state.storage().as_raw().into();
        let sql = Reflect::get(&storage, &"sql".into())?;
        let exec = Reflect::get(&sql, &"exec".into())?.unchecked_into();
        Ok(Storage { storage, sql, exec, rows: Rc::default() })
    }

    /// Runs `work` in one transaction: what it did stays, or, where it fails, nothing of it.
    ///
    /// # Errors
    /// What `work` failed with, or that the transaction could not be.
    pub fn transaction<T: 'static, E: From<Error> + 'static>(
        &self,
        work: impl FnOnce(&mut Storage) -> std::result::Result<T, E> + 'static,
    ) -> std::result::Result<T, E> {
        let (done, mut storage) = (Rc::new(RefCell::new(None)), self.clone());
        let result = Rc::clone(&done);
        let closure = Closure::once(move || -> std::result::Result<JsValue, JsValue> {
            let worked = work(&mut storage);
            // What is thrown rolls back.
            let ended = if worked.is_ok() { Ok(JsValue::UNDEFINED) } else { Err(JsValue::NULL) };
            *result.borrow_mut() = Some(worked);
            ended
        });
        let begin: Function =
            Reflect::get(&self.storage, &"transactionSync".into()).map_err(Error::from)?.unchecked_into();
        let ended = begin.call1(&self.storage, closure.as_ref());
        match (done.take(), ended) {
            (Some(Ok(worked)), Ok(_)) => Ok(worked),
            (Some(Err(failed)), _) => Err(failed),
            (_, Err(thrown)) => Err(Error::from(thrown).into()),
            (None, Ok(_)) => Err(Error::from("the transaction was not run").into()),
        }
    }

    /// What all statements so far have cost.
    pub fn rows(&self) -> Rows {
        self.rows.get()
    }
}

impl Sql for Storage {
    type Error = Error;

    fn exec(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<Vec<Row>> {
        let arguments = Array::of1(&sql.into());
        for param in params {
            arguments.push(&bound(param));
        }
        let cursor = self.exec.apply(&self.sql, &arguments)?;
        let raw: Function = Reflect::get(&cursor, &"raw".into())?.unchecked_into();
        let rows = raw.call0(&cursor)?;
        let rows =
            Array::from(&rows).iter().map(|row| read(&Array::from(&row))).collect::<Result<Vec<_>>>()?;
        let count = |name: &str| Reflect::get(&cursor, &name.into()).ok().and_then(|count| count.as_f64());
        let Rows { read, written } = self.rows.get();
        self.rows.set(Rows {
            read: read + count("rowsRead").unwrap_or_default() as u64,
            written: written + count("rowsWritten").unwrap_or_default() as u64,
        });
        Ok(rows)
    }
}

fn bound(param: &Param<'_>) -> JsValue {
    match param {
        Param::Null => JsValue::NULL,
        Param::Integer(number) => JsValue::from_f64((*number).clamp(-SAFE_MAX, SAFE_MAX) as f64),
        Param::Text(text) => JsValue::from_str(text),
        Param::Blob(bytes) => Uint8Array::from(*bytes).into(),
    }
}

fn read(row: &Array) -> Result<Row> {
    row.iter().map(|value| column(&value)).collect::<Result<_>>().map(Row)
}

fn column(value: &JsValue) -> Result<Value> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    if let Some(number) = value.as_f64() {
        return Ok(Value::Integer(number as i64));
    }
    if let Some(text) = value.as_string() {
        return Ok(Value::Text(text));
    }
    match value.dyn_ref::<js_sys::ArrayBuffer>() {
        Some(buffer) => Ok(Value::Blob(Uint8Array::new(buffer).to_vec())),
        None => Err(Error::from("a column of an unknown kind")),
    }
}
