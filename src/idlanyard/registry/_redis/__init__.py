"""
``redis://`` and its kin: Redis, Valkey, their clusters and Sentinels, through redis-py.

What is promised:

- While the server keeps its data, no ID is created twice: each create is one
  script that runs at the server alone. A question that is asked again, since
  its first answer was lost, gets that first answer.
- A server that is started again has what its persistence kept. With
  ``appendonly yes`` and ``appendfsync always`` that is every session whose
  ``create`` returned; with ``everysec`` those of the last second or two may
  be missing; with snapshots (``save``) those since the last one; with neither,
  all. An ID so lost is free again.
- Replication is asynchronous. A replica that takes over, in a cluster or under
  Sentinel, may lack the sessions of the last moments, which are then lost or
  can be created once more. ``WAIT`` and ``min-replicas-to-write`` make that
  rarer, not impossible. Where it may not happen, use PostgreSQL.
- Give the server ``maxmemory-policy noeviction``. Any other may forget
  sessions that have not expired; with this one a full server refuses new ones,
  which is ``RegistryUnavailable``.
- Expiry is by the server's clock, in whole milliseconds: never early, and at
  most two of them late.
- A create with an idempotency key claims the key, keeps the session and
  confirms the claim: three steps, since both may be in different slots of a
  cluster. Nobody is answered before the third, and whoever sends the create
  again goes on where it broke off.
- What has expired leaves its client's index with that client's next creates
  and pages, some at a time.
- What ``end`` forgets stays at the server for twice the ``timeout``, under a
  name that only a retry of that ``end`` knows.
"""

from __future__ import annotations

from idlanyard.registry._redis._async import async_store
from idlanyard.registry._redis._sync import store

__all__ = ["async_store", "store"]
