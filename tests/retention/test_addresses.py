# SPDX-License-Identifier: Apache-2.0
"""What of an address may be shown, and how sources are told apart."""

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.addresses import Style, network_of, shown, source_of, unwrapped

V4 = "83.1.12.77"
V4_NET = "83.1.12.0/24"

# Every way in which an IPv6 address may carry 83.1.12.77.
WRAPPINGS = [
    "::ffff:83.1.12.77",
    "::ffff:5301:c4d",
    "::FFFF:5301:0C4D",
    "0:0:0:0:0:ffff:5301:c4d",
    "2002:5301:0c4d::1",
    "2002:5301:c4d:ffff:1:2:3:4",
    "64:ff9b::83.1.12.77",
    "64:ff9b::5301:c4d",
    "::ffff:0:83.1.12.77",
    "::83.1.12.77",
    "2001:0:4136:e378:8000:63bf:acfe:f3b2",
    "[::ffff:83.1.12.77]",
    "[2002:5301:0c4d::1]",
    "::ffff:83.1.12.77%eth0",
    "[2002:5301:0c4d::1%en0]",
    " 83.1.12.77\n",
    "[83.1.12.77]",
]

NO_ADDRESSES = [
    "",
    " ",
    "x",
    "localhost",
    "83.1.12",
    "83.1.12.256",
    "083.1.12.77",
    "83.1.12.77/24",
    "83.1.12.77:443",
    "83.1.12.77%eth0",
    "83.1.12.77, 10.0.0.1",
    "83.1.12.77,10.0.0.1",
    "2001:db8::1, 83.1.12.77",
    "fe80::1%eth0, 83.1.12.77",
    "fe80::1%",
    "fe80::1%a%b",
    "fe80::1%" + "a" * 60,
    "[2001:db8::1",
    "2001:db8::1]",
    "[[2001:db8::1]]",
    "2001:db8:::1",
    "1397820493",
    "0x53.1.12.77",
    "٨٣.1.12.77",
    "unknown",
    "_hidden",
    "\0",
]


@pytest.mark.parametrize("text", WRAPPINGS)
def test_an_ipv4_address_is_found_in_every_wrapping(text: str) -> None:
    assert str(unwrapped(text)) == V4
    assert str(network_of(text)) == V4_NET
    assert source_of(text) == V4


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("83.1.12.77", "83.1.12.0/24"),
        ("0.0.0.0", "0.0.0.0/24"),
        ("255.255.255.255", "255.255.255.0/24"),
        ("2001:db8:5301:c4d:1:2:3:4", "2001:db8:5301::/48"),
        ("2001:db8:5301:c4d:1:2:3:4%7", "2001:db8:5301::/48"),
        ("fe80::1%eth0.7", "fe80::/48"),
        ("::1", "::/48"),
        ("::", "::/48"),
        # An operator chooses where in 64:ff9b:1::/48 the IPv4 address stands.
        ("64:ff9b:1:5301:c:4d00::", "64:ff9b:1::/48"),
        ("64:ff9b:1::83.1.12.77", "64:ff9b:1::/48"),
        # ISATAP has it in the host part.
        ("2001:db8:1:2:0:5efe:83.1.12.77", "2001:db8:1::/48"),
    ],
)
def test_of_an_address_only_its_network_is_left(text: str, network: str) -> None:
    assert network_of(text) == ip_network(network)


@pytest.mark.parametrize("text", NO_ADDRESSES)
def test_what_is_no_address_is_nothing(text: str) -> None:
    assert unwrapped(text) is None
    assert network_of(text) is None
    assert source_of(text) == ""
    assert shown(text) == shown(text, Style.FIRST) == "-"


@pytest.mark.parametrize(
    ("text", "network", "first"),
    [
        ("83.1.12.77", "83.1.12.x", "83.XXX.XXX.XXX"),
        ("217.5.6.7", "217.5.6.x", "217.XXX.XXX.XXX"),
        ("2002:5301:0c4d::1", "83.1.12.x", "83.XXX.XXX.XXX"),
        (
            "2001:db8:5301:c4d::1",
            "2001:db8:5301:x:x:x:x:x",
            "2001:XXXX:XXXX:XXXX:XXXX:XXXX:XXXX:XXXX",
        ),
        ("::1", "0:0:0:x:x:x:x:x", "0:XXXX:XXXX:XXXX:XXXX:XXXX:XXXX:XXXX"),
    ],
)
def test_both_forms_of_the_source_documents(
    text: str, network: str, first: str
) -> None:
    assert shown(text) == shown(text, "network") == network
    assert shown(text, "first") == first


def test_there_is_no_third_form() -> None:
    with pytest.raises(ValueError, match="whole"):
        shown(V4, "whole")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("83.1.12.77", "83.1.12.78", False),
        ("83.1.12.77", "::ffff:83.1.12.77", True),
        ("2001:db8:1:1::1", "2001:db8:1:ffff:9::1", True),
        ("2001:db8:1::1", "2001:db8:2::1", False),
        ("junk", "other junk", True),
    ],
)
def test_who_is_one_source(one: str, other: str, same: bool) -> None:
    assert (source_of(one) == source_of(other)) is same


V4S = st.integers(0, 2**32 - 1)
WRAPPERS = [
    lambda v4, _: str(IPv4Address(v4)),
    lambda v4, _: str(IPv6Address((0xFFFF << 32) | v4)),
    lambda v4, _: f"::ffff:{IPv4Address(v4)}",
    lambda v4, host: str(IPv6Address((0x2002 << 112) | (v4 << 80) | host)),
    lambda v4, host: str(
        IPv6Address((0x20010000 << 96) | (host << 32) | (v4 ^ 0xFFFF_FFFF))
    ),
    lambda v4, _: str(IPv6Address((0x64FF9B << 96) | v4)),
    lambda v4, _: f"[{IPv6Address((0xFFFF0000 << 32) | v4)}%eth1]",
]


@given(
    v4=V4S,
    other_host=st.integers(0, 255),
    wrappers=st.tuples(st.sampled_from(WRAPPERS), st.sampled_from(WRAPPERS)),
    hosts=st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)),
)
def test_nothing_of_an_ipv4_host_survives_any_wrapping(
    v4: int, other_host: int, wrappers: tuple, hosts: tuple[int, int]
) -> None:
    neighbour = v4 & 0xFFFF_FF00 | other_host
    one, other = wrappers[0](v4, hosts[0]), wrappers[1](neighbour, hosts[1])
    assert network_of(one) == network_of(other)
    for style in Style:
        assert shown(one, style) == shown(other, style)


@given(
    prefix=st.integers(0, 2**48 - 1),
    hosts=st.tuples(st.integers(0, 2**80 - 1), st.integers(0, 2**80 - 1)),
)
def test_nothing_of_an_ipv6_host_survives(prefix: int, hosts: tuple[int, int]) -> None:
    one, other = (IPv6Address((prefix << 80) | each) for each in hosts)
    if isinstance(unwrapped(str(one)), IPv6Address) and isinstance(
        unwrapped(str(other)), IPv6Address
    ):
        assert network_of(str(one)) == network_of(str(other))
        assert shown(str(one)) == shown(str(other))


@given(st.integers(0, 2**128 - 1))
def test_a_network_never_has_a_host_part_nor_another_length(number: int) -> None:
    network = network_of(str(IPv6Address(number)))
    assert network is not None
    assert network.prefixlen == (24 if network.version == 4 else 48)
    assert int(network.network_address) & int(network.hostmask) == 0


@given(st.text(max_size=80))
def test_no_text_whatever_makes_it_fail(text: str) -> None:
    assert (network_of(text) is None) == (source_of(text) == "")
    assert text == "-" or shown(text) != text
