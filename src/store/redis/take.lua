-- ARGV: time, requests, slots, holder, lease in milliseconds, then for each
-- counter its name and limits of requests, tokens and slots, 0 for none.
-- Gives the counter that is in the way (0: none), which of its limits, the
-- wait, and how each counter stands: requests, tokens.

local requests, slots = tonumber(ARGV[2]), tonumber(ARGV[3])
local holder, lease = ARGV[4], tonumber(ARGV[5]) * 1000
local counters = {}
for at = 6, #ARGV, 4 do
    counters[#counters + 1] = {
        name = ARGV[at], r = tonumber(ARGV[at + 1]), t = tonumber(ARGV[at + 2]), s = tonumber(ARGV[at + 3]),
    }
end

local way, which, wait = 0, '', -1
local function refuse(index, what, time)
    if time > wait then
        way, which, wait = index, what, time
    end
end

for index, c in ipairs(counters) do
    if c.r > 0 then
        c.ra = arrival(c.name, 'r', c.r)
        local over = c.ra + requests * interval(c.r) - (now + 60000000)
        if requests > 0 and over > 0.001 then
            refuse(index, 'r', over)
        end
    end
    if c.t > 0 then
        c.ta = arrival(c.name, 't', c.t)
        -- One that could be taken: the balance is positive.
        local over = c.ta + interval(c.t) - (now + 60000000)
        if requests > 0 and over > 0.001 then
            refuse(index, 't', over)
        end
    end
    if slots > 0 then
        local key = P .. 's:' .. c.name
        redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
        if c.s > 0 and redis.call('ZCARD', key) + slots > c.s then
            refuse(index, 's', 0)
        end
    end
end

if way == 0 then
    for _, c in ipairs(counters) do
        if c.r > 0 and requests > 0 then
            c.ra = c.ra + requests * interval(c.r)
            set(c.name, 'r', c.r, c.ra)
        end
        if c.s > 0 and slots > 0 then
            local key = P .. 's:' .. c.name
            for slot = 1, slots do
                redis.call('ZADD', key, now + lease, holder .. ':' .. slot)
            end
            redis.call('PEXPIRE', key, 86400000)
        end
    end
end

local answer = { tostring(way), which, string.format('%.0f', math.max(math.ceil(wait), 0)) }
for _, c in ipairs(counters) do
    answer[#answer + 1] = string.format('%.0f', math.ceil((c.ra or now) - now))
    answer[#answer + 1] = string.format('%.0f', math.ceil((c.ta or now) - now))
end
return answer
