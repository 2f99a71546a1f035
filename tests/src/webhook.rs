//! A webhook of a test's own: an HTTP server on loopback that keeps what it is sent, and answers as it is told.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Who knows it can write there: in its path, as Slack has it.
pub const SECRET: &str = "planted-webhook-path-4c1e-0123456789";

/// How it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answers {
    /// The status and headers; what is sent is kept where the status is 200.
    Status(u16, String),
    /// Not at all.
    Hangs,
    /// Not at all, and what is sent is kept.
    Keeps,
    /// It closes the connection.
    Closes,
}

/// A message that was taken.
#[derive(Clone, Debug)]
pub struct Message {
    pub text: String,
    pub key: String,
    pub content_type: String,
}

#[derive(Debug)]
struct Inner {
    answers: Answers,
    taken: Vec<Message>,
    asked: usize,
}

#[derive(Debug)]
pub struct Webhook {
    port: u16,
    inner: Arc<Mutex<Inner>>,
    task: JoinHandle<()>,
}

impl Webhook {
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("a port").port();
        let answers = Answers::Status(200, String::new());
        let inner = Arc::new(Mutex::new(Inner { answers, taken: Vec::new(), asked: 0 }));
        let shared = Arc::clone(&inner);
        let task = tokio::spawn(async move {
            // Ends with this task.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Webhook { port, inner, task }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/services/{SECRET}", self.port)
    }

    pub fn answers(&self, answers: Answers) {
        self.inner().answers = answers;
    }

    /// In the order in which they came.
    pub fn taken(&self) -> Vec<Message> {
        self.inner().taken.clone()
    }

    pub fn texts(&self) -> Vec<String> {
        self.taken().into_iter().map(|message| message.text).collect()
    }

    /// Requests so far, taken or not.
    pub fn asked(&self) -> usize {
        self.inner().asked
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, inner: Arc<Mutex<Inner>>) {
    while let Some((head, body)) = read(&mut stream).await {
        let answers = {
            let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
            inner.asked += 1;
            inner.answers.clone()
        };
        let is_kept_alone = answers == Answers::Keeps;
        let (status, headers) = match answers {
            Answers::Status(status, headers) => (status, headers),
            Answers::Keeps => (200, String::new()),
            Answers::Closes => return,
            Answers::Hangs => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                return;
            }
        };
        if status == 200 {
            let header = |name: &str| {
                let line = head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}:")));
                line.and_then(|line| line.split_once(':')).map(|(_, it)| it.trim().to_owned()).unwrap_or_default()
            };
            assert!(head.starts_with(&format!("POST /services/{SECRET} HTTP/1.1")), "{head}");
            let body: Value = serde_json::from_slice(&body).expect("JSON");
            let text = body["text"].as_str().expect("a text").to_owned();
            let message = Message { text, key: header("idempotency-key"), content_type: header("content-type") };
            inner.lock().unwrap_or_else(PoisonError::into_inner).taken.push(message);
        }
        if is_kept_alone {
            tokio::time::sleep(Duration::from_secs(60)).await;
            return;
        }
        let words = if status == 200 { "ok".to_owned() } else { format!("no_service /services/{SECRET}") };
        let length = words.len();
        let answer = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n{words}");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// A request's head and body; None at the connection's end.
async fn read(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
            let length: usize = length.unwrap_or(0);
            if bytes.len() >= end + 4 + length {
                return Some((head, bytes[end + 4..end + 4 + length].to_vec()));
            }
        }
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
        }
    }
}
