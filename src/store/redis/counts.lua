-- ARGV: ttl, secret. Gives how many entries there are, how many have a name,
-- and 1 if the secret is the server's, else 0.

local ours = is_ours(ARGV[2]) and 1 or 0
return { redis.call('ZCARD', P .. 'old'), redis.call('SCARD', P .. 'named'), ours }
