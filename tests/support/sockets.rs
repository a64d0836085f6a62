//! What the kernel knows of a TCP connection, from `/proc/net/tcp`, and a socket at which it keeps connections waiting.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

/// A server at which new connections wait for ever: it accepts none, and its queue is full.
pub struct Full {
    address: SocketAddr,
    _held: (Socket, Vec<TcpStream>),
}

impl Full {
    pub fn start() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a port");
        socket.listen(0).expect("it listens");
        let address = socket.local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
        // The kernel takes one more than it was told (listen(2)).
        let queue = vec![TcpStream::connect(address).expect("the first is queued")];
        Self { address, _held: (socket, queue) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Has the owner of `local` read everything that arrived from `remote`? `None`: there is no such connection (yet).
/// Both addresses are IPv4.
pub fn has_read_everything(local: SocketAddr, remote: SocketAddr) -> Option<bool> {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("/proc/net/tcp");
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let &[_, here, there, _, queues, ..] = fields.as_slice() else { return None };
        let unread = queues.split_once(':')?.1;
        (here == entry(local) && there == entry(remote)).then(|| unread.chars().all(|c| c == '0'))
    })
}

/// An address as the kernel writes it: the bytes of the address in memory order, read as a native word.
fn entry(address: SocketAddr) -> String {
    let SocketAddr::V4(v4) = address else { panic!("{address} is not IPv4") };
    format!("{:08X}:{:04X}", u32::from_ne_bytes(v4.ip().octets()), v4.port())
}
