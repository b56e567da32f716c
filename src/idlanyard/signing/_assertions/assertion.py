"""
``Assertion``: the verified JWTs of a gateway, as sources of IDs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, cast

from idlanyard import _failures
from idlanyard._policy.sources import Header
from idlanyard.exceptions import PolicyError
from idlanyard.signing._assertions.options import (
    KeysGiven,
    check_algorithm,
    check_audience,
    check_issuer,
    check_seconds,
    check_signer,
    check_type,
    open_keys,
)
from idlanyard.signing._assertions.tokens import TokenRefused, follow_path
from idlanyard.signing._assertions.verifier import TokenRules, Verifier

_BEARER: Final = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +(\S+)")
_TRANSACTION: Final = "txntoken+jwt"
_MOST_LEEWAY: Final = 60
_MOST_WAIT: Final = 10
_DEEPEST: Final = 16
_TEAM: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_ARN: Final = re.compile(
    r"arn:(aws|aws-cn|aws-us-gov):elasticloadbalancing:([a-z0-9-]+):\d{12}:loadbalancer/app/\S+"
)
_OAUTH2_PROXY: Final = tuple(
    f"X-{family}-{name}"
    for family in ("Forwarded", "Auth-Request")
    for name in ("User", "Email", "Groups", "Preferred-Username")
)


class Assertion:
    """
    The tokens in one header, each verified before anything in it is believed.

    A token is believed if one of the keys has signed it with the one
    *algorithm*, issuer and audience are the given ones, and it has not
    expired. Any other is no ID, whatever its bytes; its header leaves the
    request, ``Authorization`` excepted. No key, certificate or address in a
    token is used.

    Keys that are given as a URL are fetched by a thread, from the moment at
    which the assertion is made, and never by a request. Tokens that come
    before the first keys are no IDs.

    Each provider has a method that knows its header, its algorithm and the
    place of its keys.

    Args:
        header: the header. In ``Authorization`` the token follows ``Bearer``.
        issuer: the exact ``iss`` of the tokens.
        audience: the ``aud`` that names this service, or several.
        keys: the ``https://`` URL of a key set (JWKS), or one with ``{kid}``
            in it for single keys in PEM, which needs *peers_too*; or the keys
            themselves: a JWKS as a ``dict``, a public key in PEM, or a list of
            these.
        algorithm: the algorithm of the signatures.
        typ: the ``typ`` that the tokens have, ``None`` for any.
        signer: the ``signer`` that the header of the tokens names; issuer,
            audience and times are then read there, as AWS load balancers
            write them.
        siblings: headers that the gateway sends beside its token, unsigned;
            they always leave the request.
        peers_too: whether the sender has to be a trusted peer besides.
        leeway: the seconds by which clocks may differ, up to 60.
        wait: the seconds that a request may wait for keys that are being
            fetched, up to 10. Only in a thread without an event loop: an ASGI
            application never waits.

    Raises:
        PolicyError: an option is wrong; the message says what to write.
    """

    __slots__ = ("_header", "_peers_too", "_siblings", "_verifier")

    def __init__(
        self,
        header: str,
        *,
        issuer: str,
        audience: str | Iterable[str],
        keys: KeysGiven,
        algorithm: str = "RS256",
        typ: str | None = None,
        signer: str | None = None,
        siblings: list[str] | tuple[str, ...] = (),
        peers_too: bool = False,
        leeway: float = 30,
        wait: float = 0,
    ) -> None:
        # All that a header checks, before any key is fetched.
        checked = Header(
            header,
            verify=Claim(self, ("sub",)),
            siblings=cast("tuple[str, ...]", siblings),
            peers_too=peers_too,
        )
        self._header = header
        self._siblings = checked.siblings
        self._peers_too = peers_too
        rules = TokenRules(
            algorithm=check_algorithm(algorithm),
            issuer=check_issuer(issuer, optional=typ == _TRANSACTION),
            audiences=check_audience(audience),
            leeway=check_seconds("leeway", leeway, _MOST_LEEWAY),
            typ=check_type(typ),
            signer=check_signer(signer),
        )
        wait = check_seconds("wait", wait, _MOST_WAIT)
        source = open_keys(keys, algorithm, needs_peer=peers_too)
        self._verifier = Verifier(rules, source, wait=wait)

    @classmethod
    def bearer(
        cls,
        *,
        issuer: str,
        audience: str | Iterable[str],
        keys: KeysGiven,
        algorithm: str = "RS256",
        leeway: float = 30,
        wait: float = 0,
    ) -> Assertion:
        """
        Return the assertion of ``Authorization: Bearer`` tokens of an OpenID Connect provider.

        The header stays in the request, believed or not.
        """
        return cls(
            "Authorization",
            issuer=issuer,
            audience=audience,
            keys=keys,
            algorithm=algorithm,
            leeway=leeway,
            wait=wait,
        )

    @classmethod
    def cloudflare_access(
        cls,
        *,
        team: str,
        audience: str | Iterable[str],
        keys: KeysGiven | None = None,
        leeway: float = 30,
        wait: float = 0,
    ) -> Assertion:
        """
        Return the assertion of Cloudflare Access.

        Args:
            team: the team's name, ``acme`` of ``acme.cloudflareaccess.com``.
            audience: the AUD tag of the application.
            keys: keys to use instead of the team's key server.
            leeway: as in ``Assertion``.
            wait: as in ``Assertion``.
        """
        name = str(team).removesuffix("/").removesuffix(".cloudflareaccess.com")
        name = name.removeprefix("https://")
        if not isinstance(team, str) or not _TEAM.fullmatch(name):
            raise PolicyError.about(
                "team", f"has {team!r}, which is no team name: write team='acme'", team
            )
        issuer = f"https://{name}.cloudflareaccess.com"
        return cls(
            "Cf-Access-Jwt-Assertion",
            issuer=issuer,
            audience=audience,
            keys=f"{issuer}/cdn-cgi/access/certs" if keys is None else keys,
            siblings=("Cf-Access-Authenticated-User-Email",),
            leeway=leeway,
            wait=wait,
        )

    @classmethod
    def google_iap(
        cls,
        *,
        audience: str | Iterable[str],
        keys: KeysGiven | None = None,
        leeway: float = 30,
        wait: float = 0,
    ) -> Assertion:
        """
        Return the assertion of Google's Identity-Aware Proxy.

        Args:
            audience: the backend, as in
                ``"/projects/123/global/backendServices/456"``.
            keys: keys to use instead of Google's key server.
            leeway: as in ``Assertion``.
            wait: as in ``Assertion``.
        """
        return cls(
            "X-Goog-IAP-JWT-Assertion",
            issuer="https://cloud.google.com/iap",
            audience=audience,
            keys="https://www.gstatic.com/iap/verify/public_key-jwk" if keys is None else keys,
            algorithm="ES256",
            siblings=("X-Goog-Authenticated-User-Email", "X-Goog-Authenticated-User-ID"),
            leeway=leeway,
            wait=wait,
        )

    @classmethod
    def aws_alb(
        cls,
        *,
        signer: str,
        issuer: str,
        client: str | Iterable[str],
        keys: KeysGiven | None = None,
        leeway: float = 30,
        wait: float = 0,
    ) -> Assertion:
        """
        Return the assertion of an AWS Application Load Balancer.

        All load balancers of a region share one key server, and anyone may
        have one: *signer* tells them apart, and ``trusted_peers`` or
        ``shared_secret`` has to prove the sender besides.

        Args:
            signer: the ARN of the load balancer.
            issuer: the issuer of the OpenID Connect provider.
            client: the client ID of the load balancer there.
            keys: keys to use instead of the region's key server.
            leeway: as in ``Assertion``.
            wait: as in ``Assertion``; keys are fetched one by one, when the
                first token names them.
        """
        located = locate_alb_keys(signer)
        return cls(
            "X-Amzn-Oidc-Data",
            issuer=issuer,
            audience=client,
            keys=located if keys is None else keys,
            algorithm="ES256",
            signer=signer,
            siblings=("X-Amzn-Oidc-Identity",),
            peers_too=True,
            leeway=leeway,
            wait=wait,
        )

    @classmethod
    def oauth2_proxy(
        cls,
        *,
        issuer: str,
        audience: str | Iterable[str],
        keys: KeysGiven,
        algorithm: str = "RS256",
        header: str = "Authorization",
        leeway: float = 30,
        wait: float = 0,
    ) -> Assertion:
        """
        Return the assertion of the ID token that oauth2-proxy passes on.

        Args:
            issuer: the issuer of the OpenID Connect provider.
            audience: the client ID of oauth2-proxy there.
            keys: the provider's keys, as in ``Assertion``.
            algorithm: as in ``Assertion``.
            header: the header of the ID token.
            leeway: as in ``Assertion``.
            wait: as in ``Assertion``.
        """
        return cls(
            header,
            issuer=issuer,
            audience=audience,
            keys=keys,
            algorithm=algorithm,
            siblings=_OAUTH2_PROXY,
            leeway=leeway,
            wait=wait,
        )

    @classmethod
    def transaction_token(
        cls,
        *,
        audience: str | Iterable[str],
        keys: KeysGiven,
        algorithm: str = "ES256",
        issuer: str = "",
        leeway: float = 30,
        wait: float = 0,
    ) -> Assertion:
        """
        Return the assertion of the transaction tokens of a trust domain (``Txn-Token``).

        Args:
            audience: the trust domain.
            keys: the keys of its token service, as in ``Assertion``.
            algorithm: as in ``Assertion``.
            issuer: the ``iss`` of the tokens; left out, it is not looked at,
                since a trust domain has one service and need not name it.
            leeway: as in ``Assertion``.
            wait: as in ``Assertion``.
        """
        return cls(
            "Txn-Token",
            issuer=issuer,
            audience=audience,
            keys=keys,
            algorithm=algorithm,
            typ=_TRANSACTION,
            leeway=leeway,
            wait=wait,
        )

    def claim(self, path: str | Iterable[str] = "sub") -> Header:
        """
        Return the source that reads one claim of a verified token.

        Only text is an ID: numbers, lists and empty text are none.

        Args:
            path: the name of the claim; dots lead into objects, as in
                ``"realm_access.tenant"``. A list of names has a name with dots
                in it: ``["https://app.example/tenant"]``.
        """
        names = tuple(path.split(".") if isinstance(path, str) else path)
        if not all(isinstance(name, str) and name for name in names) or not (
            0 < len(names) <= _DEEPEST
        ):
            raise PolicyError(
                f"claim({path!r}) is no path of a claim: write claim('sub')",
                option="claim",
                value=path,
            )
        return Header(
            self._header,
            verify=Claim(self, names),
            siblings=self._siblings,
            peers_too=self._peers_too,
        )

    def read_line(self, line: str, path: tuple[str, ...]) -> str | None:
        """
        Return the text at *path* in the token of a header line, if the token is believed.
        """
        token: str | None = line
        if self._header.lower() == "authorization":
            match = _BEARER.fullmatch(line)
            token = match[1] if match else None
        if not token:
            return None
        try:
            value = follow_path(self._verifier.verify_token(token), path)
        except TokenRefused as error:
            self._report(f"is not believed: it {error}")
            return None
        if value is None:
            self._report(f"has no text at {'.'.join(path)}")
        return value

    def _report(self, why: str) -> None:
        subject = f"token in {self._header} {why}"
        _failures.warn_once(subject, "idlanyard: a token in %s %s", self._header, why)

    def wait_for_keys(self, seconds: float) -> bool:
        """
        Wait until the keys have been fetched, and return whether they are there.

        For the start of an application, never for a request. Keys that are
        fetched one by one are not waited for. An assertion that was closed
        fetches its keys again.
        """
        return self._verifier.wait_for_keys(seconds)

    def close(self) -> None:
        """
        End the thread that fetches keys; those that are there go on being used.

        ``wait_for_keys``, and ``with``, begin it again.
        """
        self._verifier.close()

    def __enter__(self) -> Self:
        self._verifier.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@dataclass(frozen=True)
class Claim:
    """
    The function that returns one claim of the token in a header line, if that is believed.

    Attributes:
        assertion: verifies the token.
        path: the names that lead to the claim.
    """

    assertion: Assertion
    path: tuple[str, ...]

    def __call__(self, line: str) -> str | None:
        return self.assertion.read_line(line, self.path)


def locate_alb_keys(signer: object) -> str:
    """
    Return the URL of the keys of a load balancer, by its ARN.

    Raises:
        PolicyError: it is no such ARN; the message says what to write.
    """
    arn = _ARN.fullmatch(signer) if isinstance(signer, str) else None
    if arn is None:
        raise PolicyError.about(
            "signer",
            "is the ARN of the load balancer: write signer='arn:aws:elasticloadbalancing:"
            "eu-west-1:123456789012:loadbalancer/app/name/0123456789abcdef'",
            signer,
        )
    partition, region = arn.groups()
    if partition == "aws-us-gov":
        return f"https://s3-{region}.amazonaws.com/aws-elb-public-keys-prod-{region}/{{kid}}"
    domain = "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com"
    return f"https://public-keys.auth.elb.{region}.{domain}/{{kid}}"
