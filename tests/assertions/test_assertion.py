"""
Assertions as sources of IDs, behind both middlewares, and what is wrong about one in code.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from assertions import key_servers
from assertions.key_servers import KeyServer
from assertions.minting import (
    AUDIENCE,
    ISSUER,
    PrivateKey,
    claims,
    ec_key,
    jwk_of,
    jwks_of,
    pem_of,
    private_pem_of,
    rsa_key,
    sign,
)
from drive import PROXY, STRANGER, Line, ask_asgi, ask_wsgi, environ_of, http_scope
from idlanyard import Policy, PolicyError, asgi, get_session_context, session_spec, wsgi
from idlanyard import tenant_spec as tenant
from idlanyard import user_spec as user
from idlanyard.ids import Provenance
from idlanyard.signing import Assertion

RSA, EC = rsa_key("ours"), ec_key("ours")
KEYS = {RSA: jwks_of(jwk_of(RSA, "k1")), EC: jwks_of(jwk_of(EC, "k1"))}
SIGNER = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/ours/0123456789"
TEAM = "https://acme.cloudflareaccess.com"
IAP = "https://cloud.google.com/iap"
BACKEND = "/projects/123/global/backendServices/456"


class Seen(NamedTuple):
    """
    The user and tenant as an application sees them, and the headers that it gets.
    """

    user: str | None
    tenant: str | None
    provenance: Provenance | None
    headers: set[str]


def serve(policy: Policy, lines: list[Line], peer: str = STRANGER) -> Seen:
    """
    Return the same that applications of both protocols see.
    """
    found: list[Seen] = []

    def note(names: set[str]) -> None:
        context = get_session_context()
        found.append(
            Seen(
                context.user_id,
                context.tenant_id,
                context.provenance("user_id"),
                names - {"x-session-id", "x-user-id", "x-tenant-id"},
            )
        )

    async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
        note({name.decode().replace("_", "-") for name, _ in scope["headers"]})

    def wsgi_app(environ: Any, start_response: Any) -> list[bytes]:
        note({name[5:].lower().replace("_", "-") for name in environ if name.startswith("HTTP_")})
        start_response("200 OK", [])
        return []

    ask_asgi(asgi.SessionContextMiddleware(asgi_app, policy), http_scope(lines, peer=peer))
    environ = environ_of(lines, peer=peer, SERVER_SOFTWARE="gunicorn/23.0.0")
    ask_wsgi(wsgi.SessionContextMiddleware(wsgi_app, policy), environ)
    by_asgi, by_wsgi = found
    assert by_asgi == by_wsgi
    return by_asgi


class Preset(NamedTuple):
    """
    A preset, with a token that it believes.

    Attributes:
        make: makes the assertion.
        header: the header of its tokens.
        key: signs them.
        token: returns the token of some claims.
        siblings: the unsigned headers that come with it.
        stays: whether its header stays in the request, believed or not.
    """

    make: Callable[[], Assertion]
    header: str
    key: PrivateKey
    token: Callable[[dict[str, Any]], str]
    siblings: tuple[str, ...] = ()
    stays: bool = False


def alb_token(found: dict[str, Any]) -> str:
    """
    Return a token of a load balancer, whose header says almost everything.
    """
    header = {"signer": SIGNER, "client": "c1", "iss": ISSUER, "exp": int(time.time()) + 120}
    return sign(EC, found, header | found.pop("header", {}), padded=True)


PRESETS = {
    "bearer": Preset(
        lambda: Assertion.bearer(issuer=ISSUER, audience=AUDIENCE, keys=KEYS[RSA]),
        "Authorization",
        RSA,
        lambda found: f"Bearer {sign(RSA, found)}",
        stays=True,
    ),
    "cloudflare": Preset(
        lambda: Assertion.cloudflare_access(team="acme", audience="tag", keys=KEYS[RSA]),
        "Cf-Access-Jwt-Assertion",
        RSA,
        lambda found: sign(RSA, {"iss": TEAM, "aud": ["tag"]} | found),
        ("Cf-Access-Authenticated-User-Email",),
    ),
    "iap": Preset(
        lambda: Assertion.google_iap(audience=BACKEND, keys=KEYS[EC]),
        "X-Goog-IAP-JWT-Assertion",
        EC,
        lambda found: sign(EC, {"iss": IAP, "aud": BACKEND} | found),
        ("X-Goog-Authenticated-User-Email", "X-Goog-Authenticated-User-ID"),
    ),
    "alb": Preset(
        lambda: Assertion.aws_alb(signer=SIGNER, issuer=ISSUER, client="c1", keys=KEYS[EC]),
        "X-Amzn-Oidc-Data",
        EC,
        alb_token,
        ("X-Amzn-Oidc-Identity",),
    ),
    "oauth2-proxy": Preset(
        lambda: Assertion.oauth2_proxy(issuer=ISSUER, audience=AUDIENCE, keys=KEYS[RSA]),
        "Authorization",
        RSA,
        lambda found: f"Bearer {sign(RSA, found)}",
        ("X-Forwarded-User", "X-Forwarded-Email", "X-Auth-Request-Preferred-Username"),
        stays=True,
    ),
    "transaction": Preset(
        lambda: Assertion.transaction_token(audience=AUDIENCE, keys=KEYS[EC]),
        "Txn-Token",
        EC,
        lambda found: sign(EC, found, {"typ": "txntoken+jwt"}),
    ),
}
# Those whose tokens have the usual issuer and audience.
USUAL = {"bearer", "oauth2-proxy", "transaction"}


def good(name: str, **more: Any) -> str:
    """
    Return the line of a token that a preset believes.
    """
    now = int(time.time())
    found = claims() if name in USUAL else {"sub": "alice", "iat": now, "exp": now + 60}
    return PRESETS[name].token(found | more)


def policy_of(made: Assertion, **options: Any) -> Policy:
    """
    Return the policy of a service that reads user and tenant out of one token.
    """
    options.setdefault("trusted_peers", [PROXY])
    return Policy(
        user=user(sources=[made.claim()]),
        tenant=tenant(sources=[made.claim("realm_access.tenant")]),
        **options,
    )


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_believes_its_provider(name: str) -> None:
    """
    S23: user and tenant come out of one verified token, signed, and its unsigned siblings leave.
    """
    preset = PRESETS[name]
    line = good(name, realm_access={"tenant": "acme"})
    lines = [(preset.header, line), *((sibling, "eve") for sibling in preset.siblings)]
    seen = serve(policy_of(preset.make()), lines, PROXY)
    assert seen == Seen("alice", "acme", Provenance.SIGNED, {preset.header.lower()})


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_believes_nobody_else(name: str) -> None:
    """
    S23: a token of another key, and none at all, are no IDs: the header leaves unless it is
    ``Authorization``, and the unsigned siblings leave in any spelling.
    """
    preset = PRESETS[name]
    forged = good(name)[:-12] + "AAAAAAAAAAAA"
    siblings = [(sibling, "eve") for sibling in preset.siblings]
    siblings += [(sibling.replace("-", "_"), "eve") for sibling in preset.siblings]
    policy = policy_of(preset.make())
    stays = {preset.header.lower()} if preset.stays else set()
    assert serve(policy, [(preset.header, forged), *siblings], PROXY) == Seen(
        None, None, None, stays
    )
    assert serve(policy, siblings, PROXY) == Seen(None, None, None, set())


@pytest.mark.parametrize("name", PRESETS)
def test_only_a_load_balancer_has_to_be_a_peer_besides(name: str) -> None:
    """
    S23: a token is believed from any peer, but that of AWS, whose key server everybody shares.
    """
    preset = PRESETS[name]
    seen = serve(policy_of(preset.make()), [(preset.header, good(name))], STRANGER)
    assert seen.user == (None if name == "alb" else "alice")


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("bearer", {"aud": "https://other.example"}),
        ("cloudflare", {"aud": ["other"]}),
        ("cloudflare", {"iss": "https://evil.cloudflareaccess.com"}),
        ("iap", {"aud": "/projects/666/global/backendServices/6"}),
        ("iap", {"iss": "https://accounts.google.com"}),
        ("alb", {"header": {"signer": SIGNER.replace("ours", "theirs")}}),
        ("alb", {"header": {"client": "c2"}}),
        ("oauth2-proxy", {"iss": "https://evil.example"}),
        ("transaction", {"aud": "https://other.example"}),
        ("transaction", {"exp": 1}),
    ],
)
def test_a_preset_fixes_what_its_tokens_say(name: str, changed: dict[str, Any]) -> None:
    """
    S23: issuer, audience and signer of another service of the same provider are refused.
    """
    preset = PRESETS[name]
    line = good(name, **changed)
    assert serve(policy_of(preset.make()), [(preset.header, line)], PROXY).user is None


def test_a_transaction_token_is_no_other_token() -> None:
    """
    An access token of the same issuer is none, and the issuer is compared if it is named.
    """
    made = Assertion.transaction_token(audience=AUDIENCE, keys=KEYS[EC], issuer=ISSUER)
    policy, typ = policy_of(made), {"typ": "txntoken+jwt"}
    tokens = [sign(EC, claims(), typ), sign(EC, claims()), sign(EC, claims(iss="x"), typ)]
    users = [serve(policy, [("Txn-Token", token)]).user for token in tokens]
    assert users == ["alice", None, None]
    without = policy_of(PRESETS["transaction"].make())
    assert serve(without, [("Txn-Token", sign(EC, claims(iss=None), typ))]).user == "alice"


BEARER = PRESETS["bearer"]


@pytest.mark.parametrize(
    ("line", "user"),
    [
        ("Bearer {}", "alice"),
        ("bearer {}", "alice"),
        ("BEARER   {}", "alice"),
        ("{}", None),
        ("Bearer{}", None),
        ("Basic {}", None),
        ("Bearer {} {}", None),
        ("Bearer {},{}", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("", None),
    ],
)
def test_a_bearer_is_one_token_behind_its_word(line: str, user: str | None) -> None:
    """
    The word is written in any case; anything else is another kind of credential.
    """
    token = sign(RSA, claims())
    lines = [("Authorization", line.replace("{}", token))]
    assert serve(policy_of(BEARER.make()), lines).user == user


@pytest.mark.parametrize(
    ("sub", "path"),
    [
        (1, "sub"),
        (True, "sub"),
        (["alice"], "sub"),
        ("", "sub"),
        ("al ice", "sub"),
        ("al\\u0000ice", "sub"),
        ("\udc80", "sub"),
        ("\xe9", "sub"),
        ("a" * 256, "sub"),
        ("alice", "sub.name"),
        ("alice", "SUB"),
    ],
)
def test_a_claim_is_checked_like_any_id(sub: Any, path: str) -> None:
    """
    S6: a signed value that is no text, or no ID, is absent on both protocols.
    """
    policy = Policy(user=user(sources=[BEARER.make().claim(path)]))
    assert serve(policy, [("Authorization", good("bearer", sub=sub))]).user is None


def test_a_claim_may_have_dots_in_its_name() -> None:
    """
    A list of names is the path, whatever is in them.
    """
    made = BEARER.make()
    source = made.claim(["https://app.example/ids", "tenant"])
    line = good("bearer", **{"https://app.example/ids": {"tenant": "acme"}})
    policy = Policy(user=user(sources=[source]), session=session_spec(sources=[made.claim("sid")]))
    assert serve(policy, [("Authorization", line)]).user == "acme"


def test_no_log_line_has_a_token_in_it(caplog: pytest.LogCaptureFixture) -> None:
    """
    S8: the reason of each refusal is logged once, with the header and without the token.
    """
    caplog.set_level(logging.DEBUG)
    policy = policy_of(BEARER.make())
    tokens = [sign(RSA, claims(aud="x")), sign(rsa_key("theirs"), claims()), "secret", "a.b.c"]
    for _ in range(3):
        for token in [*tokens, "x" * 9000, sign(RSA, claims())]:
            serve(policy, [("Authorization", f"Bearer {token}")])
    said = [record.getMessage() for record in caplog.records if "token in" in record.getMessage()]
    assert said == [
        f"idlanyard: a token in Authorization {why}"
        for why in (
            "is not believed: it has another audience (aud)",
            "is not believed: it has a wrong signature",
            "is not believed: it is no signed JWT",
            "is not believed: it is longer than 8192 characters",
            "has no text at realm_access.tenant",
        )
    ]
    assert not any(part in caplog.text for token in tokens for part in token.split(".") if part[3:])
    page = Path(__file__).parents[2].joinpath("docs", "assertions.md").read_text(encoding="utf-8")
    assert (
        f"\n```text\n{said[0].replace('Authorization', 'Cf-Access-Jwt-Assertion')}\n```\n" in page
    )


def test_a_token_before_the_keys_is_none() -> None:
    """
    A request never waits for a key server that hangs, on either protocol.
    """
    with (
        KeyServer(key_servers.hang) as server,
        Assertion.bearer(issuer=ISSUER, audience=AUDIENCE, keys=server.url) as made,
    ):
        began = time.monotonic()
        seen = serve(policy_of(made), [("Authorization", good("bearer"))])
        assert (seen.user, made.wait_for_keys(0)) == (None, False)
        made.close()
        assert time.monotonic() - began < 9


def test_keys_are_fetched_from_a_url() -> None:
    """
    A service with the URL of a key set believes its tokens, and after a rotation the new ones.
    """
    with (
        KeyServer(key_servers.keys(KEYS[RSA])) as server,
        Assertion.bearer(issuer=ISSUER, audience=AUDIENCE, keys=server.url, wait=10) as made,
    ):
        assert made.wait_for_keys(10)
        policy = policy_of(made)
        assert serve(policy, [("Authorization", good("bearer"))]).user == "alice"
        server.answer = key_servers.keys(jwks_of(jwk_of(rsa_key("theirs"), "k2")))
        rotated = sign(rsa_key("theirs"), claims(), kid="k2")
        lines = [("Authorization", f"Bearer {rotated}")]
        users: list[str | None] = []

        def app(environ: Any, start_response: Any) -> list[bytes]:
            users.append(get_session_context().user_id)
            start_response("200 OK", [])
            return []

        ask_wsgi(wsgi.SessionContextMiddleware(app, policy), environ_of(lines))
        assert users == ["alice"]
        assert serve(policy, lines).user == "alice"


def test_an_event_loop_never_waits() -> None:
    """
    In the event loop a token of an unknown key is none at once, however long others may wait.
    """
    with (
        KeyServer(key_servers.keys(KEYS[RSA])) as server,
        Assertion.bearer(issuer=ISSUER, audience=AUDIENCE, keys=server.url, wait=10) as made,
    ):
        assert made.wait_for_keys(10)
        server.answer = key_servers.hang
        token = sign(rsa_key("theirs"), claims(), kid="k2")

        async def read() -> str | None:
            return made.read_line(f"Bearer {token}", ("sub",))

        began = time.monotonic()
        assert asyncio.run(read()) is None
        assert time.monotonic() - began < 9


def test_single_keys_of_a_load_balancer_come_by_their_id() -> None:
    """
    The first token that names a key fetches it, and a WSGI application may wait for that.
    """
    with (
        KeyServer(key_servers.whole(pem_of(EC).encode())) as server,
        Assertion.aws_alb(
            signer=SIGNER, issuer=ISSUER, client="c1", keys=f"{server.url}/{{kid}}", wait=10
        ) as made,
    ):
        assert made.read_line(alb_token({"sub": "alice"}), ("sub",)) == "alice"
        assert made.read_line(alb_token({"sub": "alice"}), ("sub",)) == "alice"
        assert server.asked == ["/keys/k1"]


@pytest.mark.parametrize(
    ("signer", "url"),
    [
        (SIGNER, "https://public-keys.auth.elb.eu-west-1.amazonaws.com/{kid}"),
        (
            SIGNER.replace("aws:", "aws-cn:").replace("eu-west-1", "cn-north-1"),
            "https://public-keys.auth.elb.cn-north-1.amazonaws.com.cn/{kid}",
        ),
        (
            SIGNER.replace("aws:", "aws-us-gov:").replace("eu-west-1", "us-gov-west-1"),
            "https://s3-us-gov-west-1.amazonaws.com/aws-elb-public-keys-prod-us-gov-west-1/{kid}",
        ),
    ],
)
def test_the_key_server_is_that_of_the_region(signer: str, url: str) -> None:
    """
    The ARN of the load balancer names the one server that its keys come from.
    """
    from idlanyard.signing._assertions.assertion import locate_alb_keys

    assert locate_alb_keys(signer) == url


def bearer(**changed: Any) -> Assertion:
    """
    Return the assertion of good options, changed.
    """
    options: dict[str, Any] = {"issuer": ISSUER, "audience": AUDIENCE, "keys": KEYS[RSA]}
    return Assertion.bearer(**options | changed)


def general(**changed: Any) -> Assertion:
    """
    Return the assertion of a gateway of one's own.
    """
    options: dict[str, Any] = {"issuer": ISSUER, "audience": AUDIENCE, "keys": KEYS[RSA]}
    return Assertion("X-Gateway-Token", **options | changed)


def test_a_gateway_of_ones_own_may_name_the_type_of_its_tokens() -> None:
    """
    The type is compared in any case, as in the header of the token.
    """
    source = general(typ="application/AT+JWT", siblings=["X-Gateway-User"]).claim()
    policy = Policy(user=user(sources=[source]))
    token = sign(RSA, claims(), {"typ": "at+JWT"})
    lines = [("X-Gateway-Token", token), ("X-Gateway-User", "eve")]
    assert serve(policy, lines) == Seen("alice", None, Provenance.SIGNED, {"x-gateway-token"})
    assert serve(policy, [("X-Gateway-Token", sign(RSA, claims()))]).user is None


def test_two_issuers_may_have_one_header() -> None:
    """
    A token of either is believed, each by its own keys, and a token of the one signed by the other
    is not.
    """
    other = bearer(issuer="https://two.example", keys=jwks_of(jwk_of(rsa_key("theirs"), "k1")))
    policy = Policy(user=user(sources=[bearer().claim(), other.claim()]))
    theirs = claims(iss="https://two.example", sub="bob")
    tokens = [sign(RSA, claims()), sign(rsa_key("theirs"), theirs), sign(RSA, theirs)]
    users = [serve(policy, [("Authorization", f"Bearer {token}")]).user for token in tokens]
    assert users == ["alice", "bob", None]


@pytest.mark.parametrize("team", ["acme", "acme.cloudflareaccess.com", f"{TEAM}/"])
def test_a_team_is_written_in_any_of_its_forms(team: str) -> None:
    """
    The team's name and its domain mean the same team.
    """
    made = Assertion.cloudflare_access(team=team, audience="tag", keys=KEYS[RSA])
    assert made.read_line(good("cloudflare"), ("sub",)) == "alice"


@pytest.mark.parametrize(
    ("make", "option", "why"),
    [
        pytest.param(lambda: bearer(audience=""), "audience", "names this service", id="no aud"),
        pytest.param(lambda: bearer(audience=None), "audience", "names this", id="aud None"),
        pytest.param(lambda: bearer(audience=[]), "audience", "names this", id="no audiences"),
        pytest.param(lambda: bearer(audience=["a", ""]), "audience", "names this", id="empty aud"),
        pytest.param(lambda: bearer(issuer=""), "issuer", "exact iss", id="no issuer"),
        pytest.param(lambda: bearer(issuer=None), "issuer", "exact iss", id="issuer None"),
        pytest.param(lambda: bearer(algorithm="HS256"), "algorithm", "a secret", id="HS256"),
        pytest.param(lambda: bearer(algorithm="none"), "algorithm", "write one of", id="none"),
        pytest.param(lambda: bearer(algorithm=None), "algorithm", "write one of", id="alg None"),
        pytest.param(lambda: general(typ=""), "typ", "typ='at", id="typ"),
        pytest.param(
            lambda: general(siblings="X-Gateway-User"),
            "siblings",
            r"siblings=\['X-Gateway-User'\]",
            id="siblings in text",
        ),
        pytest.param(lambda: general(siblings=5), "siblings", "is a list", id="no siblings"),
        pytest.param(
            lambda: general(siblings=["Cookie"]), "siblings", "Cookie", id="a sibling of others"
        ),
        pytest.param(lambda: general(peers_too="yes"), "peers_too", "True or", id="peers_too"),
        pytest.param(lambda: general(signer=""), "signer", "or None", id="empty signer"),
        pytest.param(lambda: general(signer=5), "signer", "or None", id="a number for a signer"),
        pytest.param(lambda: general(signer=b"x"), "signer", "or None", id="bytes for a signer"),
        pytest.param(
            lambda: bearer(audience={"https://api.example": 1}),
            "audience",
            "names this",
            id="an object of audiences",
        ),
        pytest.param(
            lambda: bearer(keys=pem_of(RSA) + pem_of(rsa_key("theirs"))),
            "keys",
            "several keys in one text",
            id="two keys in one text",
        ),
        pytest.param(
            lambda: bearer(keys=jwks_of(jwk_of(RSA, "k1", d="AQAB"))),
            "keys",
            "a private key",
            id="a private JWK",
        ),
        pytest.param(
            lambda: general(keys="https://{kid}.example/keys", peers_too=True),
            "keys",
            "https://",
            id="kid in the host",
        ),
        pytest.param(
            lambda: general(keys="https://login.example/{kid}"), "keys", "peers_too", id="kid"
        ),
        pytest.param(lambda: bearer(leeway=61), "leeway", "from 0 to 60", id="leeway"),
        pytest.param(lambda: bearer(leeway=-1), "leeway", "from 0 to 60", id="negative leeway"),
        pytest.param(lambda: bearer(leeway=True), "leeway", "from 0 to 60", id="true leeway"),
        pytest.param(lambda: bearer(wait=11), "wait", "from 0 to 10", id="wait"),
        pytest.param(lambda: bearer(wait="1"), "wait", "from 0 to 10", id="wait in text"),
        pytest.param(
            lambda: bearer(keys="http://login.example/keys"), "keys", "https://", id="http"
        ),
        pytest.param(lambda: bearer(keys="login.example/keys"), "keys", "no public key", id="path"),
        pytest.param(lambda: bearer(keys=None), "keys", "missing", id="no keys"),
        pytest.param(lambda: bearer(keys=[]), "keys", "missing", id="empty keys"),
        pytest.param(lambda: bearer(keys=[1]), "keys", "missing", id="numbers"),
        pytest.param(lambda: bearer(keys={}), "keys", "no key set", id="no JWKS"),
        pytest.param(lambda: bearer(keys=KEYS[EC]), "keys", "no public key for RS256", id="EC"),
        pytest.param(lambda: bearer(keys=[pem_of(RSA)] * 5), "keys", "over 4", id="five"),
        pytest.param(lambda: bearer(keys=private_pem_of(RSA)), "keys", "private", id="private"),
        pytest.param(
            lambda: Assertion.cloudflare_access(team="a/b", audience="x"), "team", "acme", id="team"
        ),
        pytest.param(
            lambda: Assertion.cloudflare_access(team=5, audience="x"),  # type: ignore[arg-type]
            "team",
            "acme",
            id="a number for a team",
        ),
        pytest.param(
            lambda: Assertion.aws_alb(signer="ours", issuer=ISSUER, client="c1"),
            "signer",
            "ARN",
            id="signer",
        ),
        pytest.param(
            lambda: Assertion.aws_alb(signer=None, issuer=ISSUER, client="c1"),  # type: ignore[arg-type]
            "signer",
            "ARN",
            id="no signer",
        ),
        pytest.param(lambda: bearer().claim(""), "claim", r"claim\('sub'\)", id="no claim"),
        pytest.param(lambda: bearer().claim([]), "claim", r"claim\('sub'\)", id="empty path"),
        pytest.param(lambda: bearer().claim("a..b"), "claim", r"claim\('sub'\)", id="two dots"),
        pytest.param(lambda: bearer().claim(["a"] * 17), "claim", r"claim\(", id="a deep path"),
        pytest.param(
            lambda: Assertion("X Y", issuer=ISSUER, audience=AUDIENCE, keys=KEYS[RSA]),
            "sources",
            "header name",
            id="header",
        ),
    ],
)
def test_a_wrong_option_says_what_to_write(
    make: Callable[[], object], option: str, why: str
) -> None:
    """
    R14: an audience and an issuer are mandatory, and a wrong key, algorithm or URL is refused when
    the assertion is made; no key is quoted.
    """
    with pytest.raises(PolicyError, match=why) as caught:
        make()
    assert caught.value.option == option
    assert "BEGIN" not in str(caught.value)
    assert "BEGIN" not in repr(caught.value.value)


def test_several_pinned_keys_are_tried() -> None:
    """
    Old and new key in PEM are both believed while they are both listed.
    """
    made = bearer(keys=[pem_of(rsa_key("theirs")), pem_of(RSA).encode()])
    assert made.wait_for_keys(0)
    for key in (RSA, rsa_key("theirs")):
        assert made.read_line(f"Bearer {sign(key, claims())}", ("sub",)) == "alice"


def test_without_pyjwt_the_extra_is_named() -> None:
    """
    SignedHeader needs no PyJWT, and Assertion says what to install.
    """
    code = (
        "import sys; sys.modules['jwt'] = None\n"
        "from idlanyard.signing import SignedHeader\n"
        "try:\n    from idlanyard.signing import Assertion\n"
        "except ImportError as error:\n    print(error)\n"
        "import idlanyard.signing\n"
        "try:\n    idlanyard.signing.Nothing\n"
        "except AttributeError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == [
        "Assertion needs PyJWT with cryptography: run pip install 'idlanyard[jwt]'",
        "module 'idlanyard.signing' has no attribute 'Nothing'",
    ]


def test_a_header_stays_for_the_id_that_was_found_in_it() -> None:
    """
    A token without one of the claims still says the others, and stays for its other readers.
    """
    preset = PRESETS["cloudflare"]
    seen = serve(policy_of(preset.make()), [(preset.header, good("cloudflare"))])
    assert seen == Seen("alice", None, Provenance.SIGNED, {preset.header.lower()})


def test_only_verified_ids_share_a_header() -> None:
    """
    A header that one ID verifies and another one takes as it is belongs to neither.
    """
    made = PRESETS["cloudflare"].make()
    with pytest.raises(PolicyError, match="serves session_id and user_id: give each its own"):
        Policy(
            user=user(sources=[made.claim()]),
            session=session_spec(sources=["Cf-Access-Jwt-Assertion"]),
        )
