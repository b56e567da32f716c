"""
What happens at the server in one step: scripts in Lua.

A session is a hash: ``id``, ``metadata``, ``created`` and ``nonce``; with a
time to live ``ttl`` and ``expires`` (microseconds all); with a client
``client``, ``client_key`` and ``indexed``; with an idempotency key
``idempotency``, ``request`` and ``claimed``.

A client's index is a sorted set of session IDs with one score, so that they
are in the order of their bytes. Beside it is a sorted set of its ends: the
same IDs by when they expire, so that the expired ones are found without
reading the others.

An expired ID that a reader met in the index is taken out of it at once, so
that it is met once only, and has the score -1 in the ends until its session
is looked for: a process of the first layout may have extended that without
noting it, and then the ID goes back into the index.

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

-- Put an ID back into the index that it was taken out of.
local function put_back(index, id, moment, indexed)
  if redis.call('ZADD', index, 0, id) == 0 then
    return
  end
  if indexed == '' then
    redis.call('PERSIST', index)
  else
    outlive(index, redis.call('ZCARD', index) == 1, moment, tonumber(indexed))
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
local ends_now = owner and string.sub(session, 1, -41) .. 'ends:' .. owner
-- The first layout's touches are not noted: the ID may be out of the index.
local noted = owner and redis.pcall('ZMSCORE', ends_now, id)
local is_out = noted and noted[1] and tonumber(noted[1]) < 0
if owner and (is_out or indexed == '' or tonumber(indexed) < dies) then
  if owner ~= client_key then
    return owner
  end
  redis.call('HSET', session, 'indexed', enter(index, ends, id, moment, expires, wanted))
elseif owner then
  redis.pcall('ZADD', ends_now, 'XX', expires, id)
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
  local kept = redis.call('HMGET', KEYS[at], 'client_key', 'expires', 'indexed')
  if kept[1] ~= ARGV[1] then
    dead[#dead + 1] = id
  else
    living[#living + 1] = at - 3
    note(ends, id, kept[2])
    put_back(index, id, moment, kept[3])
  end
end
if #living > 0 then
  join(index, ends, moment)
end
if #dead == 0 then
  return {0, living}
end
local out = redis.call('ZREM', ends, unpack(dead))
return {math.max(out, redis.call('ZREM', index, unpack(dead))), living}
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
local start, count, most, least, clears = ARGV[1], tonumber(ARGV[2]), unpack(ARGV, 3)
local before = gone(now())
local dead = redis.call('ZCOUNT', ends, '-inf', before)
if dead == 0 then
  local names = redis.call('ZRANGEBYLEX', index, start, '+', 'LIMIT', 0, count)
  return {names, #names == count, #names > 0 and '(' .. names[#names] or start, {}}
end
local some = dead > tonumber(most) and least or most
local looked_for = redis.call('ZRANGEBYSCORE', ends, '-inf', before, 'LIMIT', 0, some)
local out = redis.call('ZCOUNT', ends, '-inf', '(0')
local lives = string.format('(%.0f', before)
if redis.call('ZCOUNT', ends, lives, '+inf') <= 4 * count
    and redis.call('ZCARD', index) == redis.call('ZCARD', ends) - out then
  return {redis.call('ZRANGEBYSCORE', ends, lives, '+inf'), false, start, looked_for}
end
local living, seen, many = {}, 0, count
while true do
  local names = redis.call('ZRANGEBYLEX', index, start, '+', 'LIMIT', 0, many)
  local has_more, final = #names == many, false
  local scores = #names > 0 and redis.call('ZMSCORE', ends, unpack(names))
  local expired, marks = {}, {}
  for at, name in ipairs(names) do
    local ending = scores[at] and tonumber(scores[at])
    local is_over = ending and ending >= 0 and ending <= before
    if is_over and clears ~= '1' then
      has_more = true
      break
    end
    final = name
    if is_over then
      expired[#expired + 1] = name
      marks[#marks + 1] = '-1'
      marks[#marks + 1] = name
    else
      living[#living + 1] = name
      if #living == count then
        has_more = true
        break
      end
    end
  end
  if clears == '1' and #expired > 0 then
    redis.call('ZREM', index, unpack(expired))
    redis.call('ZADD', ends, unpack(marks))
  end
  seen = seen + #names
  start = final and '(' .. final or start
  if clears ~= '1' or not has_more or #living == count or seen >= 250 then
    return {living, has_more, start, looked_for}
  end
  many = 250
end
""",
)
"""
Read on in an index, past the expired IDs; where few are living, read all of those.

The answer is the IDs of sessions, which may be in any order and begin before the
start, whether more may follow, where to read on, and some expired IDs whose
sessions are to be looked for, the oldest first.

Keys: the index, its ends. Arguments: from where; how many IDs at once; up to
how many expired ones are all to be looked for, and of more than those how
many; ``1`` where the expired ones that are met leave the index.
"""
