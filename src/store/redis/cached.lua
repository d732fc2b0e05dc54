-- ARGV: ttl, key. Gives what is kept under it.

return redis.call('GET', P .. 'c:' .. ARGV[2])
