//! The order of the checks, and every byte of a proof, against an STS of the test's own: it says yes to one request,
//! byte by byte, and to nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::clock;

const AUDIENCE: &str = "prod-1";
const ROLE: &str = "worker";
const ACCOUNT: &str = "123456789012";

/// What an STS on loopback was asked, and what it answers where the request is the right one.
struct FakeSts {
    url: String,
    asked: Arc<AtomicU32>,
}

impl FakeSts {
    /// `right`: the proof that it takes, and for whom.
    async fn start(right: StsProof, id: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let asked = Arc::new(AtomicU32::new(0));
        let (count, id) = (Arc::clone(&asked), id.to_owned());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, right.clone(), id.clone(), Arc::clone(&count)));
            }
        });
        FakeSts { url, asked }
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn serve(mut stream: TcpStream, right: StsProof, id: String, asked: Arc<AtomicU32>) {
    let mut buffer = Vec::new();
    loop {
        let mut chunk = [0; 16 * 1024];
        let Ok(length @ 1..) = stream.read(&mut chunk).await else { return };
        buffer.extend_from_slice(&chunk[..length]);
        if !buffer.ends_with(spillway_proto::sts::BODY.as_bytes()) {
            continue;
        }
        asked.fetch_add(1, Ordering::Relaxed);
        let text = String::from_utf8(std::mem::take(&mut buffer)).expect("ASCII");
        let day = &right.amz_date[..8];
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{day}/us-east-1/sts/aws4_request, SignedHeaders={}, Signature={}",
            right.access_key_id,
            spillway_proto::sts::SIGNED_HEADERS,
            right.signature
        );
        let is_there = |name: &str, value: &str| {
            let mut lines = text.split("\r\n").filter_map(|line| line.split_once(": "));
            let found: Vec<&str> = lines.by_ref().filter(|(key, _)| *key == name).map(|(_, value)| value).collect();
            found == [value]
        };
        let is_right = text.starts_with("POST / HTTP/1.1\r\n")
            && is_there("host", "sts.us-east-1.amazonaws.com")
            && is_there("authorization", &authorization)
            && is_there("x-amz-date", &right.amz_date)
            && is_there("x-amz-security-token", &right.session_token)
            && is_there("x-spillway-audience", AUDIENCE);
        let arn = format!("arn:aws:sts::{ACCOUNT}:assumed-role/{ROLE}/{id}");
        let (status, body) = match is_right {
            true => (
                "200 OK",
                format!(
                    r#"{{"GetCallerIdentityResponse":{{"GetCallerIdentityResult":{{"Account":"{ACCOUNT}","Arn":"{arn}","UserId":"A:{id}"}}}}}}"#
                ),
            ),
            false => ("403 Forbidden", r#"{"Error":{"Code":"SignatureDoesNotMatch"}}"#.to_owned()),
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn right() -> StsProof {
    StsProof {
        access_key_id: "ASIA0123456789ABCDEF".to_owned(),
        session_token: format!("IQoJb3JpZ2lu/+{}==", "abcdefghijklmnopqrstuvwxyz0123456789".repeat(36)),
        amz_date: date(0),
        signature: "0123456789abcdef".repeat(4),
    }
}

/// `20261127T103000Z`, so many seconds before now.
fn date(seconds_ago: u64) -> String {
    let seconds = clock::now().0 / 1000 - seconds_ago;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant's days from civil, turned round.
    let z = days + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let part = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * part + 2) / 5 + 1, if part < 10 { part + 3 } else { part - 9 });
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

fn proofs(sts: &FakeSts) -> Proofs {
    let (sender, audience) = watch::channel(Some(AUDIENCE.to_owned()));
    drop(sender);
    let endpoint = Endpoint::of("us-east-1").expect("a region");
    let mut proofs =
        Proofs::new(endpoint, Some(sts.url.clone()), &Proxies::default(), None, audience).expect("no proxy");
    proofs.budget = Mutex::new(Budget::unlimited());
    proofs
}

const PEER: &str = "10.0.0.7:4711";

async fn expected() -> Result<Expected, Unproven> {
    let address = "10.0.0.7".parse().expect("an address");
    Ok(Expected { account: ACCOUNT.to_owned(), profile: ROLE.to_owned(), address })
}

/// Challenges and proves, over one connection.
async fn prove(proofs: &Proofs, id: &InstanceId, proof: &StsProof) -> Result<(), Unproven> {
    let peer = PEER.parse().expect("an address");
    proofs.challenge(peer, id).expect("a challenge");
    proofs.prove(peer, id, proof, expected()).await.map(drop)
}

#[tokio::test]
async fn every_byte_of_every_field_counts() {
    let (id, right) = (InstanceId("i-0123456789abcdef0".to_owned()), right());
    let sts = FakeSts::start(right.clone(), &id.0).await;
    let proofs = proofs(&sts);
    prove(&proofs, &id, &right).await.expect("the right one");
    let (mut changed, mut to_be_asked) = (0, 1);
    type Field = fn(&mut StsProof) -> &mut String;
    let fields: [Field; 4] =
        [|it| &mut it.access_key_id, |it| &mut it.session_token, |it| &mut it.amz_date, |it| &mut it.signature];
    for field in fields {
        let length = field(&mut right.clone()).len();
        for at in 0..length {
            // One that stays in the alphabet, and some that do not.
            let old = field(&mut right.clone()).as_bytes()[at];
            let within = if old == b'0' { b'1' } else { b'0' };
            for byte in [within, b' ', b'\n', b'&', 0, 0x7f] {
                let mut proof = right.clone();
                let mut bytes = std::mem::take(field(&mut proof)).into_bytes();
                bytes[at] = byte;
                *field(&mut proof) = String::from_utf8(bytes).expect("ASCII");
                let signed_at = check(&proof).ok();
                let is_recent = |at: &u64| clock::now().0.abs_diff(at * 1000) <= 290_000;
                to_be_asked += u32::from(signed_at.as_ref().is_some_and(is_recent));
                changed += 1;
                let refused = prove(&proofs, &id, &proof).await.expect_err("a byte was changed");
                assert!(
                    matches!(refused, Unproven::Malformed(_) | Unproven::Skewed(_) | Unproven::Refused(_)),
                    "{at} {byte}: {refused}"
                );
            }
        }
    }
    assert!(changed > 1_400 * 6 - 1_000, "{changed}");
    assert_eq!(sts.asked(), to_be_asked, "STS was asked only where the cheap checks had passed");
    prove(&proofs, &id, &right).await.expect("still the right one");
}

#[tokio::test]
async fn the_cheap_checks_come_first_in_their_order() {
    let (id, right) = (InstanceId("i-1".to_owned()), right());
    let sts = FakeSts::start(right.clone(), &id.0).await;
    let proofs = proofs(&sts);
    let peer: SocketAddr = PEER.parse().expect("an address");
    let unasked = || async { panic!("the ledger is not asked yet") };

    let long = StsProof { session_token: "a".repeat(4097), ..right.clone() };
    proofs.challenge(peer, &id).expect("a challenge");
    let refused = proofs.prove(peer, &id, &long, unasked()).await.expect_err("too long");
    assert!(matches!(refused, Unproven::Malformed(_)), "{refused}");
    // What is not even read uses nothing up.
    proofs.prove(peer, &id, &right, expected()).await.expect("the challenge is still good");
    let refused = proofs.prove(peer, &id, &right, unasked()).await.expect_err("used up");
    assert!(matches!(refused, Unproven::NoChallenge), "{refused}");
    for seconds_ago in [301, 100_000] {
        proofs.challenge(peer, &id).expect("a challenge");
        let old = StsProof { amz_date: date(seconds_ago), ..right.clone() };
        let refused = proofs.prove(peer, &id, &old, unasked()).await.expect_err("too old");
        assert!(matches!(refused, Unproven::Skewed(_)), "{refused}");
    }
    let asked = sts.asked();
    for (what, expected) in [
        ("unknown", Err(Unproven::NotExpected("no".to_owned()))),
        ("no address", Err(Unproven::NoAddressYet(id.clone()))),
        ("elsewhere", expected().await.map(|it| Expected { address: "10.0.0.8".parse().expect("an address"), ..it })),
    ] {
        proofs.challenge(peer, &id).expect("a challenge");
        proofs.prove(peer, &id, &right, async { expected }).await.expect_err(what);
        assert_eq!(sts.asked(), asked, "{what}");
    }
    let mapped: SocketAddr = "[::ffff:10.0.0.7]:9".parse().expect("an address");
    proofs.challenge(mapped, &id).expect("a challenge");
    proofs.prove(mapped, &id, &right, expected()).await.expect("an IPv4 address, mapped");
}

#[tokio::test]
async fn the_role_is_the_profiles_name_or_what_is_set_and_nobody_is_let_in_without_an_installation() {
    let (id, right) = (InstanceId("i-1".to_owned()), right());
    let sts = FakeSts::start(right.clone(), &id.0).await;
    let mut proofs = proofs(&sts);
    let of_profile = |profile: &str| {
        let profile = profile.to_owned();
        async { expected().await.map(|it| Expected { profile, ..it }) }
    };
    let peer: SocketAddr = PEER.parse().expect("an address");
    for profile in ["another", ""] {
        proofs.challenge(peer, &id).expect("a challenge");
        let refused = proofs.prove(peer, &id, &right, of_profile(profile)).await.expect_err("another role");
        assert!(refused.to_string().contains("set grpc.role to it"), "{refused}");
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
    proofs.role = Some(ROLE.to_owned());
    proofs.challenge(peer, &id).expect("a challenge");
    proofs.prove(peer, &id, &right, of_profile("another")).await.expect("as it is set");
    proofs.audience = watch::channel(None).1;
    let refused = proofs.challenge(peer, &id).expect_err("unknown");
    assert_eq!(refused.code(), Code::Unavailable);
}

#[tokio::test]
async fn where_sts_does_not_answer_nobody_is_let_in() {
    let (id, right) = (InstanceId("i-1".to_owned()), right());
    let nobody = FakeSts { url: "http://127.0.0.1:1/".to_owned(), asked: Arc::default() };
    let refused = prove(&proofs(&nobody), &id, &right).await.expect_err("nobody answers");
    assert!(matches!(&refused, Unproven::Unavailable(why) if why.contains("STS did not answer")), "{refused}");
    assert_eq!(refused.code(), Code::Unavailable);
    // It takes the connection, and says nothing, or one byte and then nothing.
    for said in [&b""[..], b"H"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let silent = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let _ = stream.read(&mut [0; 16 * 1024]).await.expect("the request");
            stream.write_all(said).await.expect("written");
            std::future::pending::<()>().await;
        });
        let mut proofs = proofs(&FakeSts { url, asked: Arc::default() });
        proofs.sts.answers_within = Duration::from_millis(200);
        let refused = prove(&proofs, &id, &right).await.expect_err("it hangs");
        assert!(refused.to_string().contains("no answer in time"), "{refused}");
        silent.abort();
    }
}
