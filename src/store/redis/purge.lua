-- ARGV: ttl, limit. Gives the entries that were removed.

local limit = tonumber(ARGV[2])
local purged = {}
local ids = redis.call('ZRANGEBYSCORE', P .. 'old', '-inf', now - ttl, 'LIMIT', 0, limit + 1000)
for _, id in ipairs(ids) do
    if #purged >= limit then
        break
    end
    local e = fetch(id)
    if not e then
        redis.call('ZREM', P .. 'old', id)
        redis.call('ZREM', P .. 'ids', id)
        redis.call('SREM', P .. 'named', id)
    elseif is_live(e) then
        -- The time to live was another when it was written.
        stamp(e, 0)
    else
        purged[#purged + 1] = listed(e)
        remove(e)
    end
end
return purged
