//! Free loopback ports, below the range that the kernel gives to outgoing connections.

use std::net::TcpListener;

use rand::RngExt;

use crate::dev::DevError;

/// Linux gives 32,768 and up to outgoing connections; a port from there could be taken between choosing and starting.
const FIRST: u16 = 20_000;
const LAST: u16 = 32_000;

/// `count` different ports that nobody listens on.
///
/// # Errors
/// When there are not that many.
pub fn free(count: usize) -> Result<Vec<u16>, DevError> {
    let start = rand::rng().random_range(FIRST..LAST);
    // Held until all are chosen, so that none is chosen twice.
    let mut held = Vec::with_capacity(count);
    let mut ports = Vec::with_capacity(count);
    for port in (start..LAST).chain(FIRST..start) {
        if ports.len() == count {
            break;
        }
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            held.push(listener);
            ports.push(port);
        }
    }
    if ports.len() < count {
        return Err(DevError::Refused(format!("no {count} free ports between {FIRST} and {LAST} on 127.0.0.1")));
    }
    Ok(ports)
}
