"""The scripts that Redis runs: each is one operation, done whole before anything else (redis.io, "Scripting with Lua").

Numbers of Lua are IEEE doubles, exact up to 2**53; what is added goes through `HINCRBY`, whose integers have 64 bits. A window's
sums are fields `<window>:u` and `<window>:h` of its account, the window in force is `w`; a rate's moment is `t`.
"""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

# KEYS: meta. ARGV: a new generation, a day. Returns the generation and the last day.
OPEN = """
if redis.call('HSETNX', KEYS[1], 'generation', ARGV[1]) == 1 then redis.call('HSET', KEYS[1], 'day', '0') end
if tonumber(ARGV[2]) > tonumber(redis.call('HGET', KEYS[1], 'day')) then redis.call('HSET', KEYS[1], 'day', ARGV[2]) end
return redis.call('HMGET', KEYS[1], 'generation', 'day')
"""

# KEYS: meta, reservation, open holds, names of accounts, accounts...
# ARGV: generation, nonce, text, created, id, then for each account: name, window, amount, ceiling, cost (or ''), burst, now.
RESERVE = """
if redis.call('HGET', KEYS[1], 'generation') ~= ARGV[1] then return {'gone'} end
local known = redis.call('HMGET', KEYS[2], 'nonce', 'windows')
if known[1] then
  if known[1] == ARGV[2] then return {'held', known[2]} end
  return {'twice'}
end
local function show(number) return string.format('%.0f', number) end
local found, moment = {}, {}
for i = 5, #KEYS do
  local a = 6 + (i - 5) * 7
  if ARGV[a + 4] == '' then
    local window = tonumber(redis.call('HGET', KEYS[i], 'w') or ARGV[a + 1])
    if tonumber(ARGV[a + 1]) > window then window = tonumber(ARGV[a + 1]) end
    local name = show(window)
    local sums = redis.call('HMGET', KEYS[i], name .. ':u', name .. ':h')
    local used, held = tonumber(sums[1] or '0'), tonumber(sums[2] or '0')
    if used + held + tonumber(ARGV[a + 2]) > tonumber(ARGV[a + 3]) then
      return {'full', show(i - 5), name, show(used), show(held)}
    end
    found[#found + 1] = name
  else
    local taken, now = tonumber(redis.call('HGET', KEYS[i], 't') or '0'), tonumber(ARGV[a + 6])
    local begins = math.max(taken, now)
    if begins + tonumber(ARGV[a + 4]) - now > tonumber(ARGV[a + 5]) then
      return {'full', show(i - 5), '0', show(taken), '0'}
    end
    found[#found + 1], moment[i] = '0', show(begins + tonumber(ARGV[a + 4]))
  end
end
for i = 5, #KEYS do
  local a = 6 + (i - 5) * 7
  if redis.call('EXISTS', KEYS[i]) == 0 then redis.call('SADD', KEYS[4], ARGV[a]) end
  if moment[i] then
    redis.call('HSET', KEYS[i], 't', moment[i])
  else
    local name = found[i - 4]
    if redis.call('HGET', KEYS[i], 'w') ~= name then
      local sums = redis.call('HGETALL', KEYS[i])
      local held = {}
      for j = 1, #sums, 2 do held[sums[j]] = tonumber(sums[j + 1]) end
      for field in pairs(held) do
        local old = string.match(field, '^(-?%d+):u$')
        if old and tonumber(old) < tonumber(name) - 1 and (held[old .. ':h'] or 0) == 0 then
          redis.call('HDEL', KEYS[i], field, old .. ':h')
        end
      end
      redis.call('HSET', KEYS[i], 'w', name)
    end
    redis.call('HINCRBY', KEYS[i], name .. ':u', 0)
    redis.call('HINCRBY', KEYS[i], name .. ':h', ARGV[a + 2])
  end
end
local windows = table.concat(found, ',')
redis.call('HSET', KEYS[2], 'state', 'held', 'nonce', ARGV[2], 'windows', windows, 'text', ARGV[3])
redis.call('ZADD', KEYS[3], ARGV[4], ARGV[5])
return {'held', windows}
"""

# KEYS: meta, reservation, open holds, usage of the day, days, accounts...
# ARGV: generation, id, state it has, state it gets, text, seconds to keep it, day (or ''), usage's name, its five numbers,
# then for each account: window, used, held, 1 for a rate.
BOOK = """
if redis.call('HGET', KEYS[1], 'generation') ~= ARGV[1] then return 'gone' end
if redis.call('HGET', KEYS[2], 'state') ~= ARGV[3] then return 'changed' end
redis.call('HSET', KEYS[2], 'state', ARGV[4], 'text', ARGV[5])
redis.call('EXPIRE', KEYS[2], ARGV[6])
redis.call('ZREM', KEYS[3], ARGV[2])
if ARGV[7] ~= '' then
  redis.call('SADD', KEYS[5], ARGV[7])
  for i = 1, 5 do redis.call('HINCRBY', KEYS[4], ARGV[8] .. i, ARGV[8 + i]) end
end
for i = 6, #KEYS do
  local a = 14 + (i - 6) * 4
  if ARGV[a + 3] == '1' then
    redis.call('HINCRBY', KEYS[i], 't', ARGV[a + 1])
  else
    redis.call('HINCRBY', KEYS[i], ARGV[a] .. ':u', ARGV[a + 1])
    redis.call('HINCRBY', KEYS[i], ARGV[a] .. ':h', ARGV[a + 2])
  end
end
return 'done'
"""
