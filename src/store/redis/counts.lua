-- ARGV: ttl. Gives how many entries there are, and how many have a name.

return { redis.call('ZCARD', P .. 'old'), redis.call('SCARD', P .. 'named') }
