-- What the steps are made of. KEYS[1] is what all keys begin with, ARGV[1]
-- the time to live. Times are milliseconds, by the server's clock.
--
--   e:ID          hash: space s, head h, name n, root r, value v, used u, and
--                 from its claim to its settling until t; fence f
--   h:ROOT HEAD   sorted set: the free entries with this head, by their use
--   r:ROOT        sorted set: the entries that begin so, by their stamp
--   n:NAME        the entry with this name
--   ids           sorted set: all entries, by their ids
--   old           sorted set: all entries, by their stamp
--   named         set: the entries that have a name
--   c:KEY         what is cached under a key, until its end
--   secret        what all keys above are hashed with
--
-- A stamp is the use, or where a lease outlives that, as much: stamp and time
-- to live make the time of death. Where something has died by itself, after
-- twice its time, the sets may name entries that are no more.

local P = KEYS[1]
local ttl = tonumber(ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function fetch(id)
    local v = redis.call('HMGET', P .. 'e:' .. id, 's', 'h', 'n', 'r', 'v', 'u', 't', 'f')
    if not v[1] then
        return nil
    end
    return {
        id = id, s = v[1], h = v[2], n = v[3], r = v[4], v = v[5],
        u = tonumber(v[6]), t = v[7] and tonumber(v[7]), f = tonumber(v[8]),
    }
end

local function is_lent(e)
    return e.t and e.t > now
end

local function is_live(e)
    return is_lent(e) or e.u + ttl > now
end

local function listed(e)
    return { e.id, e.s, e.h or false, e.n or false, e.r or false, e.v, e.u, is_lent(e) and 1 or 0 }
end

-- What an entry has written lives twice its time, if nobody removes it.
local function keep(key, lease)
    redis.call('PEXPIRE', key, 2 * math.max(ttl, lease) + 86400000)
end

local function stamp(e, lease)
    local at = math.max(e.u, (e.t or 0) - ttl)
    redis.call('ZADD', P .. 'old', at, e.id)
    keep(P .. 'old', lease)
    if e.r then
        redis.call('ZADD', P .. 'r:' .. e.r, at, e.id)
        keep(P .. 'r:' .. e.r, lease)
    end
    keep(P .. 'e:' .. e.id, lease)
end

local function hide_head(e)
    if e.h and e.r then
        redis.call('ZREM', P .. 'h:' .. e.r .. e.h, e.id)
    end
end

local function remove(e)
    hide_head(e)
    if e.r then
        redis.call('ZREM', P .. 'r:' .. e.r, e.id)
    end
    if e.n and redis.call('GET', P .. 'n:' .. e.n) == e.id then
        redis.call('DEL', P .. 'n:' .. e.n)
    end
    redis.call('SREM', P .. 'named', e.id)
    redis.call('ZREM', P .. 'ids', e.id)
    redis.call('ZREM', P .. 'old', e.id)
    redis.call('DEL', P .. 'e:' .. e.id)
end

-- Writes an entry that is free and used now.
local function write(e)
    e.u = now
    local key = P .. 'e:' .. e.id
    redis.call('HSET', key, 's', e.s, 'v', e.v, 'u', e.u, 'f', e.f)
    for _, field in ipairs({ 'h', 'n', 'r' }) do
        if e[field] then
            redis.call('HSET', key, field, e[field])
        end
    end
    if e.h and e.r then
        redis.call('ZADD', P .. 'h:' .. e.r .. e.h, e.u, e.id)
        keep(P .. 'h:' .. e.r .. e.h, 0)
    end
    if e.n then
        local other = redis.call('GET', P .. 'n:' .. e.n)
        if other and other ~= e.id then
            redis.call('HDEL', P .. 'e:' .. other, 'n')
            redis.call('SREM', P .. 'named', other)
        end
        redis.call('SET', P .. 'n:' .. e.n, e.id)
        keep(P .. 'n:' .. e.n, 0)
        redis.call('SADD', P .. 'named', e.id)
        keep(P .. 'named', 0)
    end
    redis.call('ZADD', P .. 'ids', 0, e.id)
    keep(P .. 'ids', 0)
    stamp(e, 0)
end

-- Whether a caller's secret is the server's. One that has none takes it; ''
-- stands for one that is not known yet.
local function is_ours(secret)
    if secret == '' then
        return true
    end
    local known = redis.call('GET', P .. 'secret')
    if not known then
        redis.call('SET', P .. 'secret', secret)
    end
    return not known or known == secret
end

-- An argument that may be missing.
local function some(text)
    return text ~= '' and text or nil
end

-- An entry from six arguments.
local function given(at, fence)
    return {
        id = ARGV[at], s = ARGV[at + 1], h = some(ARGV[at + 2]), n = some(ARGV[at + 3]),
        r = some(ARGV[at + 4]), v = ARGV[at + 5], f = fence,
    }
end
