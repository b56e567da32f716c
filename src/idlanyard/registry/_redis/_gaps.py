"""
Lua functions on the gaps of a client's index.

A gap is a part of an index in which all sessions have expired. A page that has to
skip expired IDs notes the gap, so that later pages do not read them again. The
first page after a million sessions have expired still reads them all.

The ends themselves have the gaps, as members with the score ``-inf``, so every script
that can change the ends has the gaps too, also while their slot moves. A member
is four texts, each after a zero byte (IDs have no control characters): the first and
the last ID of the gap, how many IDs between them are both in index and ends (the
first and the last included), and a time at which all of them had expired.

Two rules make this safe, and each script keeps them:

- a script that adds an ID to the ends, or changes when one expires, first forgets
  the gaps that the ID is in;
- a script that removes IDs lowers the numbers of their gaps, or forgets all gaps if more
  IDs have left the ends than the index, or fewer.

A process of layout 1 keeps no rule, but it changes the index only. A page therefore
trusts a gap only if the index has exactly as many IDs there, and as many IDs as the ends
altogether; and only if the gap's time is over, since another server's clock may be
late. The page skips nothing then that it would not skip ID by ID, unless such a
process has added as many IDs as it has removed, both there and altogether.
"""

from __future__ import annotations

from typing import Final

READ_GAPS: Final = """
-- Return the gaps that the ends have.
local function gaps_in(ends)
  return redis.call('ZRANGEBYSCORE', ends, '-inf', '-inf')
end

-- Return the first ID of a gap, the last one, the number of IDs and the time.
local function parse_gap(gap)
  local first, last, count, over = string.match(gap, '^%z(%Z+)%z(%Z+)%z(%d+)%z(%d+)$')
  return first, last, tonumber(count), tonumber(over)
end
"""

CLOSE_GAPS: Final = """
-- Return whether an ID is before another; '<' would follow the server's locale.
local function is_before(id, other)
  for at = 1, math.min(#id, #other) do
    local byte, other_byte = string.byte(id, at), string.byte(other, at)
    if byte ~= other_byte then
      return byte < other_byte
    end
  end
  return #id < #other
end

-- Forget the gaps that an ID is in, since its session may live.
local function close_gaps(ends, id)
  for _, gap in ipairs(gaps_in(ends)) do
    local first, last = parse_gap(gap)
    if not is_before(id, first) and not is_before(last, id) then
      redis.call('ZREM', ends, gap)
    end
  end
end
"""

ADD_GAP: Final = """
-- Return the number of IDs that an index has in a gap.
local function count_in_gap(index, first, last)
  return redis.call('ZLEXCOUNT', index, '[' .. first, '[' .. last)
end

-- Note a gap. A full server refuses it, and the page does without.
local function add_gap(ends, first, last, count, over)
  local numbers = string.format('\\0%.0f\\0%.0f', count, over)
  redis.pcall('ZADD', ends, '-inf', '\\0' .. first .. '\\0' .. last .. numbers)
end
"""

REMOVE_IDS: Final = """
-- Take those IDs off the number of a gap that have left the index; it had so many there.
local function shrink_gap(index, ends, gap, former)
  local first, last, count, over = parse_gap(gap)
  local removed = former - count_in_gap(index, first, last)
  if removed > 0 then
    -- The new one comes first: ends that become empty lose their time to live.
    if removed < count then
      add_gap(ends, first, last, count - removed, over)
    end
    redis.call('ZREM', ends, gap)
  end
end

-- Remove IDs from index and ends; return how many were in the ends, and how many in the index.
local function remove_ids(index, ends, ids)
  local gaps, counts = gaps_in(ends), {}
  for at, gap in ipairs(gaps) do
    counts[at] = count_in_gap(index, parse_gap(gap))
  end
  local of_ends = redis.call('ZREM', ends, unpack(ids))
  local of_index = redis.call('ZREM', index, unpack(ids))
  for at, gap in ipairs(gaps) do
    if of_ends == of_index then
      shrink_gap(index, ends, gap, counts[at])
    else
      -- A process of layout 1 has changed the index, perhaps in this gap.
      redis.call('ZREM', ends, gap)
    end
  end
  return of_ends, of_index
end
"""

SKIP_GAPS: Final = """
-- Return the gap with an ID, if all in it have expired: its first ID, the last, the number.
local function find_gap(index, ends, id, before)
  for _, gap in ipairs(gaps_in(ends)) do
    local first, last, count, over = parse_gap(gap)
    if not is_before(id, first) and not is_before(last, id) then
      if over <= before and count_in_gap(index, first, last) == count then
        return first, last, count, gap
      end
      redis.pcall('ZREM', ends, gap)
    end
  end
end

-- Return a start behind the gaps that follow another start.
local function skip_gaps(index, ends, start, before)
  while true do
    local last = nil
    for _, id in ipairs(redis.call('ZRANGEBYLEX', index, start, '+', 'LIMIT', 0, 1)) do
      last = select(2, find_gap(index, ends, id, before))
    end
    if not last then
      return start
    end
    start = '(' .. last
  end
end

-- Note that these IDs have expired, which are the next ones from a start.
local function note_gap(index, ends, start, first, last, count, before)
  local former, _, number, gap = find_gap(index, ends, string.sub(start, 2), before)
  if not former and count < 64 then
    return
  end
  local gaps = gaps_in(ends)
  if not former and #gaps > 3 then
    -- The smallest one costs least to read again.
    gap = gaps[1]
    for _, other in ipairs(gaps) do
      if select(3, parse_gap(other)) < select(3, parse_gap(gap)) then
        gap = other
      end
    end
  end
  first, count = former or first, (number or 0) + count
  -- Without the right to count IDs every gap would stop pages, ends and purges.
  if redis.pcall('ZLEXCOUNT', index, '[' .. first, '[' .. last) ~= count then
    return
  end
  if gap then
    redis.pcall('ZREM', ends, gap)
  end
  add_gap(ends, first, last, count, before)
end
"""
