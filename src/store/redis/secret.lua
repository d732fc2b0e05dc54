-- ARGV: ttl, a new secret. Gives the secret, which is the first that came.

redis.call('SET', P .. 'secret', ARGV[2], 'NX')
return redis.call('GET', P .. 'secret')
