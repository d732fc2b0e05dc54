-- What both steps of shared limits are made of. Times are microseconds since
-- 2026 by the server's clock, so that fractions of one stay exact in floating
-- point; a test may set the time.
--
--   l:NAME   hash: requests r and their interval ri, tokens t and theirs ti:
--            each the time at which nothing will be taken
--   s:NAME   sorted set: the slots, by the time of their end

local P = KEYS[1]
local clock = redis.call('TIME')
local now = (clock[1] - 1767225600) * 1000000 + clock[2]
if ARGV[1] ~= '' then
    now = tonumber(ARGV[1])
end

local function interval(number)
    return 60000000 / number
end

-- When nothing will be taken. Under another rate what was taken stays taken.
local function arrival(name, field, per_minute)
    local key = P .. 'l:' .. name
    local v = redis.call('HMGET', key, field, field .. 'i')
    local at = tonumber(v[1] or 0)
    local before = tonumber(v[2] or 0)
    local rate = interval(per_minute)
    if before > 0 and before ~= rate and at > now then
        at = now + (at - now) * rate / before
    end
    return math.max(at, now)
end

local function set(name, field, per_minute, at)
    local key = P .. 'l:' .. name
    redis.call('HSET', key, field, string.format('%.17g', at), field .. 'i', string.format('%.17g', interval(per_minute)))
    local left = math.ceil((at - now) / 1000) + 120000
    if redis.call('PTTL', key) < left then
        redis.call('PEXPIRE', key, left)
    end
end
