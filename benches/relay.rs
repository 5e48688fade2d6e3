//! The bench's lower bound: copies bytes between each client and its own server connection, and looks at none of them.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (pairs, []) = arguments.as_chunks::<2>() else {
        return Err(io::Error::other("usage: relay (LISTEN SERVER)…"));
    };
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(async {
        let mut listeners = JoinSet::new();
        for [listen, server] in pairs {
            listeners.spawn(accept(listen.clone(), server.clone()));
        }
        listeners.join_next().await.map_or(Ok(()), |ended| ended.unwrap_or_else(|error| Err(io::Error::other(error))))
    })
}

async fn accept(listen: String, server: String) -> io::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    let mut clients = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await?;
        let server = server.clone();
        clients.spawn(async move {
            if let Err(error) = relay(client, &server).await {
                eprintln!("relay: {error}");
            }
        });
        while clients.try_join_next().is_some() {}
    }
}

/// Until either side closes. One task, one buffer for both directions, one write per read.
async fn relay(mut client: TcpStream, server: &str) -> io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let (mut request, mut reply) = (vec![0; 8192], vec![0; 8192]);
    loop {
        tokio::select! {
            read = from_client.read(&mut request) => match read? {
                0 => return Ok(()),
                length => to_server.write_all(request.get(..length).unwrap_or_default()).await?,
            },
            read = from_server.read(&mut reply) => match read? {
                0 => return Ok(()),
                length => to_client.write_all(reply.get(..length).unwrap_or_default()).await?,
            },
        }
    }
}
