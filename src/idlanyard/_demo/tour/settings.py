"""
The settings that each service of the tour gets from the process that starts it.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, field

from idlanyard import IDSpec, Policy, request_spec, tenant_spec, user_spec
from idlanyard.signing import SignedHeader, Signer


@dataclass(frozen=True)
class TourSettings:
    """
    Keys, the folder of the queue, and addresses.

    Attributes:
        queue: the folder that the broker keeps its messages in.
        key: signs IDs in headers.
        queue_key: signs IDs in jobs.
        urls: the origin of each service that a service calls, by its name.
    """

    queue: str
    key: str = field(default_factory=secrets.token_urlsafe)
    queue_key: str = field(default_factory=secrets.token_urlsafe)
    urls: dict[str, str] = field(default_factory=dict[str, str])

    def dump(self) -> str:
        """
        Return the settings as a line of text.
        """
        return json.dumps(asdict(self))

    @staticmethod
    def load(text: str) -> TourSettings:
        """
        Return the settings that ``dump`` has written.
        """
        return TourSettings(**json.loads(text))

    def make_signer(self, audience: str) -> Signer:
        """
        Return a signer for the service called *audience*.
        """
        return Signer(keys=[self.key], audience=audience)

    def make_verifying_policy(self, audience: str) -> Policy:
        """
        Return a policy that believes a user and a tenant by their signature.
        """
        return Policy(
            user=user_spec(sources=[self._signed("X-Signed-User-ID", "user_id", audience)]),
            tenant=tenant_spec(sources=[self._signed("X-Signed-Tenant-ID", "tenant_id", audience)]),
            extra=self.extra(),
            queue_keys=[self.queue_key],
        )

    def make_trusting_policy(self) -> Policy:
        """
        Return a policy that believes the services of this machine.
        """
        return Policy(trusted_peers=["127.0.0.1"], extra=self.extra(), queue_keys=[self.queue_key])

    def extra(self) -> list[IDSpec]:
        """
        Return the rules of the request ID, by which the page tells journeys apart.
        """
        return [request_spec()]

    def _signed(self, header: str, name: str, audience: str) -> SignedHeader:
        return SignedHeader(header, field=name, keys=[self.key], audience=audience)
