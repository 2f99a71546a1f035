//! Attacks by what is sent as a proof, and by what answers it.

use std::net::{IpAddr, TcpListener};

use spillway_emulator::{Canned, Refuse};
use spillway_proto::v1;
use spillway_tests::prover::{NOWHERE, Prover, Signed};
use tonic::Code;

use super::Scene;

const NOT_THE_ONE: &str = "STS refused the proof (SignatureDoesNotMatch)";

/// What is signed differs from what is sent, so STS says no.
async fn signed_otherwise(scene: &Scene, what: &str, change: impl FnOnce(Signed) -> Signed) {
    let agent = scene.agent().await;
    let asked = scene.asked();
    scene.refused(what, agent.register_with(change).await, Code::Unauthenticated, NOT_THE_ONE);
    assert_eq!(scene.asked(), asked + 1, "{what}: STS judges it");
}

/// Refused by the cheap checks: STS is not asked.
async fn refused_unasked(scene: &Scene, agent: &Prover, what: &str, proof: v1::StsProof, code: Code, words: &str) {
    let mut client = agent.connect().await;
    agent.challenge(&mut client).await.expect("a challenge");
    let asked = scene.asked();
    scene.refused(what, agent.send(&mut client, proof).await, code, words);
    assert_eq!(scene.asked(), asked, "{what}");
}

pub(super) async fn sent_again(scene: &Scene) {
    let agent = scene.agent().await;
    let mut client = agent.connect().await;
    let challenge = agent.challenge(&mut client).await.expect("a challenge");
    let proof = agent.sign(&Signed::answering(&challenge));
    scene.plant([agent.send(&mut client, proof.clone()).await.expect("registered").session_token]);
    let again = agent.send(&mut client, proof.clone()).await;
    scene.refused("the same proof again", again, Code::FailedPrecondition, "no challenge waits for this proof");
    let mut another = agent.connect().await;
    let elsewhere = agent.send(&mut another, proof).await;
    scene.refused("over another connection", elsewhere, Code::FailedPrecondition, "no challenge waits");

    // The nonce is used up by what was refused too.
    let challenge = agent.challenge(&mut client).await.expect("a challenge");
    let right = agent.sign(&Signed::answering(&challenge));
    let wrong = v1::StsProof { signature: "0".repeat(64), ..right.clone() };
    scene.refused("a wrong signature", agent.send(&mut client, wrong).await, Code::Unauthenticated, NOT_THE_ONE);
    let late = agent.send(&mut client, right).await;
    scene.refused("the right one after it", late, Code::FailedPrecondition, "no challenge waits");

    // Of another connection's challenge, that one's proof.
    let theirs = agent.challenge(&mut another).await.expect("a challenge");
    agent.challenge(&mut client).await.expect("a challenge");
    let proof = agent.sign(&Signed::answering(&theirs));
    scene.refused("another's nonce", agent.send(&mut client, proof).await, Code::Unauthenticated, NOT_THE_ONE);
}

pub(super) async fn for_another_server(scene: &Scene) {
    let other = |signed| Signed { audience: "another-installation".to_owned(), ..signed };
    signed_otherwise(scene, "another audience", other).await;
    let none = |signed| Signed { without: &["x-spillway-audience"], ..signed };
    signed_otherwise(scene, "no audience", none).await;
}

pub(super) async fn nonce_not_signed(scene: &Scene) {
    let without = |signed| Signed { without: &["x-spillway-nonce"], ..signed };
    signed_otherwise(scene, "a nonce that is not signed", without).await;
}

pub(super) async fn injected(scene: &Scene) {
    let agent = scene.agent().await;
    let mut client = agent.connect().await;
    let challenge = agent.challenge(&mut client).await.expect("a challenge");
    let right = agent.sign(&Signed::answering(&challenge));
    // Ten of an address are answered at once.
    let agents = [scene.agent().await, scene.agent().await];
    for (number, piece) in ["&Action=x", "=", "\r\nhost: evil", "\n", " ", "é"].into_iter().enumerate() {
        let v1::StsProof { access_key_id, session_token, amz_date, signature } = right.clone();
        let with = |text: &str| format!("{}{piece}", &text[..text.len() - 1]);
        let is_in_base64 = piece == "=";
        for (field, proof) in [
            ("access_key_id", v1::StsProof { access_key_id: with(&access_key_id), ..right.clone() }),
            ("session_token", v1::StsProof { session_token: with(&session_token), ..right.clone() }),
            ("amz_date", v1::StsProof { amz_date: with(&amz_date), ..right.clone() }),
            ("signature", v1::StsProof { signature: with(&signature), ..right.clone() }),
        ] {
            if is_in_base64 && field == "session_token" {
                continue;
            }
            let words = format!("sts_proof.{field} is outside of its bounds");
            refused_unasked(scene, &agents[number % 2], field, proof, Code::InvalidArgument, &words).await;
        }
    }
}

pub(super) async fn another_action(scene: &Scene) {
    let other = |signed| Signed { body: "Action=GetSessionToken&Version=2011-06-15", ..signed };
    signed_otherwise(scene, "another action", other).await;
    let twice = |signed| Signed { body: "Action=GetCallerIdentity&Version=2011-06-15&action=x", ..signed };
    signed_otherwise(scene, "two actions", twice).await;
}

pub(super) async fn another_host(scene: &Scene) {
    for host in ["sts.amazonaws.com", "sts.us-east-1.amazonaws.com.evil.example", "s3.us-east-1.amazonaws.com"] {
        signed_otherwise(scene, host, |signed| Signed { host: Some(host.to_owned()), ..signed }).await;
    }
    signed_otherwise(scene, "another service", |signed| Signed { service: "ec2", ..signed }).await;
}

pub(super) async fn another_region(scene: &Scene) {
    signed_otherwise(scene, "another region", |signed| Signed { region: "eu-west-1".to_owned(), ..signed }).await;
    let china = |signed| Signed {
        region: "cn-north-1".to_owned(),
        host: Some("sts.cn-north-1.amazonaws.com.cn".to_owned()),
        ..signed
    };
    signed_otherwise(scene, "another partition", china).await;
}

/// Registers while STS answers with this.
async fn answered(scene: &Scene, what: &str, agent: &Prover, canned: Canned, code: Code, words: &str) {
    scene.stage.emulator().answer(canned).expect("a fault");
    scene.refused(what, agent.register().await, code, words);
    scene.stage.emulator().clear_faults();
}

fn canned(status: u16, body: &str) -> Canned {
    Canned {
        action: "GetCallerIdentity".to_owned(),
        calls: 1,
        status,
        body: body.to_owned(),
        content_type: None,
        location: None,
    }
}

/// As STS says who the caller is.
fn says(arn: &str) -> Canned {
    let (account, session) = (arn.split(':').nth(4).unwrap_or_default(), arn.rsplit('/').next().unwrap_or_default());
    let body = format!(
        r#"{{"GetCallerIdentityResponse":{{"GetCallerIdentityResult":{{"Account":"{account}","Arn":"{arn}","UserId":"A:{session}"}}}}}}"#
    );
    canned(200, &body)
}

pub(super) async fn redirected(scene: &Scene) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("it is set");
    let location = Some(format!("http://{}/", listener.local_addr().expect("an address")));
    let agent = scene.agent().await;
    for status in [301, 302, 307, 308] {
        let answer = Canned { location: location.clone(), ..canned(status, "") };
        answered(scene, "a redirection", &agent, answer, Code::Unavailable, "a redirection").await;
    }
    assert!(listener.accept().is_err(), "it is not followed");
}

pub(super) async fn lenient_answers(scene: &Scene) {
    let agent = scene.agent().await;
    let good = says(&format!("arn:aws:sts::123456789012:assumed-role/spillway-worker/{}", agent.id)).body;
    let xml = format!(
        "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:sts::123456789012:assumed-role/spillway-worker/{}</Arn>\
         <Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>",
        agent.id
    );
    let as_xml = Canned { content_type: Some("text/xml".to_owned()), ..canned(200, &xml) };
    answered(scene, "XML", &agent, as_xml, Code::Unavailable, "no JSON").await;
    let doubled = good.replace("\"Account\"", "\"Account\":\"123456789012\",\"Account\"");
    let long = format!("{}{good}", " ".repeat(10_000_000));
    // STS is asked four times at once for an instance.
    let others = [scene.agent().await, scene.agent().await];
    for (number, (what, body, words)) in [
        ("XML that says it is JSON", xml, "no JSON of the form"),
        ("two documents", format!("{good}{good}"), "no JSON of the form"),
        ("something behind it", format!("{good}x"), "no JSON of the form"),
        ("a key twice", doubled, "no JSON of the form"),
        ("ten megabytes", long, "too long"),
        ("nothing", String::new(), "no JSON of the form"),
    ]
    .into_iter()
    .enumerate()
    {
        answered(scene, what, &others[number % 2], canned(200, &body), Code::Unavailable, words).await;
    }
}

pub(super) async fn another_claim(scene: &Scene) {
    // The claim is another's, from its address; the signature is this one's own.
    let (mine, theirs) = (scene.agent().await, scene.agent().await);
    let claims = Prover { id: theirs.id.clone(), address: theirs.address, ..mine.clone() };
    let words = format!("the proof is of {}, and {} is expected to be itself", mine.id, theirs.id);
    scene.refused("another's name", claims.register().await, Code::PermissionDenied, &words);

    // Whatever else it says changes nothing.
    let mut client = mine.connect().await;
    let challenge = mine.challenge(&mut client).await.expect("a challenge");
    let mut request = mine.request(Some(mine.sign(&Signed::answering(&challenge))));
    let identity = request.identity.as_mut().expect("an identity");
    (identity.account_id, identity.region) = ("999999999999".to_owned(), "eu-west-1".to_owned());
    (identity.private_ip, identity.image_id) = (theirs.address.to_string(), "ami-evil".to_owned());
    client.register(request).await.expect("it is who STS says");
}

pub(super) async fn assumed_by_hand(scene: &Scene) {
    let agent = scene.agent().await;
    let arn = |role: &str, session: &str| format!("arn:aws:sts::123456789012:{role}/{session}");
    let elsewhere = arn("assumed-role/spillway-worker", &agent.id).replace("123456789012", "210987654321");
    for (what, arn, words) in [
        ("another role", arn("assumed-role/developer", &agent.id), "the proof is of role \"developer\""),
        ("another account", elsewhere, "the proof is of account 210987654321"),
    ] {
        answered(scene, what, &agent, says(&arn), Code::PermissionDenied, words).await;
    }
    let user = says(&arn("user", &agent.id).replace(":sts:", ":iam:"));
    answered(scene, "a user", &agent, user, Code::Unavailable, "of no assumed role").await;
    let china = arn("assumed-role/spillway-worker", &agent.id).replace("arn:aws:", "arn:aws-cn:");
    answered(scene, "another partition", &agent, says(&china), Code::PermissionDenied, "the proof is of account").await;
}

pub(super) async fn the_role_elsewhere(scene: &Scene) {
    let agent = scene.agent().await;
    let primary = says("arn:aws:sts::123456789012:assumed-role/spillway-worker/i-0fffffffffffffff0");
    answered(scene, "the primary", &agent, primary, Code::PermissionDenied, "the proof is of i-0fffffffffffffff0")
        .await;
}

pub(super) async fn used_elsewhere(scene: &Scene) {
    let (agent, other) = (scene.agent().await, scene.agent().await);
    for address in [NOWHERE, other.address, IpAddr::from([127, 9, 9, 9])] {
        let thief = Prover { address, ..agent.clone() };
        let asked = scene.asked();
        let words = format!("the connection comes from {address}, and {} has the address", agent.id);
        scene.refused("from elsewhere", thief.register().await, Code::PermissionDenied, &words);
        assert_eq!(scene.asked(), asked, "STS is not asked for it");
    }
}

pub(super) async fn of_another_time(scene: &Scene) {
    let agent = scene.agent().await;
    for ago_seconds in [302, 86_400, -302] {
        let asked = scene.asked();
        let answer = agent.register_with(|signed| Signed { ago_seconds, ..signed }).await;
        scene.refused("another time", answer, Code::Unauthenticated, "the proof was signed at a time");
        assert_eq!(scene.asked(), asked);
    }
    agent.register_with(|signed| Signed { ago_seconds: 240, ..signed }).await.expect("within five minutes");
}

pub(super) async fn oversized(scene: &Scene) {
    let agent = scene.agent().await;
    let right = agent.sign(&Signed::answering(&v1::Challenge { nonce: vec![0; 32], audience: "a".to_owned() }));
    let long = |session_token: String| v1::StsProof { session_token, ..right.clone() };
    let words = "sts_proof.session_token is outside of its bounds";
    refused_unasked(scene, &agent, "4097 bytes", long("a".repeat(4097)), Code::InvalidArgument, words).await;
    refused_unasked(scene, &agent, "64 KiB", long("a".repeat(65_536)), Code::OutOfRange, "message length").await;
}

/// Proofs that nothing waits for, as fast as they are answered.
pub(super) async fn much_work(scene: &Scene) {
    let (agent, honest) = (scene.agent().await, scene.agent().await);
    let thief = Prover { address: IpAddr::from([127, 9, 9, 8]), ..agent.clone() };
    let proof = agent.sign(&Signed::answering(&v1::Challenge { nonce: vec![0; 32], audience: "a".to_owned() }));
    let asked = scene.asked();
    let mut sending = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let client = thief.connect().await;
        for _ in 0..20 {
            let (thief, mut client, proof) = (thief.clone(), client.clone(), proof.clone());
            sending
                .spawn(async move { thief.send(&mut client, proof).await.expect_err("nothing waits for it").code() });
        }
    }
    honest.register().await.expect("an agent registers meanwhile");
    assert_eq!(scene.asked(), asked + 1, "STS is asked for that one alone");
    let codes = sending.join_all().await;
    assert!(codes.iter().all(|code| *code == Code::FailedPrecondition), "{codes:?}");
    assert_eq!(scene.asked(), asked + 1);
}

pub(super) async fn sts_is_down(scene: &Scene) {
    let agent = scene.agent().await;
    for (code, status) in [("Throttling", 400), ("ServiceUnavailable", 503), ("InternalFailure", 500)] {
        let fault = Refuse { action: "GetCallerIdentity".to_owned(), code: code.to_owned(), calls: 1, message: None };
        scene.stage.emulator().refuse_with_status(fault, status).expect("a fault");
        scene.refused(code, agent.register().await, Code::Unavailable, "STS did not answer");
    }
    let metrics = format!("http://127.0.0.1:{}/metrics", scene.stage.coordinator().http_port);
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let metrics = http.get(metrics).send().await.expect("an answer").text().await.expect("text");
    let counted =
        metrics.lines().find(|line| line.starts_with("spillway_registrations_total{outcome=\"unavailable\"}"));
    assert!(counted.is_some(), "{metrics}");
    agent.register().await.expect("once it answers");
}
