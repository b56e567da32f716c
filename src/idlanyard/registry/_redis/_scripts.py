"""
What happens at the server in one step: scripts in Lua, which name every key they use.

A session is a hash: ``id``, ``metadata``, ``created`` and ``nonce``; with a
time to live ``ttl`` and ``expires`` (microseconds all); with a client
``client``, ``client_key`` and ``indexed``. A client's index is a sorted set of
session IDs with one score, so that they are in the order of their bytes.

An index expires, at the earliest when its last session does: ``indexed`` is
until when it surely lives, in milliseconds, and empty where that is for ever.
It is given as much again as the session needs, so that few touches move it.
"""

from __future__ import annotations

from hashlib import sha1
from typing import Final, NamedTuple


class Script(NamedTuple):
    """
    A script, and what the server calls it once it knows it.
    """

    text: str
    sha: str


def _script(*parts: str) -> Script:
    text = "".join(parts)
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


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

INSERT: Final = _script(
    _TIMES,
    """
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
""",
)
"""
Keep a new session: its moments, or nothing where its key is taken by another.

Keys: the session, the index (where there is a client). Arguments: nonce, ID,
metadata, time to live or nothing, client, the client's key.
"""

EXTEND: Final = _script(
    _TIMES,
    """
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
""",
)
"""
Let a session live on: what it is, nothing where there is none, or the key of
its client, where that one's index is to be named for it.

Keys: the session, that index. Arguments: time to live or nothing, the client's key.
"""

DELETE: Final = _script(
    """
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
""",
)
"""
Forget a session: what it was, nothing where there is none, or the key of its
client, where that one's index is to be named for it.

It is put aside, so that the same question asked again has the same answer,
and a new session with its ID is left alone.

Keys: the session, where it is put, the index. Arguments: for how many
milliseconds, when it was created or nothing, the client's key.
"""

DROP: Final = _script(
    """
local gone = {}
for at = 2, #KEYS do
  if redis.call('HGET', KEYS[at], 'client_key') ~= ARGV[1] then
    gone[#gone + 1] = ARGV[at]
  end
end
return #gone == 0 and 0 or redis.call('ZREM', KEYS[1], unpack(gone))
""",
)
"""
Take out of an index what is not its client's any more: how many those were.

Keys: the index, the sessions. Arguments: the client's key, the sessions' IDs.
"""
