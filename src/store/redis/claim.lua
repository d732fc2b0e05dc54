-- ARGV: ttl, secret, lease, then head: 'h', head, root; name: 'n', name,
-- space, id; id: 'i', id, space. Gives { 'absent', begun }, { 'ambiguous' },
-- { 'busy', left }, { 'lent', fence, abandoned, the entry }, or { 'strange' }
-- if the secret is not the server's.

if not is_ours(ARGV[2]) then
    return { 'strange' }
end
local lease = tonumber(ARGV[3])
local by = ARGV[4]

local function lend(e)
    if is_lent(e) then
        return { 'busy', e.t - now }
    end
    local abandoned = e.t and 1 or 0
    local key = P .. 'e:' .. e.id
    local lent = { 'lent', e.f + 1, abandoned, listed(e) }
    hide_head(e)
    redis.call('HDEL', key, 'h')
    e.t = now + lease
    redis.call('HSET', key, 't', e.t, 'f', e.f + 1)
    stamp(e, lease)
    if e.n then
        keep(P .. 'n:' .. e.n, lease)
    end
    return lent
end

-- The newest live entries of a sorted set, at most so many.
local function newest(key, limit)
    while true do
        local found = {}
        local gone = 0
        for _, id in ipairs(redis.call('ZREVRANGE', key, 0, limit - 1)) do
            local e = fetch(id)
            if not e then
                redis.call('ZREM', key, id)
                gone = gone + 1
            elseif is_live(e) then
                found[#found + 1] = e
            end
        end
        if gone == 0 then
            return found
        end
    end
end

if by == 'h' then
    local head, root = ARGV[5], ARGV[6]
    local found = newest(P .. 'h:' .. root .. head, 2)
    if #found == 2 then
        return { 'ambiguous' }
    elseif #found == 1 then
        return lend(found[1])
    end
    return { 'absent', #newest(P .. 'r:' .. root, 1) }
elseif by == 'n' then
    local id = redis.call('GET', P .. 'n:' .. ARGV[5])
    local e = id and fetch(id)
    if e and is_live(e) then
        return lend(e)
    elseif e then
        remove(e)
    end
    local made = { id = ARGV[7], s = ARGV[6], h = nil, n = ARGV[5], r = nil, v = '', f = 0 }
    write(made)
    return lend(made)
end
local e = fetch(ARGV[5])
if e and e.s == ARGV[6] and is_live(e) then
    return lend(e)
end
return { 'absent', 0 }
