"""
The registry on Redis as it was with the first layout: its scripts, word for word.

Processes of that version go on while the others are started.
"""

from __future__ import annotations

from hashlib import sha256
from os import urandom
from typing import Any, Final

from redis import Redis

from idlanyard.registry._redis._keys import Namespace
from registry.valkey import ask

_TIMES: Final = """
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- The last millisecond of a key that expires then; a part of one counts as a whole.
local function last(moment, expires)
  return math.max(math.floor(expires / 1000), math.floor(moment / 1000) + 1)
end

-- Put a session into an index, which lives until 'wanted' or, without it, for ever.
local function enter(index, id, moment, wanted)
  local is_new = redis.call('EXISTS', index) == 0
  redis.call('ZADD', index, 0, id)
  if not wanted then
    redis.call('PERSIST', index)
    return ''
  end
  if not is_new then
    local left = redis.call('PTTL', index)
    if left == -1 then
      return ''
    end
    local there = math.floor(moment / 1000) + left
    if there >= wanted then
      return there
    end
  end
  redis.call('PEXPIREAT', index, wanted)
  return wanted
end
"""

_INSERT: Final = (
    _TIMES
    + """
local session, index = KEYS[1], KEYS[2]
local nonce, id, metadata, ttl, client, client_key = unpack(ARGV)
if redis.call('EXISTS', session) == 1 then
  local kept = redis.call('HMGET', session, 'nonce', 'created', 'expires')
  return kept[1] == nonce and {kept[2], kept[3]}
end
local created = now()
local expires = ttl ~= '' and created + ttl
local dies = expires and last(created, expires)
-- What may be refused comes first: what a script has done is not undone.
if index then
  local indexed = enter(index, id, created, dies and dies + math.ceil(ttl / 1000))
  redis.call('HSET', session, 'client', client, 'client_key', client_key, 'indexed', indexed)
end
redis.call('HSET', session, 'id', id, 'metadata', metadata, 'created', created, 'nonce', nonce)
if expires then
  redis.call('HSET', session, 'ttl', ttl, 'expires', expires)
  redis.call('PEXPIREAT', session, dies)
end
return {created, expires}
"""
)

_EXTEND: Final = (
    _TIMES
    + """
local session, index = KEYS[1], KEYS[2]
local given, client_key = ARGV[1], ARGV[2]
local kept = redis.call(
  'HMGET', session, 'id', 'client', 'metadata', 'created', 'ttl', 'client_key', 'indexed')
local id, ttl, owner, indexed = kept[1], kept[5], kept[6], kept[7]
if not id then
  return false
end
if given ~= '' then
  ttl = given
end
if not ttl then
  return {id, kept[2], kept[3], kept[4], false}
end
local moment = now()
local expires = moment + ttl
local dies = last(moment, expires)
if owner and indexed ~= '' and tonumber(indexed) < dies then
  if owner ~= client_key then
    return owner
  end
  redis.call('HSET', session, 'indexed', enter(index, id, moment, dies + math.ceil(ttl / 1000)))
end
redis.call('HSET', session, 'ttl', ttl, 'expires', expires)
redis.call('PEXPIREAT', session, dies)
return {id, kept[2], kept[3], kept[4], expires}
"""
)

_DELETE: Final = """
local session, ended, index = KEYS[1], KEYS[2], KEYS[3]
local stays, created, client_key = unpack(ARGV)
local there = redis.call('EXISTS', ended) == 1 and ended or session
local kept = redis.call(
  'HMGET', there, 'id', 'client', 'metadata', 'created', 'expires', 'client_key')
local id, owner = kept[1], kept[6]
if not id then
  return false
end
if there == session then
  if created ~= '' and created ~= kept[4] then
    return false
  end
  if owner then
    if owner ~= client_key then
      return owner
    end
    redis.call('ZREM', index, id)
  end
  redis.call('RENAME', session, ended)
  redis.call('PEXPIRE', ended, stays)
end
return {id, kept[2], kept[3], kept[4], kept[5]}
"""

_DROP: Final = """
local gone = {}
for at = 2, #KEYS do
  if redis.call('HGET', KEYS[at], 'client_key') ~= ARGV[1] then
    gone[#gone + 1] = ARGV[at]
  end
end
return #gone == 0 and 0 or redis.call('ZREM', KEYS[1], unpack(gone))
"""


class Old:
    """
    Process of the first version, with the commands that it sends to a server.

    Args:
        client: a client of the server.
        space: names of the keys, which were the same then.
    """

    def __init__(self, client: Redis, space: Namespace) -> None:
        self._client = client
        self._space = space

    def create(self, name: str, client_id: str, ttl: float | None = None) -> None:
        """
        Create a session.
        """
        key, client_key = _digest(name), _digest(client_id)
        keys = [self._space.session(key), self._space.index(key, client_key)]
        life = "" if ttl is None else int(ttl * 1_000_000)
        words = [urandom(16), name, "{}", life, client_id, client_key]
        assert self._run(_INSERT, keys, words)

    def touch(self, name: str, ttl: float | None = None) -> None:
        """
        Extend a session.
        """
        key = _digest(name)
        given = "" if ttl is None else int(ttl * 1_000_000)
        keys, owner = [self._space.session(key)], b""
        while isinstance(kept := self._run(_EXTEND, keys, [given, owner]), bytes):
            keys, owner = [keys[0], self._space.index(key, kept)], kept
        assert kept

    def end(self, name: str) -> None:
        """
        Forget a session.
        """
        key = _digest(name)
        keys, owner = [self._space.session(key), self._space.ended(key, urandom(16))], b""
        while isinstance(kept := self._run(_DELETE, keys, [1000, "", owner]), bytes):
            keys, owner = [*keys[:2], self._space.index(key, kept)], kept
        assert kept

    def find(self, client_id: str) -> list[str]:
        """
        Return a client's sessions, taking out of its indexes what is dead.
        """
        found: list[str] = []
        client_key = _digest(client_id)
        for index in self._space.indexes_of(client_key):
            names: list[bytes] = ask(self._client, "ZRANGEBYLEX", index, "-", "+")
            keys = [self._space.session(sha256(name).digest()) for name in names]
            if names:
                self._run(_DROP, [index, *keys], [client_key, *names])
            left: list[bytes] = ask(self._client, "ZRANGEBYLEX", index, "-", "+")
            found += [str(name, "utf-8") for name in left]
        return sorted(found)

    def _run(self, script: str, keys: list[bytes], words: list[Any]) -> Any:
        return ask(self._client, "EVAL", script, len(keys), *keys, *words)


def _digest(text: str) -> bytes:
    return sha256(text.encode()).digest()
