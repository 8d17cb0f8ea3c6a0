"""Electronic addresses and secrets: e-mail, links that carry a credential, IP, keys, passwords.

Every pattern is linear: runs are bounded or possessive and start only at their own border, so no
text makes them backtrack. Finders take a readable text (see ``hostile.py``) and yield
``(start, end, kind)``.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from analyses.pipeline.redaction.hostile import holds

Found = tuple[int, int, str]

# RFC 5321 bounds the local part to 64 and a label to 63 octets. Latin letters only: in Chinese or
# Japanese text the words before an address touch it. The labels may be given back (eight steps at
# most): possessive, they would swallow "acme.com." with the full stop of the sentence.
_LOCAL = r"A-Za-z0-9_.!#$%&'*+/=?^`{|}~\u00c0-\u024f-"
_EMAIL = re.compile(
    rf"(?<![{_LOCAL}])[{_LOCAL}]{{1,64}}+[ \t]?@[ \t]?"
    r"(?:[A-Za-z0-9\u00c0-\u024f-]{1,63}+\.){1,8}[A-Za-z\u00c0-\u024f]{2,24}"
)
_SPELLED = re.compile(
    r"(?<![\w.+-])[\w.+-]{1,64}+"
    r"(?:[ ]?[\[({<][ ]?at[ ]?[\])}>][ ]?(?:[a-z0-9-]{1,63}+(?:\.|[ ]?[\[({<]?[ ]?dot[ ]?[\])}>]?[ ]?))"
    r"|[ ]at[ ][a-z0-9-]{1,63}+[ ](?:dot|punkt|punto)[ ]"
    r"|[ ]?@[ ]?[a-z0-9-]{1,63}+[ ](?:dot|punkt|punto|\.)[ ])"
    r"(?:com|net|org|edu|gov|info|io|co|de|fr|es|it|uk|nl|br|in|eu)(?![a-z0-9])",
    re.IGNORECASE,
)
_PROVIDERS = ("gmail", "hotmail", "yahoo", "outlook", "icloud", "protonmail", "gmx", "rediff")
_GLUED_ENDS = ("mailcom", "yahoocom", "rediff", "icloudcom")
_PROVIDER = re.compile(
    r"(?<![\w.+-])[\w.+-]{1,64}+[ ](?:at|@)[ ]?"
    r"(?:gmail|hotmail|yahoo|outlook|icloud|protonmail|gmx|rediff(?:mail)?)(?:[ ]?\.[ ]?[a-z]{2,3})?(?![a-z])",
    re.IGNORECASE,
)
# What is left of an address where all signs were dropped, as in transcripts of calls.
_GLUED = re.compile(
    r"(?<![\w.+-])(?:[A-Za-z][\w.+-]{2,40}+[ ])?(?:[0-9]{1,6}[ ])?[\w.+-]{0,40}"
    r"(?:gmail|hotmail|yahoo|rediff(?:mail)?|icloud)com(?![\w])",
    re.IGNORECASE,
)

_URL = re.compile(r"(?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9+.-]{1,15}+://[^\s<>\"'\x00]{3,4000}+")
_USERINFO = re.compile(r"^[^:]+://[^/@\s]+@")
_SECRET_QUERY = re.compile(
    r"[?&#;](?:[a-z_-]{0,24}(?:token|secret|passwor[dt]|passwd|api_?key|apikey|signature|session)"
    r"|key|sig|pwd|pass|auth|code|sid|otp|jwt|hash|access_?key|awsaccesskeyid|x-amz-[a-z-]{1,30})"
    r"=[^&#\s]{3}",
    re.IGNORECASE,
)
# A path part only a machine makes up: a UUID, or 24 and more letters mixed with four digits.
_OPAQUE = re.compile(
    r"/(?:[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
    r"|(?=(?:[A-Za-z]{0,40}[0-9]){4})(?=[0-9]{0,20}[A-Za-z])[A-Za-z0-9]{24,200}+)(?![\w-])",
    re.IGNORECASE,
)

_IPV4 = re.compile(r"(?<![\w.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![\w]|\.[0-9])")
_IPV6 = re.compile(r"(?<![\w:.])(?=[0-9A-Fa-f]{0,4}:)[0-9A-Fa-f:]{3,39}+(?![\w:])")
# Part of whatever the two match, and cheaper.
_DOTTED = re.compile(r"[0-9]\.[0-9]{1,3}\.[0-9]")
_COLONS = re.compile(r":[0-9A-Fa-f]{0,4}:")
_MAC = re.compile(r"(?<![\w:-])[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}(?![\w:-])")
_VERSION = re.compile(r"(?:version|release|build|firmware|kernel|\bv)\W{0,3}$", re.IGNORECASE)
_NETWORK = re.compile(
    r"\bip\b|address|host|server|ping|dns|gateway|router|connect|ssh", re.IGNORECASE
)

_SECRET = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,200}+"
    r"|gh[pousr]_[A-Za-z0-9]{20,255}+|github_pat_[A-Za-z0-9_]{20,255}+|glpat-[A-Za-z0-9_-]{16,64}+"
    r"|AKIA[0-9A-Z]{16}|AIza[0-9A-Za-z_-]{30,40}+|xox[abprs]-[A-Za-z0-9-]{10,255}+"
    r"|eyJ[A-Za-z0-9_-]{8,4000}+\.[A-Za-z0-9_-]{8,4000}+(?:\.[A-Za-z0-9_-]{0,4000}+)?"
    r"|Bearer [A-Za-z0-9._~+/=-]{16,4000}+"
    r"|-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[A-Za-z0-9+/=\s]{0,8000}(?:-----END [A-Z ]{0,30}-----)?"
    r")"
)
# One of these is part of whatever the pattern matches.
_SECRET_STARTS = (
    *("sk-", "sk_", "pk-", "pk_", "rk-", "rk_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "glpat-"),
    *("github_pat_", "AKIA", "AIza", "xox", "eyJ", "Bearer ", "-----BEGIN "),
)
_PASSWORD_WORDS = (
    *("passw", "passc", "de passe", "contrase", "kennwort", "senha", "wachtwoord"),
    *("pin ", "pin:", "pin=", "pin\t"),
)
_PASSWORD = re.compile(
    r"\b(?:(?:password|passwd|passwort|kennwort|passcode|contraseña|mot de passe|senha"
    r"|wachtwoord)|(?P<pin>pin))[ \t]*(?:[:=]|is\b|ist\b|es\b|est\b|é\b)[ \t]*[\"'“]?"
    r"(?P<value>(?(pin)[0-9]{4}(?![0-9])|(?=[^\s\x00]{0,63}[0-9!@#$%^&*])[^\s\x00\"'”]{3,64}+))",
    re.IGNORECASE,
)


def emails(text: str, lower: str) -> Iterator[Found]:
    """E-mail addresses, also as typed: ``name @ host.com``, ``name (at) host dot com``."""
    if "@" in text:
        for match in _EMAIL.finditer(text):
            yield match.start(), match.end(), "email"
    if "dot" in lower or "[at]" in lower or "(at)" in lower or " . " in lower or "pun" in lower:
        for match in _SPELLED.finditer(text):
            yield match.start(), match.end(), "email"
    for hints, pattern in ((_PROVIDERS, _PROVIDER), (_GLUED_ENDS, _GLUED)):
        if holds(lower, hints):
            for match in pattern.finditer(text):
                yield match.start(), match.end(), "email"


def links(text: str, lower: str) -> Iterator[Found]:
    """Links that carry a login, a token or another secret; plain links stay."""
    if "://" not in lower:
        return
    for match in _URL.finditer(text):
        url = match.group()
        if _USERINFO.search(url) or _SECRET_QUERY.search(url) or _OPAQUE.search(url):
            yield match.start(), match.end() - (url[-1] in ".,;:!?)"), "link"


def _public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address can belong to someone: not loopback, a mask or a group address."""
    return not (address.is_loopback or address.is_unspecified or address.is_multicast)


def _versionlike(text: str, start: int, octets: bytes) -> bool:
    """Four small numbers are a version (Linux 2.6.24.18) unless the words before say otherwise."""
    if octets[0] < 10 and max(octets) < 100:
        return not _NETWORK.search(text[max(0, start - 40) : start])
    return bool(_VERSION.search(text[max(0, start - 12) : start]))


def _ipv4(text: str) -> Iterator[Found]:
    for match in _IPV4.finditer(text):
        try:
            address = ipaddress.IPv4Address(match.group())
        except ValueError:
            continue
        netmask = match.group().startswith(("255.", "0."))
        versionlike = _versionlike(text, match.start(), address.packed)
        if _public(address) and not netmask and not versionlike:
            yield match.start(), match.end(), "ip"


def _ipv6(text: str) -> Iterator[Found]:
    for match in _IPV6.finditer(text):
        found = match.group().rstrip(":") if not match.group().endswith("::") else match.group()
        # Code and clock times are full of colons; an address has digits and three groups.
        if found.count(":") < 3 and not found.lower().startswith(("2", "f")):
            continue
        try:
            address = ipaddress.IPv6Address(found)
        except ValueError:
            continue
        if _public(address) and any(char.isdigit() for char in found):
            yield match.start(), match.start() + len(found), "ip"


def networks(text: str) -> Iterator[Found]:
    """IPv4, IPv6 and hardware addresses that can belong to someone."""
    if text.count(".") > 2 and _DOTTED.search(text):
        yield from _ipv4(text)
    if text.count(":") > 1 and _COLONS.search(text):
        yield from _ipv6(text)
    if text.count(":") > 4 or text.count("-") > 4:
        for match in _MAC.finditer(text):
            yield match.start(), match.end(), "ip"


def secrets(text: str, lower: str) -> Iterator[Found]:
    """API keys, tokens and private keys by their published shapes; passwords by the words before."""
    if holds(text, _SECRET_STARTS):
        for match in _SECRET.finditer(text):
            yield match.start(), match.end(), "secret"
    if holds(lower, _PASSWORD_WORDS):
        for match in _PASSWORD.finditer(text):
            yield match.start("value"), match.end("value"), "secret"
