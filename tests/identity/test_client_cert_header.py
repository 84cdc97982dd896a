# SPDX-License-Identifier: Apache-2.0
"""The certificate as haproxy and nginx hand it on."""

import base64
import ssl
from urllib.parse import quote

import pytest
from identity.anything_goes import AnythingGoes

from fleet.identity.certificates import CertificateFault
from fleet.identity.client_cert_header import read_client_cert, read_escaped_pem


@pytest.fixture(scope="module")
def der(anything_goes: AnythingGoes) -> bytes:
    return anything_goes.leaf()


def byte_sequence(der: bytes) -> str:
    return f":{base64.b64encode(der).decode()}:"


def escaped(der: bytes) -> str:
    return quote(ssl.DER_cert_to_PEM_cert(der), safe="")


def test_both_headers_give_the_certificate(der: bytes) -> None:
    assert read_client_cert(byte_sequence(der)) == der
    assert read_escaped_pem(escaped(der)) == der


BASE64 = "MIIB"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "::",
        ":",
        BASE64,
        f"{BASE64}:",
        f":{BASE64}",
        f":{BASE64}:, :{BASE64}:",
        f":{BASE64}:,:{BASE64}:",
        f":{BASE64}:;a=1",
        f":{BASE64}:\n",
        f":{BASE64} :",
        f":{BASE64}\n:",
        ":MII:",
        ":MIIB=:",
        ":M===:",
        ":MI-_:",
        ":MIIé:",
        '"MIIB"',
        ":" + "A" * 50_000 + ":",
    ],
)
def test_anything_but_one_byte_sequence_is_refused(value: str) -> None:
    assert read_client_cert(f":{BASE64}:") == b"0\x82\x01"
    with pytest.raises(CertificateFault):
        read_client_cert(value)


@pytest.mark.parametrize(
    "bend",
    [
        pytest.param(lambda _: "", id="empty"),
        pytest.param(lambda good: f"{good},{good}", id="twice"),
        pytest.param(lambda good: good + good, id="two certificates"),
        pytest.param(lambda good: good + "%00", id="NUL behind"),
        pytest.param(lambda good: "x" + good, id="something before"),
        pytest.param(lambda good: good[:200], id="cut off"),
        pytest.param(lambda good: good.replace("%0A", " "), id="unescaped"),
        pytest.param(lambda good: good.replace("CERTIFICATE", "KEY"), id="other PEM"),
        pytest.param(lambda good: good.replace("MII", "M%3DI", 1), id="broken base64"),
        pytest.param(lambda good: good + "%0A" * 20_000, id="too long"),
        pytest.param(lambda _: "é", id="not ASCII"),
        pytest.param(lambda _: "(null)", id="what a variable without value says"),
    ],
)
def test_anything_but_one_escaped_pem_is_refused(der: bytes, bend: object) -> None:
    with pytest.raises(CertificateFault):
        read_escaped_pem(bend(escaped(der)))
