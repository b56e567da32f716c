"""
Lua functions on the gaps of a client's index.

A gap is a part of an index in which all sessions have expired. A page that has to
skip expired IDs notes the gap, so that later pages do not read them again. The
first page after a million sessions have expired still reads them all.

The ends themselves have the gaps, as members with the score ``-inf``, so every script
that can change the ends has the gaps too, also while their slot moves. A member
is four texts, each after a zero byte (IDs have no control characters): the first and
the last ID of the gap, how many IDs of the index are between them, both included,
and a time at which all of them had expired.

Two rules make this safe, and each script keeps them:

- a script that adds an ID to the ends, or changes when one expires, first forgets
  the gap that the ID is in;
- a script that removes IDs lowers the numbers of their gaps.

A page trusts a gap only if its time is over, and the index has exactly as many IDs
there, and index and ends have equally many IDs at all: a process of layout 1 adds
IDs to the index only. It skips nothing then that it would not skip ID by ID.
"""

from __future__ import annotations

from typing import Final

GAPS: Final = """
-- Return the gaps that the ends have; none if the ends are at another node.
local function gaps_in(ends)
  local gaps = redis.pcall('ZRANGEBYSCORE', ends, '-inf', '-inf')
  return gaps.err and {} or gaps
end

-- Return the first ID of a gap, the last one, the number of IDs and the time.
local function parse_gap(gap)
  local first, last, count, over = string.match(gap, '^%z(%Z+)%z(%Z+)%z(%d+)%z(%d+)$')
  return first, last, tonumber(count), tonumber(over)
end

-- Return the number of IDs that an index has in a gap.
local function count_in_gap(index, first, last)
  return redis.call('ZLEXCOUNT', index, '[' .. first, '[' .. last)
end

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

-- Return whether an ID is in a gap.
local function is_between(id, first, last)
  return not is_before(id, first) and not is_before(last, id)
end

-- Forget the gap that an ID is in, since its session may live.
local function close_gap(ends, id)
  for _, gap in ipairs(gaps_in(ends)) do
    if is_between(id, parse_gap(gap)) then
      redis.call('ZREM', ends, gap)
    end
  end
end

-- Note a gap. A full server refuses it, and the page does without.
local function add_gap(ends, first, last, count, over)
  local gap = string.format('%.0f\\0%.0f', count, over)
  redis.pcall('ZADD', ends, '-inf', '\\0' .. first .. '\\0' .. last .. '\\0' .. gap)
end
"""

REMOVE_IDS: Final = """
-- Remove IDs from index and ends; return how many were in the ends, and how many in the index.
local function remove_ids(index, ends, ids)
  local gaps, counts = gaps_in(ends), {}
  for at, gap in ipairs(gaps) do
    counts[at] = count_in_gap(index, parse_gap(gap))
  end
  local of_ends = redis.call('ZREM', ends, unpack(ids))
  local of_index = redis.call('ZREM', index, unpack(ids))
  for at, gap in ipairs(gaps) do
    local first, last, count, over = parse_gap(gap)
    local left = count_in_gap(index, first, last)
    local number = count - counts[at] + left
    if left == 0 or number < count then
      -- The new one comes first: a sorted set that becomes empty loses its time to live.
      if left > 0 and number > 0 then
        add_gap(ends, first, last, number, over)
      end
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
    if is_between(id, first, last) then
      if over <= before and count_in_gap(index, first, last) == count then
        return first, last, count, gap
      end
      redis.pcall('ZREM', ends, gap)
    end
  end
end

-- Return the next IDs of an index that are not in a gap, and where they start.
local function read_past_gaps(index, ends, start, count, before)
  while true do
    local names = redis.call('ZRANGEBYLEX', index, start, '+', 'LIMIT', 0, count)
    local _, last = nil, nil
    if #names > 0 then
      _, last = find_gap(index, ends, names[1], before)
    end
    if not last then
      return names, start
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
  if gap then
    redis.pcall('ZREM', ends, gap)
  end
  add_gap(ends, former or first, last, (number or 0) + count, before)
end
"""
