"""Content encodings: undone faithfully, bounded always."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fill_pipeline.crawl.decode import DecodeError, decode_bytes, gunzip

TEXT = b"A car for sale. " * 500


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


ENCODERS = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes, "": bytes}


@given(st.binary(max_size=5000), st.lists(st.sampled_from(["gzip", "deflate", "identity"]), max_size=3))
def test_any_body_comes_back_from_any_nesting(body, layers):
    packed = body
    for name in layers:
        packed = ENCODERS[name](packed)
    if body or not layers:
        assert decode_bytes(packed, ", ".join(layers), 10_000) == body


@pytest.mark.parametrize("name", ENCODERS)
def test_each_encoding_is_undone(name):
    assert decode_bytes(ENCODERS[name](TEXT), name.upper(), 100_000) == TEXT


def test_raw_deflate_is_understood_too():
    assert decode_bytes(raw_deflate(TEXT), "deflate", 100_000) == TEXT


def test_brotli_is_undone_and_bounded():
    brotli = pytest.importorskip("brotli")
    assert decode_bytes(brotli.compress(TEXT), "br", 100_000) == TEXT
    bomb = brotli.compress(b"\0" * 20_000_000, quality=1)
    for packed, name in ((bomb, "br"), (gzip.compress(bomb), "br, gzip"), (brotli.compress(bomb), "br, br")):
        with pytest.raises(DecodeError) as caught:
            decode_bytes(packed, name, 1_000_000)
        assert caught.value.too_large
    with pytest.raises(DecodeError):
        decode_bytes(brotli.compress(TEXT)[:-5], "br", 100_000)
    with pytest.raises(DecodeError):
        decode_bytes(b"nonsense", "br", 100_000)


@pytest.mark.parametrize("encoding", ["zstd", "zstd, gzip", "gzip, zstd", "compress", "dcz"])
def test_what_we_never_ask_for_is_not_undone(encoding):
    frame = bytes.fromhex("28b52ffd 00 f8") + b"\x03\0\0" + b"\xff" * 100  # zstd, a window of terabytes
    body = gzip.compress(frame) if encoding.endswith("gzip") else frame
    with pytest.raises(DecodeError, match="was not asked for"):
        decode_bytes(body, encoding, 1_000_000)


@pytest.mark.parametrize("name", ["gzip", "deflate"])
def test_bombs_are_refused_whatever_their_depth(name):
    bomb = ENCODERS[name](b"\0" * 20_000_000)
    for depth in range(1, 4):
        with pytest.raises(DecodeError) as caught:
            decode_bytes(bomb, ", ".join([name] * depth), 1_000_000)
        assert caught.value.too_large
        bomb = ENCODERS[name](bomb)
    with pytest.raises(DecodeError):
        decode_bytes(bomb, ", ".join([name] * 4), 1_000_000)


def test_many_gzip_members_are_bounded_together():
    assert gunzip(gzip.compress(b"a" * 10) * 5, 1000) == b"a" * 50
    with pytest.raises(DecodeError):
        gunzip(gzip.compress(b"a" * 1000) * 100, 50_000)
    assert gunzip(gzip.compress(b"a") * 1000, 2000) == b"a" * 1000
    with pytest.raises(DecodeError, match="more than 1000 gzip members"):
        gunzip(gzip.compress(b"a") * 1001, 2000)


def test_rubbish_after_the_last_member_is_ignored():
    assert gunzip(gzip.compress(TEXT) + b"\0\0\0rubbish", 100_000) == TEXT


def sized(body: bytes, size: int) -> bytes:
    return body[:-4] + size.to_bytes(4, "little")


@example([b"a car", b"a car"], b"")
@example([b"a car", b"a van"], b"")
@given(st.lists(st.sampled_from([b"", b"a car", b"a van", b"a lorry"]), min_size=1), st.binary(max_size=12))
def test_all_members_are_read_and_what_follows_them_is_not(texts, rest):
    expected = b"".join(texts)
    body = b"".join(gzip.compress(text, place % 10) for place, text in enumerate(texts))
    assert gunzip(body + b"\0" + rest, 1000) == expected


@pytest.mark.parametrize("size", [0, 1, len(TEXT) - 1, len(TEXT) + 1, 99_999, 2**32 - 1])
def test_a_size_that_lies_is_found_out(size):
    with pytest.raises(DecodeError):
        gunzip(sized(gzip.compress(TEXT), size), 100_000)


def test_no_more_room_is_made_than_the_limit_allows_whatever_size_is_told():
    bomb = gzip.compress(b"\0" * 20_000_000)
    tracemalloc.start()
    try:
        for size in (2**32 - 1, 2_000_000, 1_000_000, 500_000):
            with pytest.raises(DecodeError) as caught:
                gunzip(sized(bomb, size), 1_000_000)
            assert caught.value.too_large
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


def test_plain_text_announced_as_gzip_is_read():
    assert decode_bytes(b"<html></html>", "gzip", 1000) == b"<html></html>"


@pytest.mark.parametrize("name", ["gzip", "deflate"])
def test_a_torn_stream_is_told(name):
    with pytest.raises(DecodeError):
        decode_bytes(ENCODERS[name](TEXT)[:-9], name, 100_000)


@given(
    st.binary(max_size=300),
    st.sampled_from(["gzip", "deflate", "br", "zstd", "gzip, br", "snappy", "gzip,gzip,gzip,gzip,gzip"]),
)
def test_nonsense_raises_nothing_but_its_own_error(body, encoding):
    try:
        assert len(decode_bytes(body, encoding, 1000)) <= 1000
        decode_bytes(b"\x1f\x8b\x08" + body, encoding, 1000)
    except DecodeError:
        pass


def test_the_limit_is_exact():
    assert len(decode_bytes(gzip.compress(b"a" * 1000), "gzip", 1000)) == 1000
    with pytest.raises(DecodeError):
        decode_bytes(gzip.compress(b"a" * 1001), "gzip", 1000)
    with pytest.raises(DecodeError):
        decode_bytes(b"a" * 1001, "", 1000)
