-- ARGV: ttl, limit, the id to begin after or nothing. Gives entries.

local limit = tonumber(ARGV[2])
local after = ARGV[3] ~= '' and '(' .. ARGV[3] or '-'
local found = {}
while #found < limit do
    local ids = redis.call('ZRANGEBYLEX', P .. 'ids', after, '+', 'LIMIT', 0, limit)
    if #ids == 0 then
        break
    end
    for _, id in ipairs(ids) do
        local e = fetch(id)
        if e and is_live(e) and #found < limit then
            found[#found + 1] = listed(e)
        end
        after = '(' .. id
    end
end
return found
