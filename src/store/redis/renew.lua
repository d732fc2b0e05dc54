-- ARGV: ttl, lease, then an id and a fence for each lease. Gives 1 for each
-- that is lost, else 0.

local lease = tonumber(ARGV[2])
local lost = {}
for at = 3, #ARGV, 2 do
    local e = fetch(ARGV[at])
    if e and e.t and e.f == tonumber(ARGV[at + 1]) then
        e.t = math.max(e.t, now + lease)
        redis.call('HSET', P .. 'e:' .. e.id, 't', e.t)
        stamp(e, lease)
        lost[#lost + 1] = 0
    else
        lost[#lost + 1] = 1
    end
end
return lost
