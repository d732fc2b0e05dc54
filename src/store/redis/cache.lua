-- ARGV: ttl, key, value, life. Keeps a value for that time.

redis.call('SET', P .. 'c:' .. ARGV[2], ARGV[3], 'PX', ARGV[4])
return 1
