//! A webhooks plugin, or a collector, for cases and benches: it keeps what it gets, and answers as it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long events may take to come, and how long none must.
const SOON: Duration = Duration::from_secs(30);
const QUIET: Duration = Duration::from_millis(400);

/// What came.
#[derive(Clone, Debug)]
pub struct Got {
    /// `POST /v1/dispatch HTTP/1.1`
    pub line: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Null where it is no JSON.
    pub body: Value,
    /// The body as it came.
    pub bytes: Vec<u8>,
    /// When.
    pub at: Instant,
    /// What it was answered; 0: not at all.
    pub status: u16,
}

impl Got {
    /// A header by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// The event's id.
    pub fn key(&self) -> &str {
        self.body["idempotency_key"].as_str().expect("an event has a key")
    }

    /// Whose event it is.
    pub fn user(&self) -> &str {
        self.body["payload"]["user_id"].as_str().expect("an event has a user")
    }

    /// Of `sync.state.updated`.
    pub fn seq(&self) -> u64 {
        self.body["payload"]["seq"].as_u64().unwrap_or_else(|| panic!("no seq: {}", self.body))
    }
}

/// What a target answers: status and further header lines; `None`: it hangs.
pub type Answer = Option<(u16, String)>;

/// 202, as the plugin does.
pub fn taken() -> Answer {
    status(202)
}

/// This status, and nothing more.
pub fn status(status: u16) -> Answer {
    Some((status, String::new()))
}

type Answers = Arc<dyn Fn(&Value) -> Answer + Send + Sync>;

/// A running target; it listens until the run ends.
pub struct Target {
    addr: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
    answers: Arc<Mutex<Answers>>,
}

impl Target {
    /// One that takes everything.
    pub fn start() -> Self {
        Self::at("127.0.0.1:0")
    }

    /// The same at an address that was free a moment ago.
    pub fn at(addr: &str) -> Self {
        let listener = TcpListener::bind(addr).expect("a free port");
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let takes: Answers = Arc::new(|_| taken());
        let answers = Arc::new(Mutex::new(takes));
        let target = Self {
            addr: listener.local_addr().expect("it listens"),
            got: Arc::clone(&got),
            answers: Arc::clone(&answers),
        };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (got, answers) = (Arc::clone(&got), Arc::clone(&answers));
                thread::spawn(move || serve(&stream, &got, &answers));
            }
        });
        target
    }

    /// `http://127.0.0.1:port`
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// From here on it answers so, by the event's body.
    pub fn answer(&self, answers: impl Fn(&Value) -> Answer + Send + Sync + 'static) {
        *self.answers.lock().expect("no holder panics") = Arc::new(answers);
    }

    /// All that came so far.
    pub fn got(&self) -> Vec<Got> {
        self.got.lock().expect("no holder panics").clone()
    }

    /// How much came so far.
    pub fn count(&self) -> usize {
        self.got.lock().expect("no holder panics").len()
    }

    /// What was answered 202.
    pub fn taken(&self) -> Vec<Got> {
        self.got().into_iter().filter(|got| got.status == 202).collect()
    }

    /// Waits until so many have been taken; fails where more come.
    pub fn takes(&self, count: usize) -> Vec<Got> {
        self.wait_for(&format!("{count} events are taken"), || self.taken().len() >= count);
        thread::sleep(QUIET);
        let taken = self.taken();
        assert_eq!(taken.len(), count, "{:#?}", taken.iter().map(|got| &got.body).collect::<Vec<_>>());
        taken
    }

    /// Waits until something is so.
    pub fn wait_for(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + SOON;
        while !is_so() {
            assert!(Instant::now() < deadline, "not within {SOON:?}: {what}; {:#?}", self.got());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// One connection, kept alive.
fn serve(stream: &TcpStream, got: &Mutex<Vec<Got>>, answers: &Mutex<Answers>) {
    let mut reader = BufReader::new(stream);
    while let Some((line, headers, bytes)) = read(&mut reader) {
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        let answers = Arc::clone(&answers.lock().expect("no holder panics"));
        let answer = answers(&body);
        let status = answer.as_ref().map_or(0, |(status, _)| *status);
        got.lock().expect("no holder panics").push(Got {
            line,
            headers,
            body,
            bytes,
            at: Instant::now(),
            status,
        });
        let Some((status, more)) = answer else {
            thread::sleep(SOON);
            return;
        };
        // With a length of its own the answer does not come to its end.
        let length = if more.starts_with("Content-Length") { "" } else { "Content-Length: 2\r\n" };
        let answer = format!("HTTP/1.1 {status} x\r\n{length}{more}\r\n{{}}");
        if (&*stream).write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Request line, headers, body.
type Request = (String, Vec<(String, String)>, Vec<u8>);

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
    let mut headers = Vec::new();
    loop {
        let mut field = String::new();
        reader.read_line(&mut field).ok()?;
        let Some((name, value)) = field.trim_end().split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length")?.1.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((line.trim_end().to_owned(), headers, body))
}
