//! URLs and addresses: what may be dialled without an operator's word is on the open network, in every spelling.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use postrider::domain::address::AddressPolicy;
use url::{Host, Url};

fn is_local(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified() || ip.is_broadcast()
                || ip.is_multicast() || ip.is_documentation() || ip.octets()[0] == 0
        }
        IpAddr::V6(ip) => {
            ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || ip.is_unique_local()
                || ip.is_unicast_link_local() || ip.segments()[0] == 0x2002 || ip.segments()[..2] == [0x64, 0xff9b]
        }
    }
}

fn judge(policy: &AddressPolicy, ip: IpAddr) {
    match policy.check(ip) {
        Ok(()) => assert!(!is_local(ip), "{ip} may be dialled"),
        Err(denied) => {
            // The line that it names is the one that helps.
            let more = AddressPolicy::new(denied.missing());
            assert_eq!(more.check(ip), Ok(()), "{ip}: {:?}", denied.missing().collect::<Vec<_>>());
        }
    }
}

fuzz_target!(|input: (&str, u128)| {
    let (text, bits) = input;
    let policy = AddressPolicy::default();
    judge(&policy, IpAddr::from(bits.to_be_bytes()));
    judge(&policy, IpAddr::from(((bits >> 64) as u32).to_be_bytes()));
    match Url::parse(text).ok().as_ref().and_then(Url::host) {
        Some(Host::Ipv4(ip)) => judge(&policy, ip.into()),
        Some(Host::Ipv6(ip)) => judge(&policy, ip.into()),
        Some(Host::Domain(_)) | None => {}
    }
});
