use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// A server that answers every request with what `answer` makes of its path.
async fn serve(answer: fn(&str) -> Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap_or(0);
            let head = String::from_utf8_lossy(&request[..read]).into_owned();
            let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
            let _ = stream.write_all(&answer(&path)).await;
            let _ = stream.shutdown().await;
        }
    });
    address
}

fn page(kind: &str, body: &[u8]) -> Vec<u8> {
    [
        format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n").as_bytes(),
        body,
    ]
    .concat()
}

fn redirect_to(place: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 302 Found\r\nLocation: {place}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

fn answer(path: &str) -> Vec<u8> {
    match path.split('?').next().unwrap_or(path) {
        "/text" => page("text/plain; charset=utf-8", "grüße".as_bytes()),
        "/latin" => page("text/plain; charset=ISO-8859-1", b"gr\xfc\xdfe"),
        "/json" => page("application/json", b"{}"),
        "/image" => page("image/png", b"\x89PNG"),
        "/unnamed" => b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n\0\x01".to_vec(),
        "/big" => page("text/plain", &vec![b'a'; 600 * 1024]),
        "/missing" => {
            b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nno"
                .to_vec()
        }
        "/once" => redirect_to("/text"),
        "/loop" => redirect_to("/loop"),
        "/inward" => redirect_to("http://127.0.0.1:1/"),
        "/metadata" => redirect_to("http://169.254.169.254/latest/meta-data/"),
        "/file" => redirect_to("file:///etc/passwd"),
        "/by-name" => redirect_to("http://localhost:1/"),
        _ => page("text/html", b"<p>hello</p>"),
    }
}

async fn fetch(path: &str) -> Result<String, ToolError> {
    let address = serve(answer).await;
    let tool = HttpFetch::new(&[address.to_string()]).unwrap();
    tool.fetch(&format!("http://{address}{path}"))
        .await
        .map(|text| text.replace(&address.to_string(), "HOST"))
}

fn code(result: Result<String, ToolError>) -> &'static str {
    match result.unwrap_err() {
        ToolError::Failed { code, .. } => code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn text_is_read() {
    let expected = "status: 200 OK\nurl: http://HOST/text\ntype: text/plain\n\ngrüße";
    assert_eq!(fetch("/text").await.unwrap(), expected);
    assert_eq!(fetch("/once").await.unwrap(), expected);
    assert!(fetch("/latin").await.unwrap().ends_with("\n\ngrüße"));
    assert!(fetch("/json").await.unwrap().ends_with("type: application/json\n\n{}"));
    assert!(fetch("/").await.unwrap().ends_with("\n\n<p>hello</p>"));
    assert!(fetch("/missing").await.unwrap().starts_with("status: 404 Not Found\n"));
}

#[tokio::test]
async fn a_long_body_is_cut() {
    let text = fetch("/big").await.unwrap();
    assert!(text.ends_with("a\n[cut after 524288 bytes]"));
    let body = text.split_once("\n\n").unwrap().1;
    assert_eq!(body.len(), 524_288 + "\n[cut after 524288 bytes]".len());
}

#[tokio::test]
async fn what_is_no_text_is_not_read() {
    assert_eq!(code(fetch("/image").await), "not_text");
    assert_eq!(code(fetch("/unnamed").await), "not_text");
}

#[tokio::test]
async fn redirects_are_checked() {
    assert_eq!(code(fetch("/loop").await), "too_many_redirects");
    assert_eq!(code(fetch("/inward").await), "refused_address");
    assert_eq!(code(fetch("/metadata").await), "refused_address");
    assert_eq!(code(fetch("/by-name").await), "refused_address");
    assert_eq!(code(fetch("/file").await), "refused_scheme");
}

#[tokio::test]
async fn nothing_closed_is_reached_however_it_is_written() {
    let tool = HttpFetch::new(&["127.0.0.1:9".to_owned()]).unwrap();
    for url in [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://127.0.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://017700000001/",
        "http://0/",
        "http://0.0.0.0/",
        "http://127.0.0.1./",
        "http://127。0。0。1/",
        "http://①②⑦.0.0.1/",
        "http://%31%32%37.0.0.1/",
        "http://127.0.0.1:10/",
        "https://127.0.0.1:9000/",
        "http://[::1]/",
        "http://[::]/",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[::127.0.0.1]/",
        "http://[64:ff9b::127.0.0.1]/",
        "http://[2002:7f00:1::]/",
        "http://[fe80::1]/",
        "http://[fd00:ec2::254]/",
        "http://169.254.169.254/latest/",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://10.0.0.1/",
        "http://192.168.1.1/",
        "http://172.16.5.4/",
        "http://100.100.100.200/",
        "http://198.18.0.1/",
        "http://168.63.129.16/",
        "http://224.0.0.1/",
        "http://255.255.255.255/",
        "http://localhost/",
        "http://LOCALHOST:4222/",
        "http:127.0.0.1",
        "http:///127.0.0.1/",
        "http:\\\\127.0.0.1\\",
    ] {
        assert_eq!(code(tool.fetch(url).await), "refused_address", "{url}");
    }
}

#[tokio::test]
async fn other_addresses_are_refused_with_their_reason() {
    let tool = HttpFetch::new(&[]).unwrap();
    for (url, expected) in [
        ("file:///etc/passwd", "refused_scheme"),
        ("ftp://example.org/", "refused_scheme"),
        ("gopher://127.0.0.1:6379/_x", "refused_scheme"),
        ("data:text/plain,x", "refused_scheme"),
        ("http://user:secret@example.org/", "refused_credentials"),
        ("http://example.org@127.0.0.1/", "refused_credentials"),
        ("example.org", "invalid_url"),
        ("", "invalid_url"),
        ("http://", "invalid_url"),
        ("http://[::1/", "invalid_url"),
    ] {
        assert_eq!(code(tool.fetch(url).await), expected, "{url}");
    }
}
