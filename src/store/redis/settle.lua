-- ARGV: ttl, id, fence, then 'keep' and the entry, or 'drop', or 'abandon'.
-- Gives 1 if it was done, 0 if the lease was lost.

local e = fetch(ARGV[2])
local fence = tonumber(ARGV[3])
if not e or e.f ~= fence then
    return 0
end
if ARGV[4] == 'abandon' then
    if not e.t then
        return 0
    end
    local key = P .. 'e:' .. e.id
    hide_head(e)
    redis.call('HDEL', key, 'h')
    e.t = 0
    -- By its old fence the lease cannot be renewed either.
    redis.call('HSET', key, 't', e.t, 'f', fence + 1)
    stamp(e, 0)
    return 1
end
remove(e)
if ARGV[4] == 'keep' then
    write(given(5, fence))
end
return 1
