//! The table, tested against a list written out independently of it.

use super::*;

fn policy(allow: &[&str]) -> AddressPolicy {
    AddressPolicy::new(allow.iter().map(|net| net.parse().unwrap()))
}

fn verdict(policy: &AddressPolicy, ip: &str) -> Option<&'static str> {
    policy.check(ip.parse().unwrap()).err().map(|denied| denied.range())
}

/// (one below, first, last, one above, name; names of the neighbours, `-` for permitted)
const EDGES: &[(&str, &str, &str, &str, &str, &str, &str)] = &[
    ("", "0.0.0.1", "0.255.255.255", "1.0.0.0", "\"this network\"", "", "-"),
    ("9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0", "private", "-", "-"),
    ("100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0", "carrier-grade NAT", "-", "-"),
    ("126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0", "loopback", "-", "-"),
    ("169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0", "link-local", "-", "-"),
    ("172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0", "private", "-", "-"),
    ("191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0", "protocol assignment", "-", "-"),
    ("192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0", "documentation", "-", "-"),
    ("192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0", "6to4 relay", "-", "-"),
    ("192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0", "private", "-", "-"),
    ("198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0", "benchmarking", "-", "-"),
    ("198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0", "documentation", "-", "-"),
    ("203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0", "documentation", "-", "-"),
    ("223.255.255.255", "224.0.0.0", "239.255.255.255", "240.0.0.0", "multicast", "-", "reserved"),
    ("239.255.255.255", "240.0.0.0", "255.255.255.255", "", "reserved", "multicast", ""),
    ("", "::", "::", "::1", "unspecified", "", "loopback"),
    ("::", "::1", "::1", "::2", "loopback", "unspecified", "IPv4-compatible"),
    ("::1", "::2", "::ffff:ffff", "::1:0:0", "IPv4-compatible", "loopback", "reserved"),
    (
        "64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff",
        "64:ff9b::",
        "64:ff9b::ffff:ffff",
        "64:ff9b::1:0:0",
        "NAT64",
        "reserved",
        "reserved",
    ),
    (
        "64:ff9b:0:ffff:ffff:ffff:ffff:ffff",
        "64:ff9b:1::",
        "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
        "64:ff9b:2::",
        "local NAT64",
        "reserved",
        "reserved",
    ),
    (
        "ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "100::",
        "100::ffff:ffff:ffff:ffff",
        "100:0:0:1::",
        "discard-only",
        "reserved",
        "dummy",
    ),
    (
        "100::ffff:ffff:ffff:ffff",
        "100:0:0:1::",
        "100:0:0:1:ffff:ffff:ffff:ffff",
        "100:0:0:2::",
        "dummy",
        "discard-only",
        "reserved",
    ),
    (
        "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001::",
        "2001:0:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001:1::",
        "Teredo",
        "-",
        "protocol assignment",
    ),
    (
        "2001:1:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001:2::",
        "2001:2:0:ffff:ffff:ffff:ffff:ffff",
        "2001:2:1::",
        "benchmarking",
        "protocol assignment",
        "protocol assignment",
    ),
    (
        "2001:2::",
        "2001:2:1::",
        "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001:200::",
        "protocol assignment",
        "benchmarking",
        "-",
    ),
    (
        "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001:db8::",
        "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001:db9::",
        "documentation",
        "-",
        "-",
    ),
    (
        "2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "2002::",
        "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "2003::",
        "6to4",
        "-",
        "-",
    ),
    (
        "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "3fff::",
        "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
        "3fff:1000::",
        "documentation",
        "-",
        "-",
    ),
    (
        "5eff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "5f00::",
        "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "5f01::",
        "segment routing",
        "reserved",
        "reserved",
    ),
    (
        "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "4000::",
        "5eff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "5f00::",
        "reserved",
        "-",
        "segment routing",
    ),
    (
        "1eff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "1f00::",
        "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "2000::",
        "reserved",
        "reserved",
        "-",
    ),
    (
        "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "fc00::",
        "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "fe00::",
        "unique local",
        "reserved",
        "reserved",
    ),
    (
        "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "fe80::",
        "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "fec0::",
        "link-local",
        "reserved",
        "site-local",
    ),
    (
        "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "fec0::",
        "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "ff00::",
        "site-local",
        "link-local",
        "multicast",
    ),
    (
        "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "ff00::",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "",
        "multicast",
        "site-local",
        "",
    ),
];

#[test]
fn every_range_ends_where_it_should() {
    let policy = AddressPolicy::default();
    let expect = |ip: &str, want: &str| {
        if !ip.is_empty() {
            assert_eq!(verdict(&policy, ip).unwrap_or("-"), want, "{ip}");
        }
    };
    for (below, first, last, above, name, name_below, name_above) in EDGES {
        expect(below, name_below);
        expect(first, name);
        expect(last, name);
        expect(above, name_above);
    }
    expect("0.0.0.0", "unspecified");
}

#[test]
fn public_addresses_pass() {
    let public = ["1.1.1.1", "8.8.8.8", "93.184.215.14", "2606:4700::1111", "2a00:1450:4001::200e", "::ffff:8.8.8.8"];
    for ip in public {
        assert_eq!(verdict(&AddressPolicy::default(), ip), None, "{ip}");
    }
}

#[test]
fn mapped_addresses_are_what_they_map() {
    let none = AddressPolicy::default();
    assert_eq!(verdict(&none, "::ffff:127.0.0.1"), Some("loopback"));
    assert_eq!(verdict(&none, "::ffff:169.254.169.254"), Some("link-local"));
    assert_eq!(verdict(&policy(&["10.0.0.0/8"]), "::ffff:10.1.2.3"), None);
    assert_eq!(verdict(&policy(&["::ffff:10.0.0.0/104"]), "10.1.2.3"), None);
    assert_eq!(verdict(&policy(&["::/0"]), "::ffff:127.0.0.1"), Some("loopback"), "IPv6 does not open IPv4");
}

#[test]
fn permitting_a_tunnel_does_not_permit_what_is_at_its_end() {
    let rows = [
        ("64:ff9b::/96", "64:ff9b::7f00:1", "64:ff9b::808:808"),
        ("64:ff9b:1::/48", "64:ff9b:1::a00:1", "64:ff9b:1::808:808"),
        ("2002::/16", "2002:7f00:1::1", "2002:808:808::1"),
        // Teredo clients 127.0.0.1 and 8.8.8.8, inverted.
        ("2001::/32", "2001:0:808:808::80ff:fffe", "2001:0:808:808::f7f7:f7f7"),
        ("::/96", "::127.0.0.1", "::8.8.8.8"),
    ];
    for (net, inside_denied, inside_public) in rows {
        assert!(verdict(&AddressPolicy::default(), inside_public).is_some(), "{inside_public}");
        assert_eq!(verdict(&policy(&[net]), inside_public), None, "{inside_public}");
        assert!(verdict(&policy(&[net]), inside_denied).is_some(), "{inside_denied}");
        assert_eq!(verdict(&policy(&[net, "127.0.0.0/8", "10.0.0.0/8"]), inside_denied), None, "{inside_denied}");
        assert!(
            verdict(&policy(&["0.0.0.0/0"]), inside_denied).is_some(),
            "{inside_denied}: the outer range counts too"
        );
    }
}

#[test]
fn the_refusal_says_which_line_permits_the_address() {
    let none = AddressPolicy::default();
    let text = |ip: &str| none.check(ip.parse().unwrap()).unwrap_err().to_string();
    assert_eq!(
        text("10.1.2.3"),
        "10.1.2.3 is in a private range (10.0.0.0/8); to permit it, add to the configuration: \
         [egress] allow = [\"10.1.2.3/32\"]"
    );
    assert_eq!(
        text("64:ff9b::7f00:1"),
        "64:ff9b::7f00:1 is in a NAT64 range (64:ff9b::/96) and 127.0.0.1 is in a loopback range (127.0.0.0/8); \
         to permit it, add to the configuration: [egress] allow = [\"64:ff9b::7f00:1/128\", \"127.0.0.1/32\"]"
    );
    assert!(text("::").starts_with(":: is in an unspecified range (::/128)"));
}

#[test]
fn the_line_it_names_is_the_line_that_permits_it() {
    for (_, first, last, ..) in EDGES {
        for ip in [first, last] {
            let denied = AddressPolicy::default().check(ip.parse().unwrap()).unwrap_err();
            let policy = AddressPolicy::new(denied.missing());
            assert_eq!(policy.check(ip.parse().unwrap()), Ok(()), "{ip}");
        }
    }
}
