//! Which addresses may be dialled.
//!
//! Everything that is not globally routable is denied unless the operator's list names it, so
//! that a webhook cannot be pointed at the machine itself, its cloud metadata or its LAN by
//! accident or by design. This module judges single addresses; it does not resolve names, parse
//! URLs or connect. Its invariant: an address that carries an IPv4 address inside (mapped,
//! translated or tunnelled) never gets further than that IPv4 address would by itself.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A range that is not globally routable: its first address, prefix length and name.
struct Range<A> {
    first: A,
    prefix: u8,
    name: &'static str,
}

const fn v4(octets: [u8; 4], prefix: u8, name: &'static str) -> Range<Ipv4Addr> {
    let [a, b, c, d] = octets;
    Range { first: Ipv4Addr::new(a, b, c, d), prefix, name }
}

const fn v6(segments: [u16; 8], prefix: u8, name: &'static str) -> Range<Ipv6Addr> {
    let [a, b, c, d, e, f, g, h] = segments;
    Range { first: Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix, name }
}

/// The IANA IPv4 special-purpose registry, without the blocks that it calls globally reachable.
static DENIED_V4: [Range<Ipv4Addr>; 16] = [
    v4([0, 0, 0, 0], 32, "unspecified"),
    v4([0, 0, 0, 0], 8, "\"this network\""),
    v4([10, 0, 0, 0], 8, "private"),
    v4([100, 64, 0, 0], 10, "carrier-grade NAT"),
    v4([127, 0, 0, 0], 8, "loopback"),
    v4([169, 254, 0, 0], 16, "link-local"),
    v4([172, 16, 0, 0], 12, "private"),
    v4([192, 0, 0, 0], 24, "protocol assignment"),
    v4([192, 0, 2, 0], 24, "documentation"),
    v4([192, 88, 99, 0], 24, "6to4 relay"),
    v4([192, 168, 0, 0], 16, "private"),
    v4([198, 18, 0, 0], 15, "benchmarking"),
    v4([198, 51, 100, 0], 24, "documentation"),
    v4([203, 0, 113, 0], 24, "documentation"),
    v4([224, 0, 0, 0], 4, "multicast"),
    v4([240, 0, 0, 0], 4, "reserved"),
];

/// The IANA IPv6 special-purpose registry, the narrower range first. What lies outside 2000::/3
/// and is not listed is caught by [`RESERVED_V6`].
static DENIED_V6: [Range<Ipv6Addr>; 19] = [
    v6([0, 0, 0, 0, 0, 0, 0, 0], 128, "unspecified"),
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128, "loopback"),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 96, "IPv4-compatible"),
    v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96, "NAT64"),
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, "local NAT64"),
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64, "discard-only"),
    v6([0x100, 0, 0, 1, 0, 0, 0, 0], 64, "dummy"),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, "Teredo"),
    v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48, "benchmarking"),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, "protocol assignment"),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, "documentation"),
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, "6to4"),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, "documentation"),
    v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, "segment routing"),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "unique local"),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "link-local"),
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, "site-local"),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "multicast"),
    // The translators' and the mapped prefix end below this; nothing here is assigned.
    v6([0, 0, 0, 0, 0, 0, 0, 0], 8, "reserved"),
];

/// Global unicast is 2000::/3; the rest of the space is the IETF's.
const GLOBAL_UNICAST_V6: (u16, u16) = (0x2000, 0xe000);
const RESERVED_V6: &str = "reserved";

/// The operator's word on which addresses may be dialled although they are not globally routable.
///
/// The default permits globally routable addresses only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    allow: Vec<IpNet>,
}

impl AddressPolicy {
    /// A policy that permits what is globally routable, and `allow`. An IPv4-mapped network of
    /// 96 bits and more, `::ffff:10.0.0.0/104`, means the IPv4 network inside it.
    #[must_use]
    pub fn new(allow: impl IntoIterator<Item = IpNet>) -> Self {
        Self { allow: allow.into_iter().map(unmapped).collect() }
    }

    /// The networks that are permitted besides the globally routable addresses.
    #[must_use]
    pub fn allow(&self) -> &[IpNet] {
        &self.allow
    }

    /// Whether `ip` may be dialled.
    ///
    /// An IPv4-mapped address is judged as the IPv4 address that it is. An address of a
    /// translator or a tunnel (NAT64, 6to4, Teredo, IPv4-compatible) is permitted only when the
    /// list names it *and* the IPv4 address inside is permitted too: permitting `64:ff9b::/96`
    /// opens the translator to public receivers, not to the translator's own loopback and LAN.
    ///
    /// # Errors
    ///
    /// [`Denied`], whose text says why and which line of the configuration would permit it.
    pub fn check(&self, ip: IpAddr) -> Result<(), Denied> {
        let ip = ip.to_canonical();
        let denies = |ip: IpAddr| special_range(ip).is_some() && !self.allows(ip);
        let outer = denies(ip);
        let inner = embedded_v4(ip).filter(|inside| denies(IpAddr::V4(*inside)));
        if outer || inner.is_some() { Err(Denied { ip, outer, inner }) } else { Ok(()) }
    }

    fn allows(&self, ip: IpAddr) -> bool {
        self.allow.iter().any(|net| net.contains(&ip))
    }
}

/// Why an address may not be dialled. Its text names the address, the range and the
/// configuration line that would permit it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    ip: IpAddr,
    /// Whether the address's own range is what denies it.
    outer: bool,
    /// The IPv4 address inside, when that one is denied.
    inner: Option<Ipv4Addr>,
}

/// An address and the range that denies it.
struct Reason {
    ip: IpAddr,
    net: IpNet,
    name: &'static str,
}

impl Denied {
    /// The address; an IPv4-mapped one as IPv4.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// What the range is called, such as `loopback` or `NAT64`. For an address whose own range
    /// is permitted, the range of the IPv4 address inside it.
    #[must_use]
    pub fn range(&self) -> &'static str {
        self.reasons().next().map_or(RESERVED_V6, |reason| reason.name)
    }

    /// What `egress.allow` lacks, such as `10.1.2.3/32`: one network, or two for an address with
    /// a denied IPv4 address inside.
    pub fn missing(&self) -> impl Iterator<Item = IpNet> {
        self.reasons().map(|reason| IpNet::from(reason.ip))
    }

    /// Why these addresses are denied, in one sentence with one configuration line for all.
    #[must_use]
    pub fn explain(all: &[Self]) -> String {
        let mut text = String::new();
        for reason in all.iter().flat_map(Self::reasons) {
            let Reason { ip, net, name } = reason;
            let joint = if text.is_empty() { "" } else { " and " };
            text.push_str(&format!("{joint}{ip} is in {} {name} range ({net})", article(name)));
        }
        let (pronoun, mut line) = (if all.len() == 1 { "it" } else { "them" }, String::new());
        for net in all.iter().flat_map(Self::missing) {
            let joint = if line.is_empty() { "" } else { ", " };
            line.push_str(&format!("{joint}\"{net}\""));
        }
        format!("{text}; to permit {pronoun}, add to the configuration: [egress] allow = [{line}]")
    }

    fn reasons(&self) -> impl Iterator<Item = Reason> {
        let outer = self.outer.then_some(self.ip);
        let inner = self.inner.map(IpAddr::V4);
        let reason = |ip| special_range(ip).map(|(net, name)| Reason { ip, net, name });
        outer.into_iter().chain(inner).filter_map(reason)
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Self::explain(std::slice::from_ref(self)))
    }
}

impl std::error::Error for Denied {}

fn article(name: &str) -> &'static str {
    if name.starts_with("unspecified") || name.starts_with("IPv4") { "an" } else { "a" }
}

/// The range, if any, that takes this address out of the globally routable space.
fn special_range(ip: IpAddr) -> Option<(IpNet, &'static str)> {
    match ip {
        IpAddr::V4(ip) => DENIED_V4.iter().find_map(|range| {
            let net = Ipv4Net::new_assert(range.first, range.prefix);
            net.contains(&ip).then_some((net.into(), range.name))
        }),
        IpAddr::V6(ip) => DENIED_V6
            .iter()
            .find_map(|range| {
                let net = Ipv6Net::new_assert(range.first, range.prefix);
                net.contains(&ip).then_some((net.into(), range.name))
            })
            .or_else(|| reserved_v6(ip)),
    }
}

fn reserved_v6(ip: Ipv6Addr) -> Option<(IpNet, &'static str)> {
    let (value, mask) = GLOBAL_UNICAST_V6;
    let top = ip.segments()[0] & mask;
    if top == value {
        return None;
    }
    let net = Ipv6Net::new_assert(Ipv6Addr::new(top, 0, 0, 0, 0, 0, 0, 0), 3);
    Some((net.into(), RESERVED_V6))
}

/// The IPv4 address that packets for this address end up at, when it has one inside. Mapped
/// addresses are gone by now.
fn embedded_v4(ip: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(ip) = ip else { return None };
    let [.., high, low] = ip.segments();
    let last = joined(high, low);
    match ip.segments() {
        // ::1 and :: are themselves, not 0.0.0.1 and 0.0.0.0.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0, _, _] | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => Some(last),
        // Local-use translators mostly use a /96 of it; with the shorter prefixes of RFC 6052 the
        // last bits are zero, and the operator who lists the range answers for it.
        [0x64, 0xff9b, 1, ..] => (!last.is_unspecified()).then_some(last),
        [0x2002, high, low, ..] => Some(joined(high, low)),
        // Teredo keeps the client's address inverted.
        [0x2001, 0, ..] => Some(Ipv4Addr::from_bits(!last.to_bits())),
        _ => None,
    }
}

fn joined(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

fn unmapped(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    match (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(96)) {
        (Some(inside), Some(prefix)) => IpNet::V4(Ipv4Net::new_assert(inside, prefix)),
        _ => net,
    }
}

#[cfg(test)]
mod tests;
