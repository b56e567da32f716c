"""
What happens at the server in one step: scripts in Lua.

A session is a hash: ``id``, ``metadata``, ``created`` and ``nonce``; with a
time to live ``ttl`` and ``expires`` (microseconds all); with a client
``client``, ``client_key`` and ``indexed``; with an idempotency key
``idempotency``, ``request`` and ``claimed``.

A client's index is a sorted set of session IDs with one score, so that they
are in the order of their bytes. Beside it stand the ends: a sorted set of the
same, by when they expire, so that the dead are found without a walk.

Both expire together, at the earliest when their last session does:
``indexed`` is until when they surely live, in milliseconds, and empty where
the session does for ever. They are given as much again as the session needs,
so that few touches move them. ``claimed`` is the same for the claim of the idempotency key.

Scripts name every key they use but one: a touch moves the session's end in
``ends``, where it is. That key is in the same slot; where it is on its way to
another node the end stays as it was, which whoever reads it looks into.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from typing import Any, Final, NamedTuple, TypeAlias


class Script(NamedTuple):
    """
    A script, and what the server calls it once it knows it.
    """

    text: str
    sha: str


Asked: TypeAlias = tuple[Script, Sequence[bytes], Sequence[Any]]
"""
A script, its keys and its arguments.
"""


def script_of(*parts: str) -> Script:
    """
    Return a script that is made of these parts.
    """
    text = "".join(parts)
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


TIMES: Final = """
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- The last millisecond of a key that expires then; a part of one counts as a whole.
local function last(moment, expires)
  return math.max(math.floor(expires / 1000), math.floor(moment / 1000) + 1)
end

-- Up to when a session that ended is surely gone: its key is, two milliseconds later.
local function gone(moment)
  return moment - 2000
end
"""

INDEXES: Final = """
-- Let an index live until 'wanted' at least.
local function outlive(index, is_new, moment, wanted)
  if not is_new then
    local left = redis.call('PTTL', index)
    if left == -1 or math.floor(moment / 1000) + left >= wanted then
      return
    end
  end
  redis.call('PEXPIREAT', index, wanted)
end

-- Note when a session in an index ends. What is dead there is known by this alone,
-- so that it lives as long as the index.
local function note(ends, id, expires)
  redis.call('ZADD', ends, expires or '+inf', id)
end

local function join(index, ends, moment)
  local left = redis.call('PTTL', index)
  if left == -1 then
    redis.call('PERSIST', ends)
  else
    redis.call('PEXPIREAT', ends, math.floor(moment / 1000) + left + 1)
  end
end

-- Put a session into an index, which lives until 'wanted' or, without it, for ever.
local function enter(index, ends, id, moment, expires, wanted)
  local is_new = redis.call('EXISTS', index) == 0
  redis.call('ZADD', index, 0, id)
  if wanted then
    outlive(index, is_new, moment, wanted)
  else
    redis.call('PERSIST', index)
  end
  note(ends, id, expires)
  join(index, ends, moment)
  return wanted or ''
end
"""

INSERT: Final = script_of(
    TIMES,
    INDEXES,
    """
local session, index, ends = KEYS[1], KEYS[2], KEYS[3]
local nonce, id, metadata, ttl, client, client_key, idempotency, request = unpack(ARGV)
if redis.call('EXISTS', session) == 1 then
  local kept = redis.call('HMGET', session, 'nonce', 'created', 'expires', 'idempotency', 'request')
  local is_ours = kept[1] == nonce or (idempotency and kept[4] == idempotency)
  return is_ours and {kept[2], kept[3], {}, false, kept[1], kept[5]}
end
local created = now()
local expires = ttl ~= '' and created + ttl
local dies = expires and last(created, expires)
local wanted = dies and dies + math.ceil(ttl / 1000)
local dead = {}
-- What may be refused comes first: what a script has done is not undone.
if index then
  local indexed = enter(index, ends, id, created, expires, wanted)
  redis.call('HSET', session, 'client', client, 'client_key', client_key, 'indexed', indexed)
  local count = redis.call('ZCOUNT', ends, '-inf', gone(created))
  if count > 15 or count * 16 > redis.call('ZCARD', index) then
    dead = redis.call('ZRANGEBYSCORE', ends, '-inf', gone(created), 'LIMIT', 0, 100)
  end
end
redis.call('HSET', session, 'id', id, 'metadata', metadata, 'created', created, 'nonce', nonce)
if idempotency then
  redis.call('HSET', session,
    'idempotency', idempotency, 'request', request, 'claimed', wanted or '')
end
if expires then
  redis.call('HSET', session, 'ttl', ttl, 'expires', expires)
  redis.call('PEXPIREAT', session, dies)
end
return {created, expires, dead, true}
""",
)
"""
Keep a new session, or answer nothing where its key is taken by another.

The answer is its moments, which of its client's sessions are dead, in case
those are many or a sixteenth of the index, whether it is new, and of one that
is not its nonce and its request.

Keys: the session; where there is a client, its index and its ends. Arguments:
nonce, ID, metadata, time to live or nothing; client and its key, or nothing;
the idempotency key and the request, where there are any.
"""

EXTEND: Final = script_of(
    TIMES,
    INDEXES,
    """
local session, index, ends = KEYS[1], KEYS[2], KEYS[3]
local given, metadata, created, client_key, lives = unpack(ARGV)
local kept = redis.call(
  'HMGET', session, 'id', 'client', 'metadata', 'created', 'ttl', 'expires',
  'client_key', 'indexed', 'idempotency', 'claimed', 'nonce')
local id, ttl, ended, owner, indexed = kept[1], kept[5], kept[6], kept[7], kept[8]
if not id or (created ~= '' and created ~= kept[4]) then
  return false
end
local text = metadata == '' and kept[3] or metadata
if given ~= '' then
  ttl = given
end
if not ttl then
  if metadata ~= '' then
    redis.call('HSET', session, 'metadata', text)
  end
  return {id, kept[2], text, kept[4], false}
end
local moment = now()
local expires = moment + ttl
if given == '' and ended and tonumber(ended) > expires then
  expires = tonumber(ended)
end
local dies = last(moment, expires)
local wanted = dies + math.ceil(ttl / 1000)
local claimed = kept[10]
if kept[9] and (claimed == '' or tonumber(claimed) < dies) then
  claimed = lives ~= '' and math.floor(moment / 1000) + lives
  if not claimed or claimed < dies then
    return {kept[9], kept[11], wanted - math.floor(moment / 1000)}
  end
  redis.call('HSET', session, 'claimed', claimed)
end
if owner and (indexed == '' or tonumber(indexed) < dies) then
  if owner ~= client_key then
    return owner
  end
  redis.call('HSET', session, 'indexed', enter(index, ends, id, moment, expires, wanted))
elseif owner then
  redis.pcall('ZADD', string.sub(session, 1, -41) .. 'ends:' .. owner, 'XX', expires, id)
end
redis.call('HSET', session, 'ttl', ttl, 'expires', expires)
if metadata ~= '' then
  redis.call('HSET', session, 'metadata', text)
end
redis.call('PEXPIREAT', session, dies)
return {id, kept[2], text, kept[4], expires}
""",
)
"""
Let a session live on: what it is, or nothing where there is none.

Where first something else is to be done, the answer is that: the key of its
client, whose index is to be named for it; or its idempotency key, its nonce
and for how many milliseconds the claim is to live.

Keys: the session, that index, its ends. Arguments: time to live, metadata,
when it was created, the client's key, for how long the claim lives; each of
them may be nothing.
"""

DELETE: Final = script_of(
    """
local session, ended, index, ends = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local stays, created, client_key, lives = unpack(ARGV)
local there = redis.call('EXISTS', ended) == 1 and ended or session
local kept = redis.call(
  'HMGET', there, 'id', 'client', 'metadata', 'created', 'expires',
  'client_key', 'idempotency', 'claimed', 'nonce')
local id, owner, idempotency = kept[1], kept[6], kept[7]
if not id then
  return false
end
if there == session then
  if created ~= '' and created ~= kept[4] then
    return false
  end
  if idempotency and kept[8] == '' and lives == '' then
    return {idempotency, kept[9]}
  end
  if owner then
    if owner ~= client_key then
      return owner
    end
    redis.call('ZREM', index, id)
    redis.call('ZREM', ends, id)
  end
  redis.call('RENAME', session, ended)
  redis.call('PEXPIRE', ended, stays)
end
return {id, kept[2], kept[3], kept[4], kept[5], idempotency, kept[9]}
""",
)
"""
Forget a session: what it was, with its idempotency key and its nonce, or
nothing where there is none.

Where first something else is to be done, the answer is that: the key of its
client, whose index is to be named for it; or its idempotency key and its
nonce, whose claim is for ever and is to be so no more.

It is put aside, so that the same question asked again has the same answer,
and a new session with its ID is left alone.

Keys: the session, where it is put, the index, its ends. Arguments: for how
many milliseconds, when it was created or nothing, the client's key or
nothing, and something once the claim is not for ever.
"""

DROP: Final = script_of(
    TIMES,
    INDEXES,
    """
local index, ends, moment = KEYS[1], KEYS[2], now()
local dead, living = {}, {}
for at = 3, #KEYS do
  local id = ARGV[at - 1]
  local kept = redis.call('HMGET', KEYS[at], 'client_key', 'expires')
  if kept[1] ~= ARGV[1] then
    dead[#dead + 1] = id
  else
    living[#living + 1] = at - 3
    note(ends, id, kept[2])
  end
end
if #living > 0 then
  join(index, ends, moment)
end
if #dead == 0 then
  return {0, living}
end
redis.call('ZREM', ends, unpack(dead))
return {redis.call('ZREM', index, unpack(dead)), living}
""",
)
"""
Take out of an index what is not its client's any more, and note when the others end.

The answer is how many those were, and which others, by their numbers.

Keys: the index, its ends, the sessions. Arguments: the client's key, the
sessions' IDs.
"""

READ: Final = script_of(
    TIMES,
    """
local index, ends = KEYS[1], KEYS[2]
local start, count, most = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local before = gone(now())
local dead = redis.call('ZRANGEBYSCORE', ends, '-inf', before, 'LIMIT', 0, most)
local living, seen, many = {}, 0, count
while true do
  local names = redis.call('ZRANGEBYLEX', index, start, '+', 'LIMIT', 0, many)
  if #names > 0 then
    start = '(' .. names[#names]
  end
  if #dead == 0 or #names == 0 then
    return {#dead == 0 and names or living, #names == many, start, dead}
  end
  local scores = redis.call('ZMSCORE', ends, unpack(names))
  for at, name in ipairs(names) do
    if not scores[at] or tonumber(scores[at]) > before then
      living[#living + 1] = name
      if #living == count then
        return {living, true, '(' .. name, dead}
      end
    end
  end
  seen = seen + many
  if #names < many or seen >= 10000 then
    return {living, #names == many, start, dead}
  end
  many = 500
  local few = redis.call('ZCOUNT', ends, '(' .. before, '+inf') <= 1000
  if few and redis.call('ZCARD', index) == redis.call('ZCARD', ends) then
    return {redis.call('ZRANGEBYSCORE', ends, '(' .. before, '+inf'), false, start, dead}
  end
end
""",
)
"""
Read on in an index, past what is dead; where all but few are, read those few.

The answer is the sessions' IDs, which may be in any order and begin before the
start, whether more may follow, where to read on, and some of the dead.

Keys: the index, its ends. Arguments: from where, how many at once, how many
of the dead.
"""
