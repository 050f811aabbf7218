//! A name server that says whatever a scenario wants, and counts how often it was asked.
//!
//! Over UDP and TCP; what is too long for UDP is marked as cut, as real ones do.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// The longest answer over UDP.
const UDP_MAX: usize = 512;

/// What is told about a name.
#[derive(Debug, Clone)]
pub(crate) enum Told {
    /// Those of the family that was asked for.
    Addresses(Vec<IpAddr>),
    /// Another name.
    Alias(String),
    NoSuchName,
    ServerFailure,
    Silence,
    Late(Duration, Vec<IpAddr>),
}

/// What to tell about a name (lower case, without the last dot), and how often that question was asked before.
type Zone = Box<dyn Fn(&str, u64) -> Told + Send + Sync>;

struct Shared {
    zone: Mutex<Zone>,
    asked: Mutex<HashMap<(String, RecordType), u64>>,
}

pub(crate) struct NameServer {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl NameServer {
    pub(crate) async fn start(
        address: &str,
        zone: impl Fn(&str, u64) -> Told + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared { zone: Mutex::new(Box::new(zone)), asked: Mutex::default() });
        let udp = Arc::new(UdpSocket::bind(address).await.with_context(|| format!("bind {address}"))?);
        // A thousand questions at once must not get lost here: that would be a fault of this server, not of the daemon.
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&udp, 16 << 20)?;
        let tcp = TcpListener::bind(address).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(udp, Arc::clone(&shared)));
        tasks.spawn(serve_tcp(tcp, Arc::clone(&shared)));
        Ok(Self { shared, _tasks: tasks })
    }

    /// From now on it says something else.
    pub(crate) fn tell(&self, zone: impl Fn(&str, u64) -> Told + Send + Sync + 'static) {
        *lock(&self.shared.zone) = Box::new(zone);
    }

    /// How often it was asked for IPv4 addresses of names that end so.
    pub(crate) fn asked(&self, ending: &str) -> u64 {
        let asked = lock(&self.shared.asked);
        asked
            .iter()
            .filter(|((name, kind), _)| *kind == RecordType::A && name.ends_with(ending))
            .map(|(_, count)| count)
            .sum()
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, shared: Arc<Shared>) {
    let mut answers = JoinSet::new();
    let mut packet = vec![0; 4096];
    loop {
        tokio::select! {
            received = socket.recv_from(&mut packet) => {
                let Ok((length, from)) = received else { continue };
                let Ok(question) = Message::from_vec(&packet[..length]) else { continue };
                let (socket, shared) = (Arc::clone(&socket), Arc::clone(&shared));
                answers.spawn(async move {
                    let Some(answer) = shared.answer(&question).await else { return };
                    let Ok(mut bytes) = answer.to_vec() else { return };
                    if bytes.len() > UDP_MAX {
                        let Ok(cut) = answer.truncate().to_vec() else { return };
                        bytes = cut;
                    }
                    drop(socket.send_to(&bytes, from).await);
                });
            }
            Some(_) = answers.join_next() => {}
        }
    }
}

async fn serve_tcp(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                connections.spawn(converse(stream, Arc::clone(&shared)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn converse(mut stream: TcpStream, shared: Arc<Shared>) {
    while let Ok(length) = stream.read_u16().await {
        let mut bytes = vec![0; usize::from(length)];
        if stream.read_exact(&mut bytes).await.is_err() {
            return;
        }
        let Ok(question) = Message::from_vec(&bytes) else { return };
        let Some(answer) = shared.answer(&question).await else { continue };
        let Ok(bytes) = answer.to_vec() else { return };
        let Ok(length) = u16::try_from(bytes.len()) else { return };
        if stream.write_u16(length).await.is_err() || stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

impl Shared {
    async fn answer(&self, question: &Message) -> Option<Message> {
        let query = question.queries.first()?;
        let name = query.name().to_ascii().to_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name).to_owned();
        let before = {
            let mut asked = lock(&self.asked);
            let count = asked.entry((name.clone(), query.query_type())).or_default();
            *count += 1;
            *count - 1
        };
        let told = (lock(&self.zone))(&name, before);
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.metadata.recursion_desired = question.metadata.recursion_desired;
        answer.metadata.recursion_available = true;
        answer.add_query(query.clone());
        match told {
            Told::Silence => return None,
            Told::ServerFailure => answer.metadata.response_code = ResponseCode::ServFail,
            Told::NoSuchName => answer.metadata.response_code = ResponseCode::NXDomain,
            Told::Addresses(addresses) => add(&mut answer, query.name(), query.query_type(), &addresses),
            Told::Late(delay, addresses) => {
                tokio::time::sleep(delay).await;
                add(&mut answer, query.name(), query.query_type(), &addresses);
            }
            Told::Alias(other) => {
                let target = Name::from_ascii(other).ok()?;
                answer.add_answer(Record::from_rdata(query.name().clone(), 0, RData::CNAME(CNAME(target))));
            }
        }
        Some(answer)
    }
}

/// Good for no time at all, so that every attempt asks again.
fn add(answer: &mut Message, name: &Name, kind: RecordType, addresses: &[IpAddr]) {
    for address in addresses {
        let data = match (kind, address) {
            (RecordType::A, IpAddr::V4(address)) => RData::A(A(*address)),
            (RecordType::AAAA, IpAddr::V6(address)) => RData::AAAA(AAAA(*address)),
            _ => continue,
        };
        answer.add_answer(Record::from_rdata(name.clone(), 0, data));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
