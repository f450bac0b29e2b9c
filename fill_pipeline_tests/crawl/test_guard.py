"""The wall: which addresses can be connected to."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fill_pipeline.crawl.guard import BlockedAddress, check_url, is_allowed, parse_nets

FORBIDDEN = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd00:ec2::254",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "3fff::1",
    "100::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "2002:7f00:1::",
    "2002:a00:1::",
    "2002:a9fe:a9fe::",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a00:1",
    "64:ff9b:1::8.8.8.8",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001::1",
    "2606:4700::5efe:10.0.0.1",
    "2606:4700::200:5efe:7f00:1",
    "4000::1",
    "8000::1",
    "nonsense",
    "1.2.3",
    "1.2.3.4.5",
]
PERMITTED = [
    "8.8.8.8",
    "1.1.1.1",
    "93.184.216.34",
    "172.15.0.1",
    "172.32.0.1",
    "100.63.255.255",
    "100.128.0.1",
    "2606:4700:4700::1111",
    "2a00:1450:4001:82a::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::",
]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_addresses_inside_are_forbidden(address):
    assert not is_allowed(address)


@pytest.mark.parametrize("address", PERMITTED)
def test_addresses_outside_are_permitted(address):
    assert is_allowed(address)


def test_only_the_named_network_is_opened():
    nets = parse_nets(["127.0.0.0/8", " ", "fd00:1::/32"])
    assert is_allowed("127.0.0.1", nets)
    assert is_allowed("::ffff:127.0.0.1", nets)
    assert is_allowed("fd00:1::5", nets)
    assert not is_allowed("10.0.0.1", nets)
    assert not is_allowed("169.254.169.254", nets)
    assert not is_allowed("::1", nets)


def test_a_network_that_is_none_is_named():
    with pytest.raises(ValueError, match="300"):
        parse_nets(["300.0.0.0/8"])


@given(st.ip_addresses(v=4, network="10.0.0.0/8") | st.ip_addresses(v=4, network="127.0.0.0/8"))
def test_no_ipv6_clothes_hide_a_private_address(inner):
    number = int(inner)
    for outer in (
        ipaddress.IPv6Address(0xFFFF << 32 | number),
        ipaddress.IPv6Address(number),
        ipaddress.IPv6Address(0x2002 << 112 | number << 80),
        ipaddress.IPv6Address(0x0064FF9B << 96 | number),
    ):
        assert not is_allowed(str(outer))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://2130706433/",
        "http://[::1]/",
        "http://[::ffff:a9fe:a9fe]/",
        "https://10.0.0.1:8443/x",
        "http://１２７.0.0.1/",
        "ftp://cars.example/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_x",
    ],
)
def test_urls_that_name_a_forbidden_place_are_refused_early(url):
    with pytest.raises(BlockedAddress):
        check_url(url)


def test_ordinary_urls_pass():
    check_url("https://cars.example/a")
    check_url("http://8.8.8.8/")
    check_url("http://127.0.0.1:8801/", parse_nets(["127.0.0.0/8"]))
