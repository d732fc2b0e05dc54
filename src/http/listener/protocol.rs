//! Which protocol a connection speaks, told by its first bytes.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;

/// What a client that speaks HTTP/2 begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long to wait for the rest of a preface that comes in pieces.
const PREFACE_PAUSE: Duration = Duration::from_millis(5);

/// A version of HTTP, as far as connections differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    /// Looks at what a client begins with and leaves it there. What is read
    /// and put back instead would cost every connection a second buffer of
    /// 8 KiB.
    pub(super) async fn of(stream: &TcpStream) -> io::Result<Self> {
        let mut seen = [0; PREFACE.len()];
        loop {
            let length = stream.peek(&mut seen).await?;
            let start = seen.get(..length).unwrap_or_default();
            if start.is_empty() || !PREFACE.starts_with(start) {
                return Ok(Self::Http1);
            }
            if start == PREFACE {
                return Ok(Self::Http2);
            }
            // The same bytes would be seen again at once.
            tokio::time::sleep(PREFACE_PAUSE).await;
        }
    }

    /// The protocol that a TLS handshake has agreed on.
    pub(super) fn agreed(alpn: Option<&[u8]>) -> Self {
        match alpn {
            Some(b"h2") => Self::Http2,
            _ => Self::Http1,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    async fn protocol_of(pieces: &[&[u8]]) -> Protocol {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let send = async {
            for piece in pieces {
                client.write_all(piece).await.unwrap();
                tokio::time::sleep(PREFACE_PAUSE * 2).await;
            }
            client
        };
        let (_client, protocol) = tokio::join!(send, Protocol::of(&server));
        protocol.unwrap()
    }

    #[tokio::test]
    async fn the_protocol_is_known_however_it_begins() {
        assert_eq!(protocol_of(&[PREFACE]).await, Protocol::Http2);
        assert_eq!(protocol_of(&[b"P", b"RI * HTTP/2.0\r\n", b"\r\nSM\r\n\r\n"]).await, Protocol::Http2);
        assert_eq!(protocol_of(&[b"GET / HTTP/1.1\r\n\r\n"]).await, Protocol::Http1);
        assert_eq!(protocol_of(&[b"P", b"OST / HTTP/1.1\r\n\r\n"]).await, Protocol::Http1);
        assert_eq!(protocol_of(&[b"\r\n"]).await, Protocol::Http1);
    }
}
