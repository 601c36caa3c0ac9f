//! What goes wrong, and the exit codes that say so.

use crate::{
    mock::{Answer, Mock, TOKEN},
    run::{Run, command, larder},
};
use larder_redis_tests::{Certificates, Server};
use serde_json::Value;
use std::{fs, io::Write, net::TcpListener, process::Stdio};

fn at(url: &str) -> Run {
    larder(&["--url", url, "--token", TOKEN, "advice"])
}

#[test]
fn what_is_no_url() {
    at("localhost:3000/admin/cache")
        .refused(2, "`localhost:3000/admin/cache` is no URL: http://localhost:3000/admin/cache may be meant");
    at("ftp://x/").refused(2, "http:// or https://");
    let secret = at("http://me:hunter2@localhost/");
    secret.refused(2, "must not have a user");
    assert!(!secret.err.contains("hunter2"));
}

#[test]
fn nobody_is_there() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = at(&format!("http://{free}/admin/cache"));
    gone.refused(3, &format!("nothing listens at {free} (connection refused)"));
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    larder(&["--url", &url, "advice", "--timeout", "150ms"]).refused(3, "did not answer within 150 ms");
    at("http://no-such-host.invalid/").refused(3, "cannot be reached");
}

#[test]
fn something_else_is_there() {
    let mock = Mock::new();
    let base = format!("http://{}", mock.address());
    at(&base).refused(3, &format!("there is no larder admin API at {base}: it answers 404. is it mounted there?"));
    let page = Mock::playing(|_, _| Some(Answer::of(200, "text/html; charset=utf-8", "<!doctype html><p>welcome")));
    at(&page.url()).refused(3, "it answers with a page. is it mounted there?");
    larder(&["--url", &page.url(), "metrics", "--prometheus"]).refused(3, "it answers with a page");
    larder(&["--url", &page.url(), "health"]).refused(3, "it answers with a page");
    let moved = Mock::playing(|_, _| Some(Answer::of(308, "text/plain", "").with("location", "https://b/admin/cache")));
    at(&moved.url()).refused(3, "to https://b/admin/cache: give the URL that is right");
    assert_eq!(moved.asked().len(), 1);
    let broken = Mock::playing(|_, _| Some(Answer::of(502, "text/plain", "bad gateway")));
    at(&broken.url()).refused(3, "answers 502");
}

#[test]
fn who_is_not_let_in() {
    let mock = Mock::new();
    larder(&["--url", &mock.url(), "advice"]).refused(4, "asks for a token: --token, --token-file or LARDER_TOKEN");
    let wrong = larder(&["--url", &mock.url(), "--token", "wr0ng-token", "advice"]);
    wrong.refused(4, "does not accept this token");
    assert!(!wrong.err.contains("wr0ng-token"));
    let limited = Mock::playing(|_, _| Some(Answer::error(403, "access is limited to tenant 1")));
    at(&limited.url()).refused(4, "not allowed: access is limited to tenant 1");
}

#[test]
fn tokens_come_from_four_places() {
    let mock = Mock::new();
    let url = mock.url();
    larder(&["advice", "--url", &url, "--token", TOKEN]).done();
    let path = std::env::temp_dir().join(format!("larder-cli-token-{}", std::process::id()));
    fs::write(&path, format!("{TOKEN}\n")).unwrap();
    let file = path.to_str().unwrap();
    // What is said goes before what stands in the environment.
    let run = command(&["advice", "--url", &url, "--token-file", file]).env("LARDER_TOKEN", "other").output().unwrap();
    fs::remove_file(&path).unwrap();
    Run::of(&run).done();
    larder(&["advice", "--url", &url, "--token-file", file]).refused(2, "cannot be read");
    let mut child = command(&["advice", "--url", &url, "--token-file", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(TOKEN.as_bytes()).unwrap();
    Run::of(&child.wait_with_output().unwrap()).done();
    let odd = larder(&["advice", "--url", &url, "--token", "two words"]);
    odd.refused(2, "printable ASCII");
    assert!(!odd.err.contains("two words"));
    larder(&["advice", "--url", &url, "--token", ""]).refused(2, "--token: the token is empty");
    larder(&["advice", "--url", &url, "--token", "a", "--token-file", "b"]).refused(2, "cannot be used with");
    assert!(mock.asked().iter().all(|asked| asked.field("authorization") == format!("Bearer {TOKEN}")));
}

#[test]
fn what_the_server_refuses() {
    let refusing =
        Mock::playing(|_, _| Some(Answer::error(400, "the pattern `a\\`: a `\\` at the end escapes nothing")));
    refusing.larder(&["keys", "a\\"]).refused(1, "larder: the pattern `a\\`: a `\\` at the end escapes nothing");
    let said = refusing.larder(&["keys", "a\\", "--json"]);
    let error: Value = serde_json::from_str(&said.err).unwrap();
    assert_eq!((&error["kind"], &error["exit_code"]), (&Value::from("failed"), &Value::from(1)));
    assert!(said.out.is_empty());
}

#[test]
fn wrong_usage() {
    larder(&[]).refused(2, "a command is missing");
    larder(&["explode"]).refused(2, "unrecognized subcommand 'explode'");
    larder(&["status", "--timeout", "soon"]).refused(2, "`soon` is no time: `10`, `10s`, `500ms` and `2m` are");
    larder(&["explain", "/x", "--header", "nonsense"]).refused(2, "is no field: `Accept: text/html` would be one");
    larder(&["test", "--path", "x"]).refused(2, "has to begin with `/`");
    larder(&["status", "--version", "7"]).refused(2, "goes with --redis");
    let said = larder(&["explode", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&said.err).unwrap()["exit_code"], 2);
}

#[test]
fn plain_text_where_tls_is_meant() {
    let mock = Mock::new();
    let certificates = Certificates::new();
    let ca = certificates.ca();
    let url = format!("https://{}/admin/cache", mock.address());
    larder(&["advice", "--url", &url, "--ca", ca.to_str().unwrap()]).refused(3, "is http:// meant?");
    larder(&["advice", "--url", &url, "--ca", "/no/such/file"]).refused(2, "--ca: `/no/such/file` cannot be read");
}

/// There is no HTTP behind this TLS, but the certificate comes before.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_verified() {
    let certificates = Certificates::new();
    let server = Server::options().tls(&certificates).start().await;
    let url = format!("https://127.0.0.1:{}/", server.port());
    let with = |ca: &Certificates| larder(&["advice", "--url", &url, "--ca", ca.ca().to_str().unwrap()]);
    with(&Certificates::new()).refused(3, "nobody whom this machine trusts has signed it: --ca names the authority");
    with(&certificates).refused(3, "127.0.0.1");
    at(&format!("http://127.0.0.1:{}/", server.port())).refused(3, "127.0.0.1");
}
