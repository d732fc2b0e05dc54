-- ARGV: time, then changes: 'r', holder, count, names; 'k' (keep), holder,
-- lease in milliseconds, count, names; 's' (spend), tokens, count, then name
-- and limit for each.

local at = 2
local function next_argument()
    at = at + 1
    return ARGV[at - 1]
end

local function own_slots(name, holder)
    local key = P .. 's:' .. name
    local slot = 1
    return function()
        local member = holder .. ':' .. slot
        slot = slot + 1
        if slot <= 1001 and redis.call('ZSCORE', key, member) then
            return key, member
        end
    end
end

while at <= #ARGV do
    local kind = next_argument()
    if kind == 's' then
        local tokens = tonumber(next_argument())
        for _ = 1, tonumber(next_argument()) do
            local name, limit = next_argument(), tonumber(next_argument())
            set(name, 't', limit, arrival(name, 't', limit) + tokens * interval(limit))
        end
    else
        local holder = next_argument()
        local lease = kind == 'k' and tonumber(next_argument()) * 1000
        for _ = 1, tonumber(next_argument()) do
            for key, member in own_slots(next_argument(), holder) do
                if lease then
                    redis.call('ZADD', key, now + lease, member)
                else
                    redis.call('ZREM', key, member)
                end
            end
        end
    end
end
return 1
