mod tls;

use std::net::IpAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::guests::Guests;
use super::*;

fn ip(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

const SOON: Duration = Duration::from_millis(200);

fn limits(all: usize, of_peer: usize) -> Limits {
    Limits { all, of_peer, first_request: SOON, idle: SOON * 4 }
}

fn guests(all: usize, of_peer: usize) -> Arc<Guests> {
    Arc::new(Guests::new(limits(all, of_peer)))
}

/// Whether the connection must go.
fn is_gone(receiver: &mut oneshot::Receiver<()>) -> bool {
    use tokio::sync::oneshot::error::TryRecvError;
    receiver.try_recv() == Err(TryRecvError::Closed)
}

#[test]
fn descriptors_are_kept_for_redis_and_ec2() {
    for (files, all, of_peer) in [
        (Some(1024), 896, 448),
        (Some(256), 128, 64),
        (Some(20_000), 8192, 1024),
        (None, 8192, 1024),
        (Some(10), 16, 8),
    ] {
        let limits = Limits::of_files(files);
        assert_eq!((limits.all, limits.of_peer), (all, of_peer), "{files:?}");
    }
}

#[tokio::test]
async fn who_says_nothing_gives_way_first_and_a_session_never_does() {
    let guests = guests(4, 4);
    let now = Instant::now();
    let admit = |after: u64| guests.admit(ip(1), now + Duration::from_secs(after));
    let (session, mut of_session) = admit(0).expect("room");
    let (asking, mut of_asking) = admit(1).expect("room");
    let (idle, mut of_idle) = admit(2).expect("room");
    let (_silent, mut of_silent) = admit(3).expect("room");
    let _held = session.holds_session();
    let _open = asking.asks(now);
    drop(idle.asks(now));
    let mut later = Vec::new();
    for (number, gone) in [&mut of_silent, &mut of_idle, &mut of_asking].into_iter().enumerate() {
        assert!(!is_gone(gone), "{number}");
        let (pass, receiver) = admit(10).expect("another gives way");
        let held = pass.holds_session();
        later.push((pass, receiver, held));
        assert!(is_gone(gone), "{number}");
    }
    assert!(admit(11).is_none(), "all four are sessions");
    assert!(!is_gone(&mut of_session));
    drop(later.pop());
    assert!(admit(12).is_some(), "one has ended");
}

#[tokio::test]
async fn an_address_makes_room_for_itself_before_it_takes_anothers() {
    let guests = guests(8, 2);
    let now = Instant::now();
    let (_other, mut of_other) = guests.admit(ip(2), now).expect("room");
    let mut mine: Vec<_> = (1..=2).map(|s| guests.admit(ip(1), now + Duration::from_secs(s)).expect("room")).collect();
    let third = guests.admit(ip(1), now + Duration::from_secs(3)).expect("its own oldest goes");
    assert!(is_gone(&mut mine[0].1) && !is_gone(&mut mine[1].1) && !is_gone(&mut of_other));
    let _sessions = (mine[1].0.holds_session(), third.0.holds_session());
    assert!(guests.admit(ip(1), now).is_none(), "both are sessions");
    let mapped: IpAddr = "::ffff:10.0.0.1".parse().expect("an address");
    assert!(guests.admit(mapped, now).is_none(), "the same address, in the other family");
    assert!(guests.admit(ip(3), now).is_some());
}

#[tokio::test]
async fn without_a_descriptor_fewer_are_kept_for_a_while() {
    let guests = guests(100, 100);
    let now = Instant::now();
    let mut all: Vec<_> = (0..60).map(|_| guests.admit(ip(1), now).expect("room")).collect();
    assert_eq!(guests.make_room(now), 16);
    let closed = |all: &mut Vec<(Pass, oneshot::Receiver<()>)>| {
        all.iter_mut().map(|(_, gone)| is_gone(gone)).filter(|gone| *gone).count()
    };
    assert_eq!(closed(&mut all), 16);
    all.push(guests.admit(ip(1), now).expect("another gives way"));
    assert_eq!(closed(&mut all), 17);
    all.push(guests.admit(ip(1), now + Duration::from_secs(61)).expect("room again"));
    assert_eq!(closed(&mut all), 17);
}

async fn connected(door: &mut Door) -> (TcpStream, Connection) {
    let address = door.local_addr().expect("an address");
    let (client, (server, _)) = tokio::join!(TcpStream::connect(address), door.next());
    (client.expect("a connection"), server)
}

async fn door(limits: Limits) -> Door {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    Doors::with(limits).door(listener, "a test")
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed_in_time_whatever_it_sends() {
    let mut door = door(limits(8, 8)).await;
    let (mut client, mut server) = connected(&mut door).await;
    let mut buffer = [0; 16];
    client.write_all(b"PRI").await.expect("sent");
    assert_eq!(server.read(&mut buffer).await.expect("it is read"), 3);
    let began = Instant::now();
    let error = server.read(&mut buffer).await.expect_err("it ends");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(began.elapsed() >= SOON / 2, "{:?}", began.elapsed());

    let (mut client, mut server) = connected(&mut door).await;
    drop(connect_info(&server).pass.asks(Instant::now()));
    let nothing = tokio::time::timeout(SOON * 3, server.read(&mut buffer)).await;
    assert!(nothing.is_err(), "who has asked may stay: {nothing:?}");
    client.write_all(b"x").await.expect("sent");
    assert_eq!(server.read(&mut buffer).await.expect("it is open"), 1);
}

#[tokio::test]
async fn a_connection_that_is_idle_for_long_is_closed_and_one_with_an_open_request_is_not() {
    let mut door = door(limits(8, 8)).await;
    let (_client, mut idle) = connected(&mut door).await;
    let (_other, mut asking) = connected(&mut door).await;
    drop(connect_info(&idle).pass.asks(Instant::now()));
    let _open = connect_info(&asking).pass.asks(Instant::now());
    let began = Instant::now();
    let accepting = tokio::spawn(async move { door.next().await });
    let error = idle.read(&mut [0; 16]).await.expect_err("it ends");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    assert!(began.elapsed() >= SOON * 3, "{:?}", began.elapsed());
    let nothing = tokio::time::timeout(SOON * 3, asking.read(&mut [0; 16])).await;
    assert!(nothing.is_err(), "its request is open: {nothing:?}");
    accepting.abort();
}

fn connect_info(connection: &Connection) -> Peer {
    tonic::transport::server::Connected::connect_info(connection)
}

#[tokio::test]
async fn a_connection_that_makes_room_ends_at_once() {
    let mut door = door(limits(8, 1)).await;
    let (_first, mut server) = connected(&mut door).await;
    let reading = tokio::spawn(async move { server.read(&mut [0; 16]).await.map_err(|error| error.kind()) });
    tokio::task::yield_now().await;
    let _second = connected(&mut door).await;
    assert_eq!(reading.await.expect("no panic"), Err(io::ErrorKind::ConnectionAborted));
}
