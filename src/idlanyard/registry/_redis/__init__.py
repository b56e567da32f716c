"""
``redis://`` and related schemes: Redis, Valkey, clusters and Sentinels, through redis-py.

Promises:

- While the server keeps its data, no ID is created twice: each create is one
  script, and the server runs one script at a time. A script that is sent
  again, since its answer was lost, has the same answer.
- A server that is restarted has the data that its persistence kept. With
  ``appendonly yes`` and ``appendfsync always`` that is every session whose
  ``create`` returned; with ``everysec`` the sessions of the last second or two
  may be missing; with snapshots (``save``) those since the last snapshot; with
  neither, all. A lost ID is free again.
- Replication is asynchronous. A replica that takes over, in a cluster or under
  Sentinel, may lack the sessions of the last moments: they are lost, or their
  IDs can be created again. ``WAIT`` and ``min-replicas-to-write`` make that
  rarer, not impossible. Use PostgreSQL if it may not happen.
- The server needs ``maxmemory-policy noeviction``. Any other policy may remove
  sessions that have not expired. With this one a full server refuses new
  sessions, which is ``RegistryUnavailable``.
- Sessions expire by the server's clock, in whole milliseconds: never early, and
  at most two milliseconds late.
- A create with an idempotency key takes three steps, since the key and the
  session may be in different slots of a cluster: it claims the key, inserts the
  session and confirms the claim. It returns after the third step; a create that
  is sent again continues where the first one stopped.
- IDs of expired sessions leave their client's index when that client creates
  and finds sessions, a limited number each time.
- A session that was ended stays at the server for twice the ``timeout``, under
  a name that only a retry of that ``end`` knows.
"""

from __future__ import annotations

from idlanyard.registry._redis._async import async_store
from idlanyard.registry._redis._sync import store

__all__ = ["async_store", "store"]
