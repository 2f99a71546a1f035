//! A metadata service on loopback: the token, the identity document, and the notice that a test gives. Refuses what the
//! real one refuses.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct State {
    tokens: u32,
    answers: BTreeMap<String, String>,
}

pub struct Imds {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Imds {
    pub fn start(instance_id: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let document = format!(
            r#"{{"instanceId":"{instance_id}","imageId":"ami-1","instanceType":"c6i.xlarge","privateIp":"127.0.0.1",
            "accountId":"1","region":"us-east-1","availabilityZone":"us-east-1a","pendingTime":"2026-01-01T00:00:00Z"}}"#
        );
        let state = Arc::new(Mutex::new(State::default()));
        let imds = Self { address, state: state.clone() };
        imds.answer("dynamic/instance-identity/document", &document);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = state.clone();
                std::thread::spawn(move || serve(stream, &state));
            }
        });
        imds
    }

    pub fn answer(&self, path: &str, answer: &str) {
        self.state.lock().expect("state").answers.insert(format!("/latest/{path}"), answer.to_owned());
    }

    pub fn interrupt(&self, at: &str) {
        self.answer("meta-data/spot/instance-action", &format!(r#"{{"action":"terminate","time":"{at}"}}"#));
    }

    /// Tokens given before are no longer good.
    pub fn withdraw_tokens(&self) {
        self.state.lock().expect("state").tokens += 1;
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) {
    let Ok(reader) = stream.try_clone() else { return };
    let mut lines = BufReader::new(reader).lines();
    while let Some(Ok(first)) = lines.next() {
        let headers: Vec<String> = lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
        let header = |name: &str| {
            headers.iter().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let mut words = first.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (status, body) = {
            let state = state.lock().expect("state");
            let token = format!("token-{}", state.tokens);
            match (method, path) {
                ("PUT", "/latest/api/token") if header("x-aws-ec2-metadata-token-ttl-seconds").is_some() => {
                    (200, token)
                }
                ("PUT", _) => (400, String::new()),
                _ if header("x-aws-ec2-metadata-token") != Some(token) => (401, String::new()),
                (_, path) => state.answers.get(path).map_or((404, String::new()), |answer| (200, answer.clone())),
            }
        };
        let answer =
            format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nContent-Type: text/plain\r\n\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
