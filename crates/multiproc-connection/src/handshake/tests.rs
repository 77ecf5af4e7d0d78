use super::*;
use crate::ErrorKind;
use crate::hello::LENGTH;
use crate::key::Key;

fn settings(secret: &str) -> Settings {
    Settings::new(&Key::new(secret).unwrap())
}

fn side(role: Role, settings: &Settings) -> Handshake {
    Handshake::new(role, settings).unwrap()
}

/// What one side ended with.
type End = Result<bool, ErrorKind>;

/// Carries bytes between two sides, a few at a time, until neither has more to say.
fn run(
    client: &mut Handshake,
    server: &mut Handshake,
    at_once: usize,
) -> (Option<End>, Option<End>) {
    let mut to_server = client.opening().to_vec();
    let mut to_client = server.opening().to_vec();
    let (mut client_end, mut server_end) = (None, None);
    loop {
        let before = (to_server.len(), to_client.len());
        carry(
            &mut to_server,
            &mut to_client,
            server,
            &mut server_end,
            at_once,
        );
        carry(
            &mut to_client,
            &mut to_server,
            client,
            &mut client_end,
            at_once,
        );
        if before == (to_server.len(), to_client.len()) {
            return (client_end, server_end);
        }
    }
}

fn carry(
    come: &mut Vec<u8>,
    answers: &mut Vec<u8>,
    side: &mut Handshake,
    end: &mut Option<End>,
    at_once: usize,
) {
    if end.is_some() || come.is_empty() {
        return;
    }
    let count = side.wants().min(at_once).min(come.len());
    let bytes: Vec<u8> = come.drain(..count).collect();
    match side.take(&bytes) {
        Step::More => {}
        Step::Answer(answer) => answers.extend(answer),
        Step::Done { answer, same_build } => {
            answers.extend(answer);
            *end = Some(Ok(same_build));
        }
        Step::Refused { answer, error } => {
            answers.extend(answer);
            *end = Some(Err(error.kind()));
        }
    }
}

fn meet(client: &Settings, server: &Settings) -> (Option<End>, Option<End>) {
    run(
        &mut side(Role::Client, client),
        &mut side(Role::Server, server),
        usize::MAX,
    )
}

#[test]
fn the_same_key_lets_both_in_however_the_bytes_come() {
    let settings = settings("a key").protocol("shop 3").unwrap();
    for at_once in [1, 7, 1000] {
        let (mut client, mut server) =
            (side(Role::Client, &settings), side(Role::Server, &settings));
        let ends = run(&mut client, &mut server, at_once);
        assert_eq!(ends, (Some(Ok(true)), Some(Ok(true))), "{at_once} at once");
    }
}

#[test]
fn each_disagreement_is_an_error_of_its_own_on_both_sides() {
    let plain = settings("a key");
    let wrong = (
        Some(Err(ErrorKind::WrongKey)),
        Some(Err(ErrorKind::WrongKey)),
    );
    assert_eq!(meet(&settings("a kez"), &plain), wrong);
    assert_eq!(meet(&settings("a key "), &plain), wrong);
    let protocol = plain.clone().protocol("shop 3").unwrap();
    let (client, server) = meet(&protocol, &plain);
    assert_eq!(client, Some(Err(ErrorKind::WrongProtocol)));
    assert_eq!(server, Some(Err(ErrorKind::WrongProtocol)));
}

/// A side of another build, by what it says.
fn foreign(role: Role, settings: &Settings) -> Handshake {
    let mut side = side(role, settings);
    let mut bytes = *side.ours.bytes();
    bytes[80] ^= 1;
    side.ours = Hello::parse(bytes, role).unwrap();
    side
}

#[test]
fn another_build_is_noticed_and_refused_where_that_is_asked_for() {
    let any = settings("a key");
    let same = settings("a key").same_build(true);
    let ends = run(
        &mut foreign(Role::Client, &any),
        &mut side(Role::Server, &any),
        99,
    );
    assert_eq!(ends, (Some(Ok(false)), Some(Ok(false))));
    let ends = run(
        &mut foreign(Role::Client, &any),
        &mut side(Role::Server, &same),
        99,
    );
    assert_eq!(
        ends,
        (
            Some(Err(ErrorKind::OtherBuild)),
            Some(Err(ErrorKind::OtherBuild))
        )
    );
    let ends = run(
        &mut side(Role::Client, &same),
        &mut foreign(Role::Server, &any),
        99,
    );
    assert_eq!(ends.0, Some(Err(ErrorKind::OtherBuild)));
}

#[test]
fn another_version_is_told_from_what_is_no_peer_at_all() {
    let settings = settings("a key");
    let refusal = |bytes: &[u8]| {
        let mut server = side(Role::Server, &settings);
        match server.take(&bytes[..bytes.len().min(server.wants())]) {
            Step::Refused { error, .. } => error.kind(),
            other => panic!("{other:?}"),
        }
    };
    let client = side(Role::Client, &settings);
    let mut newer = client.opening().to_vec();
    newer[8] = 2;
    assert_eq!(refusal(&newer), ErrorKind::WrongVersion);
    // However long a hello is in that version.
    assert_eq!(refusal(&newer[..10]), ErrorKind::WrongVersion);
    assert_eq!(refusal(b"GET / HTTP/1.1\r\n"), ErrorKind::NotThisProtocol);
    assert_eq!(refusal(b"x"), ErrorKind::NotThisProtocol);
    let mut long_name = client.opening().to_vec();
    long_name[11] = 200;
    assert_eq!(refusal(&long_name), ErrorKind::NotThisProtocol);
    let mut no_text = client.opening().to_vec();
    (no_text[11], no_text[12]) = (1, 0xff);
    assert_eq!(refusal(&no_text), ErrorKind::NotThisProtocol);
}

#[test]
fn a_mirror_is_not_let_in() {
    let settings = settings("a key");
    for role in [Role::Client, Role::Server] {
        let mut side = side(role, &settings);
        let own = side.opening().to_vec();
        match side.take(&own) {
            Step::Refused { error, .. } => assert_eq!(error.kind(), ErrorKind::NotThisProtocol),
            other => panic!("{other:?}"),
        }
    }
    // Nor is one that sends a client's own proof back as a server's.
    let mut client = side(Role::Client, &settings);
    let server = side(Role::Server, &settings);
    let Step::Answer(proof) = client.take(server.opening()) else {
        panic!("a client answers a hello with its proof");
    };
    let verdict = [&[WELCOME][..], &proof].concat();
    match client.take(&verdict) {
        Step::Refused { error, .. } => assert_eq!(error.kind(), ErrorKind::WrongKey),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_overheard_proves_nothing_later() {
    let settings = settings("a key");
    let mut client = side(Role::Client, &settings);
    let server = side(Role::Server, &settings);
    let hello = client.opening().to_vec();
    let Step::Answer(proof) = client.take(server.opening()) else {
        panic!("a client answers a hello with its proof");
    };
    // To the server it was meant for it would be good; to the next it is not.
    let mut next = side(Role::Server, &settings);
    assert!(matches!(next.take(&hello), Step::More));
    match next.take(&proof) {
        Step::Refused { error, .. } => assert_eq!(error.kind(), ErrorKind::WrongKey),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nobody_on_the_way_changes_what_was_said() {
    let settings = settings("a key").protocol("shop 3").unwrap();
    let mut passed = 0;
    // Every byte but the common ones, which decide whether there is anything to say at all.
    for at in hello::COMMON..LENGTH {
        let mut client = side(Role::Client, &settings);
        let mut server = side(Role::Server, &settings);
        let mut hello = client.opening().to_vec();
        hello[at] ^= 1;
        if !matches!(server.take(&hello), Step::More) {
            continue;
        }
        passed += 1;
        let Step::Answer(proof) = client.take(server.opening()) else {
            panic!("the server's hello was not changed");
        };
        assert!(
            matches!(server.take(&proof), Step::Refused { .. }),
            "byte {at}"
        );
    }
    assert!(
        passed >= 64,
        "nonce and build pass the first look: {passed}"
    );
}

#[test]
fn a_client_of_another_user_is_told_so() {
    let settings = settings("a key");
    let mut client = side(Role::Client, &settings);
    let server = side(Role::Server, &settings);
    assert!(matches!(client.take(server.opening()), Step::Answer(_)));
    let Step::Refused { answer, error } = Handshake::refuse_user(7) else {
        panic!("a refusal");
    };
    assert_eq!(error.kind(), ErrorKind::OtherUser);
    match client.take(&answer) {
        Step::Refused { error, .. } => assert_eq!(error.kind(), ErrorKind::OtherUser),
        other => panic!("{other:?}"),
    }
}
