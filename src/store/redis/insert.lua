-- ARGV: ttl, secret, the entry. Gives 0 if the secret is not the server's, 1
-- if the entry is there.

if not is_ours(ARGV[2]) then
    return 0
end
local e = fetch(ARGV[3])
if e and is_live(e) then
    return 1
elseif e then
    remove(e)
end
write(given(3, 0))
return 1
