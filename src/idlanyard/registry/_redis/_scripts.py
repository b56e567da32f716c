"""
Lua scripts: each is one atomic step at the server.

A session is a hash with the fields ``id``, ``metadata``, ``created`` and
``nonce``. If it has a time to live, it also has ``ttl`` and ``expires`` (like
``created`` in microseconds); with a client ``client``, ``client_key`` and
``indexed``; with an idempotency key ``idempotency``, ``request`` and ``claimed``.

A client's index is a sorted set of session IDs that all have the score 0, so
that they are in the order of their bytes. The ends are a sorted set of the
same IDs with the times at which they expire as scores, so that expired IDs are
found without reading the others. Gaps let pages skip expired IDs: see ``_gaps``.

An expired ID leaves index and ends once its session has been looked up: a
process of layout 1 may have extended the session without changing the ends. The
keys of sessions are digests, which Lua cannot compute, so a script that finds
expired IDs returns some of them, and ``DROP`` looks them up. Creates and touches
do so if there are many, pages always, so that the number of expired IDs
falls with every use.

The index and its ends expire together, not before their last session does.
``indexed`` is the time in milliseconds until which they surely exist, and
empty if they never expire. They live twice as long as the session needs, so
that few touches have to extend them. ``claimed`` is the same for the claim of
the idempotency key.

Scripts declare all their keys, with one exception: a touch changes the session's
score in the ends, which are in the same slot, and reads gaps and expired IDs there. While that
slot moves to another node the ends may be out of reach and the score stays as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from typing import Any, Final, NamedTuple, TypeAlias

from idlanyard.registry._redis._gaps import ADD_GAP, CLOSE_GAPS, READ_GAPS, REMOVE_IDS, SKIP_GAPS


class Script(NamedTuple):
    """
    A script and its SHA-1, by which a server runs it once it has seen the text.
    """

    text: str
    sha: str


ScriptCall: TypeAlias = tuple[Script, Sequence[bytes], Sequence[Any]]
"""
A script, its keys and its arguments.
"""


def script_of(*parts: str) -> Script:
    """
    Return the script that consists of these parts.
    """
    text = "".join(parts)
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


TIMES: Final = """
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- Return when the key of a session expires, in milliseconds: at least one from now.
local function expiry_of(moment, expires)
  return math.max(math.floor(expires / 1000), math.floor(moment / 1000) + 1)
end

-- Return the latest end of a session whose key is surely gone: keys may be 2 ms late.
local function latest_end(moment)
  return moment - 2000
end
"""

INDEXES: Final = """
-- Make an index live at least until 'wanted'.
local function extend_index(index, is_new, moment, wanted)
  if not is_new then
    local left = redis.call('PTTL', index)
    if left == -1 or math.floor(moment / 1000) + left >= wanted then
      return
    end
  end
  redis.call('PEXPIREAT', index, wanted)
end

-- Note in the ends when a session expires.
local function note_end(ends, id, expires)
  close_gaps(ends, id)
  redis.call('ZADD', ends, expires or '+inf', id)
end

-- Return some of the expired IDs if there are many.
local function expired_in(ends, moment, most)
  local count = redis.pcall('ZCOUNT', ends, '(-inf', latest_end(moment))
  if type(count) ~= 'number' or count < 16 then
    return {}
  end
  return redis.call('ZRANGEBYSCORE', ends, '(-inf', latest_end(moment), 'LIMIT', 0, most)
end

-- Make the ends live as long as their index: expired IDs in it are found by them alone.
local function extend_ends(index, ends, moment)
  local left = redis.call('PTTL', index)
  if left == -1 then
    redis.call('PERSIST', ends)
  else
    redis.call('PEXPIREAT', ends, math.floor(moment / 1000) + left + 1)
  end
end

-- Add a session to an index, which then lives at least until 'wanted', or for ever without it.
local function add_to_index(index, ends, id, moment, expires, wanted)
  local is_new = redis.call('EXISTS', index) == 0
  redis.call('ZADD', index, 0, id)
  if wanted then
    extend_index(index, is_new, moment, wanted)
  else
    redis.call('PERSIST', index)
  end
  note_end(ends, id, expires)
  extend_ends(index, ends, moment)
  return wanted or ''
end
"""

INSERT: Final = script_of(
    TIMES,
    READ_GAPS,
    CLOSE_GAPS,
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
local dies = expires and expiry_of(created, expires)
local wanted = dies and dies + math.ceil(ttl / 1000)
local expired = {}
-- Writes that a full server or an ACL refuses come first: a script is not rolled back.
if index then
  local indexed = add_to_index(index, ends, id, created, expires, wanted)
  redis.call('HSET', session, 'client', client, 'client_key', client_key, 'indexed', indexed)
  local count = redis.call('ZCOUNT', ends, '(-inf', latest_end(created))
  if count > 15 or count * 16 > redis.call('ZCARD', index) then
    expired = redis.call('ZRANGEBYSCORE', ends, '(-inf', latest_end(created), 'LIMIT', 0, 100)
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
return {created, expires, expired, true}
""",
)
"""
Insert a session; the answer is nil if another session has the ID.

Answer: when it was created, when it expires, expired IDs of the same index (if
they are many, or a sixteenth of the index), whether it is new; and of a session
that was already there its nonce and its request.

Keys: the session; with a client, the index and its ends. Arguments: nonce, ID,
metadata, time to live or empty; with a client, its ID and key, or both empty;
with an idempotency key, that and the request.
"""

EXTEND: Final = script_of(
    TIMES,
    READ_GAPS,
    CLOSE_GAPS,
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
  return {id, kept[2], text, kept[4], false, false, {}}
end
local moment = now()
local expires = moment + ttl
if given == '' and ended and tonumber(ended) > expires then
  expires = tonumber(ended)
end
local dies = expiry_of(moment, expires)
local wanted = dies + math.ceil(ttl / 1000)
local claimed = kept[10]
if kept[9] and (claimed == '' or tonumber(claimed) < dies) then
  claimed = lives ~= '' and math.floor(moment / 1000) + lives
  if not claimed or claimed < dies then
    return {kept[9], kept[11], wanted - math.floor(moment / 1000)}
  end
  redis.call('HSET', session, 'claimed', claimed)
end
local its_ends = owner and string.sub(session, 1, -41) .. 'ends:' .. owner
local unnoted = false
if owner and (indexed == '' or tonumber(indexed) < dies) then
  if owner ~= client_key then
    return owner
  end
  local until_then = add_to_index(index, ends, id, moment, expires, wanted)
  redis.call('HSET', session, 'indexed', until_then)
elseif owner and tonumber(ended) ~= expires then
  unnoted = redis.pcall('ZADD', its_ends, 'XX', 'CH', expires, id) ~= 1
  if not unnoted then
    close_gaps(its_ends, id)
  end
end
redis.call('HSET', session, 'ttl', ttl, 'expires', expires)
if metadata ~= '' then
  redis.call('HSET', session, 'metadata', text)
end
redis.call('PEXPIREAT', session, dies)
local expired = unnoted and {id} or (owner and expired_in(its_ends, moment, 16))
return {id, kept[2], text, kept[4], expires, owner, expired}
""",
)
"""
Extend a session; the answer is its fields, or nil if there is none.

If the session has a client, its key follows, and some expired IDs of the same
index if there are many; or its own ID, if the ends are not where the session is
or do not have it, so that ``DROP`` notes its end.

If the caller has to do something first, the answer says so instead: the
client's key, if the script needs the index and its ends as keys; or the
idempotency key, the nonce and the milliseconds for which the claim has to live.

Keys: the session; the index and its ends, once asked for. Arguments, each of
which may be empty: time to live, metadata, when the session was created, the
client's key, the milliseconds for which the claim lives.
"""

DELETE: Final = script_of(
    READ_GAPS,
    ADD_GAP,
    REMOVE_IDS,
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
    remove_ids(index, ends, {id})
  end
  redis.call('RENAME', session, ended)
  redis.call('PEXPIRE', ended, stays)
end
return {id, kept[2], kept[3], kept[4], kept[5], idempotency, kept[9]}
""",
)
"""
End a session; the answer is its fields, its idempotency key and its nonce, or
nil if there is none.

If the caller has to do something first, the answer says so instead: the
client's key, if the script needs the index and its ends as keys; or the
idempotency key and the nonce, if the claim never expires and has to.

The session is renamed instead of deleted, so that the same script sent again
has the same answer, and leaves alone a new session with the same ID.

Keys: the session, its new name; the index and its ends, once asked for.
Arguments: the milliseconds for which it stays under the new name; when it was
created or empty; the client's key or empty; not empty once the claim expires.
"""

PUT: Final = script_of(
    TIMES,
    READ_GAPS,
    CLOSE_GAPS,
    INDEXES,
    """
local session, index, ends = KEYS[1], KEYS[2], KEYS[3]
local nonce, id, metadata, ttl, created, expires,
  client, client_key, idempotency, request = unpack(ARGV)
local moment = now()
expires = expires ~= '' and tonumber(expires)
if expires and expires <= moment then
  return {0, false}
end
local kept = redis.call('HMGET', session, 'id', 'created', 'client_key')
if kept[1] and kept[2] ~= created then
  return {1, false}
end
local dies = expires and expiry_of(moment, expires)
local wanted = dies and dies + math.ceil(ttl / 1000)
-- Writes that a full server or an ACL refuses come first: a script is not rolled back.
local indexed = index and add_to_index(index, ends, id, moment, expires, wanted)
redis.call('DEL', session)
redis.call('HSET', session, 'id', id, 'metadata', metadata, 'created', created, 'nonce', nonce)
if index then
  redis.call('HSET', session, 'client', client, 'client_key', client_key, 'indexed', indexed)
end
if idempotency ~= '' then
  redis.call('HSET', session,
    'idempotency', idempotency, 'request', request, 'claimed', wanted or '')
end
if ttl ~= '' then
  redis.call('HSET', session, 'ttl', ttl)
end
if expires then
  redis.call('HSET', session, 'expires', expires)
  redis.call('PEXPIREAT', session, dies)
end
return {kept[1] and 2 or 3, kept[3] ~= client_key and kept[3]}
""",
)
"""
Keep a session as another store kept it.

Answer: the number of the result, and the key of the client that the session
had before, if that was another one.

Keys: the session; with a client, the index and its ends. Arguments: nonce, ID,
metadata, time to live, created, expires, client, its key, idempotency key,
request; each from the time to live on may be empty.
"""

DROP: Final = script_of(
    TIMES,
    READ_GAPS,
    CLOSE_GAPS,
    ADD_GAP,
    REMOVE_IDS,
    INDEXES,
    """
local index, ends, moment = KEYS[1], KEYS[2], now()
local gone, living = {}, {}
-- Nearly always all are gone, which one command tells.
if redis.call('EXISTS', unpack(KEYS, 3)) == 0 then
  gone = {unpack(ARGV, 2)}
else
  for at = 3, #KEYS do
    local id = ARGV[at - 1]
    local kept = redis.call('HMGET', KEYS[at], 'client_key', 'expires')
    if kept[1] ~= ARGV[1] then
      gone[#gone + 1] = id
    else
      living[#living + 1] = at - 3
      note_end(ends, id, kept[2])
    end
  end
end
if #living > 0 then
  extend_ends(index, ends, moment)
end
if #gone == 0 then
  return {0, living, 0}
end
local of_ends, of_index = remove_ids(index, ends, gone)
return {math.max(of_ends, of_index), living, math.max(0, of_ends - of_index)}
""",
)
"""
Remove the IDs of sessions from an index that are gone or another client's.

The ends note when the others expire. Answer: the number of removed IDs, the
positions of the others, and how many IDs were in the ends only.

Keys: the index, its ends, the sessions. Arguments: the client's key, the
sessions' IDs.
"""

READ: Final = script_of(
    TIMES,
    READ_GAPS,
    CLOSE_GAPS,
    ADD_GAP,
    SKIP_GAPS,
    """
local index, ends = KEYS[1], KEYS[2]
local start, count, few, sample, mode = ARGV[1], tonumber(ARGV[2]), unpack(ARGV, 3)
local before = latest_end(now())
local over = redis.call('ZCOUNT', ends, '(-inf', before)
if over == 0 then
  local names = redis.call('ZRANGEBYLEX', index, start, '+', 'LIMIT', 0, count)
  return {names, #names == count, #names > 0 and '(' .. names[#names] or start, {}, 0}
end
local suspects = {}
local number = over > tonumber(few) and sample or few
if number ~= '0' then
  suspects = redis.call('ZRANGEBYSCORE', ends, '(-inf', before, 'LIMIT', 0, number)
end
local all = redis.call('ZCARD', ends) - #gaps_in(ends)
local is_even = redis.call('ZCARD', index) == all
if all - over <= math.min(4 * count, 500) and is_even then
  local names = {}
  if all > over then
    names = redis.call('ZRANGEBYSCORE', ends, string.format('(%.0f', before), '+inf')
  end
  local places = #names > 0 and redis.call('ZMSCORE', index, unpack(names)) or {}
  local is_whole = true
  for at, place in ipairs(places) do
    if not place then
      -- A process of layout 1 ended it. The counts are equal, so another ID is in the index only.
      is_whole = false
      suspects[#suspects + 1] = names[at]
    end
  end
  if is_whole then
    return {names, false, start, suspects, 2}
  end
end
if mode == 'skip' and is_even then
  start = skip_gaps(index, ends, start, before)
end
local names = redis.call('ZRANGEBYLEX', index, start, '+', 'LIMIT', 0, count)
local last = #names > 0 and '(' .. names[#names] or start
local scores = #names > 0 and redis.call('ZMSCORE', ends, unpack(names))
local living, skipped = {}, 0
for at, name in ipairs(names) do
  local ending = scores[at] and tonumber(scores[at])
  if not ending or ending > before then
    living[#living + 1] = name
  elseif mode == 'stop' then
    return {living, true, at > 1 and '(' .. names[at - 1] or start, suspects, 0}
  elseif mode == 'read' then
    return {names, #names == count, last, suspects, 1}
  elseif skipped == at - 1 then
    skipped = at
  end
end
if skipped > 0 and is_even then
  note_gap(index, ends, start, names[1], names[skipped], skipped, before)
end
return {living, #names == count, last, suspects, 0}
""",
)
"""
Read the next living IDs of an index; if few are living, read all of them.

Answer: the IDs, which may be in any order and begin before the start; whether
more may follow; the next start; expired IDs whose sessions have to be looked
up, the oldest first; and ``1`` if there are expired IDs among the first ones,
``2`` if the first ones were read from the ends alone.

Keys: the index, its ends. Arguments: the start; the number of IDs; the number
of expired IDs up to which all are in the answer, and the size of the sample
if there are more; ``stop`` if the first expired ID ends the reading, ``read`` if
expired IDs are in the answer, or ``skip``, which notes gaps and skips them.
"""
