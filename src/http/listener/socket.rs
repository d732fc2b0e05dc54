//! The listening socket, and what every connection out of it is set to.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// How many connections may wait to be accepted. The system caps it (Linux:
/// `net.core.somaxconn`, 4096). Past it the system throws a client's packets
/// away: the client tries again a second later, or takes itself for connected
/// to a gateway that has never heard of it.
pub(super) const BACKLOG: u32 = 4096;

/// Listens on an address.
///
/// # Errors
/// If the address is taken, or not this machine's.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A gateway that starts again shall not wait for the old one's last
    // packets.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The next connection.
pub(super) async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, address) = listener.accept().await?;
    // Without it the small writes of a stream wait for each other's
    // acknowledgement: 40 ms to the first token.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    Ok((stream, address))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn small_writes_do_not_wait_for_each_other() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, address) = accept(&listener).await.unwrap();
        assert_eq!(address, client.local_addr().unwrap());
        assert!(server.nodelay().unwrap());
        assert!(!client.nodelay().unwrap(), "it is not what every socket has");
    }

    /// Twice as many as wait by default.
    #[tokio::test]
    async fn a_burst_of_connections_is_not_thrown_away() {
        const BURST: usize = 256;
        let cap = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        assert!(cap.trim().parse::<usize>().unwrap() > BURST, "this system lets only {cap} wait");
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let burst = futures_util::future::try_join_all((0..BURST).map(|_| TcpStream::connect(address)));
        // One that is thrown away is tried again after a second.
        let _clients = tokio::time::timeout(Duration::from_millis(900), burst).await.unwrap().unwrap();
        for accepted in 0..BURST {
            let next = tokio::time::timeout(Duration::from_millis(900), accept(&listener)).await;
            assert!(next.is_ok(), "only {accepted} of {BURST} ever arrived");
        }
    }
}
